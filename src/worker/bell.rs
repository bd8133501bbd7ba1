//! Tells the claim loop when an empty queue has got work, without asking all the time.
//!
//! A few workers per queue hold a turn to wait blocked in Redis; the others ask now and then. A bell holds its
//! turn only while its worker wants work, so that a busy worker does not keep an idle one from hearing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::attempt::Home;
use crate::broker::{BrokerError, Waiter};

/// How long a turn lasts unless renewed.
const TURN: Duration = Duration::from_secs(3);
/// A turn is renewed when less than this is left.
const TURN_LEFT_MIN: Duration = Duration::from_millis(1500);
/// One blocking wait: short enough that a turn is renewed in time.
const WAIT: Duration = Duration::from_secs(1);
/// A turn is kept this long without listening: work that comes in one by one does not cost a turn each.
const KEEP_TURN: Duration = Duration::from_millis(20);
const ERROR_PAUSE_MIN: Duration = Duration::from_millis(50);
const ERROR_PAUSE_MAX: Duration = Duration::from_secs(1);

/// The claim loop's end of a bell.
#[derive(Debug)]
pub(super) struct Bell {
    orders: watch::Sender<Order>,
    state: Arc<State>,
}

/// The end that waits.
pub(super) struct Listener {
    home: Arc<Home>,
    queue: usize,
    orders: watch::Receiver<Order>,
    state: Arc<State>,
    /// Wakes the claim loop.
    wake: Arc<Notify>,
    waiter: Option<Waiter>,
    turn_end: Option<Instant>,
    error_pause: Duration,
}

#[derive(Debug, Clone, Copy)]
enum Order {
    Rest,
    /// Listen from that moment on.
    Listen(Instant),
}

#[derive(Debug, Default)]
struct State {
    is_listening: AtomicBool,
    has_rung: AtomicBool,
}

enum Heard {
    Work,
    Silence,
    /// Others have the turns.
    NoTurn,
    /// Told to rest.
    Rest,
}

/// A bell of a queue; `wake` is notified whenever it rings.
pub(super) fn bell(home: &Arc<Home>, queue: usize, wake: &Arc<Notify>) -> (Bell, Listener) {
    let (orders, receiver) = watch::channel(Order::Rest);
    let state = Arc::new(State::default());
    let listener = Listener {
        home: Arc::clone(home),
        queue,
        orders: receiver,
        state: Arc::clone(&state),
        wake: Arc::clone(wake),
        waiter: None,
        turn_end: None,
        error_pause: ERROR_PAUSE_MIN,
    };
    (Bell { orders, state }, listener)
}

impl Bell {
    /// Rings when the queue has work after that moment.
    pub(super) fn arm(&self, from: Instant) {
        self.orders.send_replace(Order::Listen(from));
    }

    /// Stops listening.
    pub(super) fn rest(&self) {
        self.orders.send_replace(Order::Rest);
    }

    /// Whether it will ring by itself; otherwise the queue has to be asked.
    pub(super) fn is_listening(&self) -> bool {
        self.state.is_listening.load(Ordering::Acquire)
    }

    /// Whether it has rung since this was asked last.
    pub(super) fn has_rung(&self) -> bool {
        self.state.has_rung.swap(false, Ordering::AcqRel)
    }
}

impl Listener {
    /// Listens as ordered until `stop` is cancelled, then gives its turn back.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow_orders() => {}
        }
        self.set_listening(false);
        self.waiter = None;
        if self.holds_turn() {
            // Not worth waiting for: the turn lapses by itself.
            let _released_or_not = timeout(Duration::from_millis(500), self.release_turn()).await;
        }
    }

    async fn follow_orders(&mut self) {
        while let Some(from) = self.next_order().await {
            self.listen(from).await;
        }
    }

    /// Waits for the next order to listen; `None` when the claim loop is gone.
    async fn next_order(&mut self) -> Option<Instant> {
        loop {
            if self.holds_turn() {
                match timeout(KEEP_TURN, self.orders.changed()).await {
                    Ok(changed) => changed.ok()?,
                    Err(_) => {
                        self.release_turn().await;
                        continue;
                    }
                }
            } else {
                self.orders.changed().await.ok()?;
            }
            if let Order::Listen(from) = *self.orders.borrow_and_update() {
                return Some(from);
            }
        }
    }

    async fn listen(&mut self, from: Instant) {
        loop {
            let heard = self.listen_once(from).await;
            match heard {
                Ok(Heard::Silence) => {}
                Ok(Heard::Work) => {
                    self.set_listening(false);
                    self.state.has_rung.store(true, Ordering::Release);
                    self.wake.notify_one();
                    self.error_pause = ERROR_PAUSE_MIN;
                    return;
                }
                Ok(Heard::NoTurn | Heard::Rest) => return self.set_listening(false),
                Err(error) => {
                    self.set_listening(false);
                    // The claim loop asks instead of us, and says so once if that fails too.
                    debug!(queue.name = %self.queue_name(), reason = error.reason(), "cannot wait for work: {error}");
                    sleep(self.error_pause).await;
                    self.error_pause = (self.error_pause * 2).min(ERROR_PAUSE_MAX);
                    return;
                }
            }
        }
    }

    async fn listen_once(&mut self, from: Instant) -> Result<Heard, BrokerError> {
        if !self.renew_turn().await? {
            return Ok(Heard::NoTurn);
        }
        let mut waiter = match self.waiter.take() {
            Some(waiter) => waiter,
            None => self.home.broker.waiter(self.queue_name()).await?,
        };
        self.set_listening(true);
        sleep_until(from).await;
        let heard = {
            let mut waiting = std::pin::pin!(waiter.wait(WAIT));
            loop {
                tokio::select! {
                    biased;
                    has_work = &mut waiting => break if has_work? { Heard::Work } else { Heard::Silence },
                    changed = self.orders.changed() => {
                        if changed.is_ok() && matches!(*self.orders.borrow_and_update(), Order::Listen(_)) {
                            continue;
                        }
                        // Others may listen now. The wait itself cannot be taken back: it ends soon, and until
                        // then what it hears still counts.
                        self.set_listening(false);
                        self.release_turn().await;
                        break if waiting.await? { Heard::Work } else { Heard::Rest };
                    }
                }
            }
        };
        self.waiter = Some(waiter);
        Ok(heard)
    }

    async fn renew_turn(&mut self) -> Result<bool, BrokerError> {
        let now = Instant::now();
        if self.turn_end.is_none_or(|end| end < now + TURN_LEFT_MIN) {
            let home = &self.home;
            let is_ours = home.broker.take_waiter(self.queue_name(), &home.owner, TURN).await?;
            self.turn_end = is_ours.then(|| now + TURN);
        }
        Ok(self.turn_end.is_some())
    }

    async fn release_turn(&mut self) {
        self.turn_end = None;
        let released = self.home.broker.release_waiter(self.queue_name(), &self.home.owner).await;
        if let Err(error) = released {
            debug!(queue.name = %self.queue_name(), reason = error.reason(), "a turn to wait lapses instead of being released");
        }
    }

    fn holds_turn(&self) -> bool {
        self.turn_end.is_some_and(|end| end > Instant::now())
    }

    fn set_listening(&self, is_listening: bool) {
        self.state.is_listening.store(is_listening, Ordering::Release);
    }

    fn queue_name(&self) -> &crate::task::QueueName {
        &self.home.queues[self.queue]
    }
}
