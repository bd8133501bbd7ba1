//! What the claim loop knows of one queue: whether it is worth asking, and when to ask again.

use std::time::Duration;

use tokio::time::Instant;

use super::bell::Bell;
use crate::broker::{BrokerError, Outage};

const POLL_MIN: Duration = Duration::from_millis(1);
/// Longest pause between two looks at a queue whose bell does not listen.
pub(super) const POLL_MAX: Duration = Duration::from_secs(1);
/// A paused queue is not asked more often than this.
const PAUSED_POLL_MIN: Duration = Duration::from_millis(50);
/// Longest pause after a bell rang for work that another worker took: both heard it, one is enough.
const VAIN_MAX: Duration = Duration::from_millis(64);

/// What the claim loop knows of a queue.
pub(super) struct QueueState {
    bell: Bell,
    /// Number of the next claim. The same number again gets the same answer, should it have been lost.
    pub(super) sequence: u64,
    /// It was found without work; it is asked again when its bell rings or the poll is due.
    pub(super) is_quiet: bool,
    was_rung: bool,
    pub(super) next_poll: Instant,
    /// Whether the last claim may have taken tasks although its answer never came.
    pub(super) is_unanswered: bool,
    /// Whether it is quiet for want of tasks, and not closed to us.
    is_empty: bool,
    /// Since when it holds nothing but what is left to others.
    left_since: Option<Instant>,
    refusal: Outage,
    poll_delay: Duration,
    vain_delay: Duration,
}

impl QueueState {
    pub(super) fn new(bell: Bell) -> Self {
        Self {
            bell,
            sequence: 1,
            is_quiet: false,
            was_rung: false,
            next_poll: Instant::now(),
            is_unanswered: false,
            is_empty: false,
            left_since: None,
            refusal: Outage::new("claim tasks"),
            poll_delay: POLL_MIN,
            vain_delay: Duration::ZERO,
        }
    }

    /// Finds out whether a quiet queue is worth asking again.
    pub(super) fn look(&mut self, now: Instant) {
        if !self.is_quiet {
            return;
        }
        if self.bell.has_rung() {
            self.was_rung = true;
            self.is_quiet = false;
        } else if now >= self.next_poll {
            if self.bell.is_listening() {
                self.next_poll = now + POLL_MAX;
            } else {
                self.was_rung = false;
                self.is_quiet = false;
            }
        }
    }

    pub(super) fn found_work(&mut self) {
        self.poll_delay = POLL_MIN;
        self.vain_delay = Duration::ZERO;
        self.was_rung = false;
    }

    /// It gave less than it was asked for: nothing is left. No second look is needed to listen, since a wait
    /// on a queue that has got work in between returns at once.
    pub(super) fn emptied(&mut self) {
        self.found_work();
        self.quiet(POLL_MIN);
        self.is_empty = true;
        self.bell.arm(Instant::now());
    }

    pub(super) fn found_empty(&mut self) {
        if self.was_rung {
            self.vain_delay = (self.vain_delay * 2).clamp(POLL_MIN, VAIN_MAX);
        }
        self.was_rung = false;
        self.quiet(POLL_MIN);
        self.is_empty = true;
        self.bell.arm(Instant::now() + self.vain_delay);
    }

    /// Paused, or closed to us: waiting for work would return at once and bring nothing.
    pub(super) fn found_closed(&mut self) {
        self.was_rung = false;
        self.is_empty = false;
        self.quiet(PAUSED_POLL_MIN);
        self.bell.rest();
    }

    /// All it holds is left to others for so long; whether there is anything else is asked again and again.
    pub(super) fn leave_to_others(&mut self, head_start: Duration, glance: Duration) {
        let now = Instant::now();
        if *self.left_since.get_or_insert(now) + head_start <= now {
            return;
        }
        (self.is_quiet, self.is_empty, self.was_rung) = (true, false, false);
        self.next_poll = now + glance;
        // Waiting for work would return at once.
        self.bell.rest();
    }

    fn quiet(&mut self, delay_min: Duration) {
        self.is_quiet = true;
        let delay = self.poll_delay.clamp(delay_min, POLL_MAX);
        // Less a random quarter, so that many workers do not ask in step.
        self.next_poll = Instant::now() + delay.mul_f64(1.0 - fastrand::f64() / 4.0);
        self.poll_delay = (delay * 2).min(POLL_MAX);
    }

    /// Redis answered, and will not have it: asked again now and then, while other queues are served.
    pub(super) fn refused(&mut self, error: &BrokerError) {
        self.was_rung = false;
        (self.is_quiet, self.is_empty) = (true, false);
        self.next_poll = Instant::now() + self.refusal.failed(error);
        self.bell.rest();
    }

    /// Has it asked once more before a lighter queue is, unless its bell would have told.
    pub(super) fn ask_before_lighter(&mut self) {
        if self.is_quiet && self.is_empty && !self.bell.is_listening() {
            self.is_quiet = false;
            self.was_rung = false;
        }
    }

    pub(super) fn answered(&mut self) {
        self.is_unanswered = false;
        self.left_since = None;
        self.refusal.ended();
    }

    /// We cannot take work for now. What comes in meanwhile is not heard, so the queue is asked afterwards.
    pub(super) fn let_others_listen(&mut self) {
        if self.is_quiet {
            self.bell.rest();
            self.is_quiet = false;
            self.was_rung = false;
            self.poll_delay = POLL_MIN;
        }
    }
}
