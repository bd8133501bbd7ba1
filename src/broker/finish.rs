//! Ending attempts.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::{join, try_join_all};
use jiff::{SignedDuration, Timestamp};
use redis::make_extension_error;

use super::claim::Owner;
use super::error::{DEMOTED, Doing};
use super::history::{cut, error_record};
use super::keys::QueueKeys;
use super::reply::{Reply, ceil_s};
use super::unique::lock_in;
use super::{Broker, BrokerError, script};
use crate::task::{Message, QueueName};

/// Attempts one script call ends.
const FINISHES_PER_CALL: usize = 64;
/// How long a day's counters are kept, as asynq keeps them.
const DAY_COUNTERS_LIFE: SignedDuration = SignedDuration::from_hours(90 * 24);

/// What ending is called in errors.
const DOING: &str = "end attempts";

/// The end of one attempt.
#[derive(Debug, Clone)]
pub struct Finish {
    /// The task as it shall stand from now on, with error text, counts and times already in it.
    pub message: Arc<Message>,
    /// Where it goes.
    pub outcome: FinishOutcome,
    /// When its lease ends, as last known. What counts is what stands in Redis; a wrong end only costs Redis
    /// more time.
    pub leased_until: Timestamp,
}

/// Where an attempt's end leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishOutcome {
    /// Success without retention, or revoked: deleted.
    Done,
    /// Success: kept until its completion time plus its retention.
    Complete,
    /// Another attempt at that time. Counts as a failure in the queue's numbers, or does not.
    Retry {
        /// Earliest next attempt.
        at: Timestamp,
        /// Whether it counts.
        counts_as_failure: bool,
    },
    /// Given up.
    Archive,
    /// Back to the front of the queue; no attempt was spent.
    Requeue,
    /// Put off by its handler until then: scheduled, no failure, no attempt spent. The message stays as it is.
    Snooze {
        /// When it may run.
        at: Timestamp,
        /// Why; empty when its handler did not say.
        reason: String,
    },
    /// Archived without a failure: cancelled, or not begun in time. The lock of a unique task is given back.
    Withdraw,
    /// The message cannot be decoded: archived in an envelope that can.
    Quarantine {
        /// The id under which it was found, which need be no text.
        id: Bytes,
        /// The bytes found.
        raw: Bytes,
        /// Why they cannot be decoded.
        reason: String,
    },
}

/// What became of the end of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finished {
    /// It stands in Redis.
    Stored,
    /// The task is no longer theirs; nothing changed.
    Lost,
    /// Redis refused this one; nothing changed for it.
    Refused(String),
}

/// Who may end attempts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Holder<'a> {
    /// The owner who claimed them.
    Owner(&'a Owner),
    /// Whoever found their leases run out.
    Expired,
}

/// One line of the finish script.
pub(super) struct Ending<'a> {
    pub(super) id: &'a [u8],
    /// When its lease ends, as last known: the score's text.
    pub(super) lease: Cow<'a, str>,
    pub(super) outcome: &'static str,
    pub(super) message: Bytes,
    /// Whether the message is only [what changes of it](Message::changes); that of a crash always is.
    pub(super) is_change: bool,
    pub(super) score: i64,
    pub(super) counts_as_failure: bool,
    pub(super) unique_key: &'a str,
    /// What the task shall remember of this attempt; empty for nothing.
    pub(super) note: String,
}

impl Broker {
    /// Ends attempts, each whole or not at all, and answers for each in its place.
    ///
    /// Safe to repeat: what was stored the first time answers [`Finished::Lost`] the second time.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; none or all of this call's attempts were ended, repeat to know.
    pub async fn finish(
        &self,
        queue: &QueueName,
        owner: &Owner,
        finishes: &[Finish],
    ) -> Result<Vec<Finished>, BrokerError> {
        let now = self.now_in(queue.as_str());
        let mut done: Vec<(i64, Vec<usize>)> = Vec::new();
        let (mut rest, mut endings) = (Vec::new(), Vec::new());
        for (place, finish) in finishes.iter().enumerate() {
            if leaves_nothing(finish) {
                let lease = finish.leased_until.as_second();
                match done.iter_mut().find(|(end, places)| *end == lease && places.len() < FINISHES_PER_CALL)
                {
                    Some((_, places)) => places.push(place),
                    None => done.push((lease, vec![place])),
                }
            } else {
                rest.push(place);
                endings.push(ending(finish, owner, now));
            }
        }
        let id = |place: &usize| finishes[*place].message.id.as_str();
        let doing =
            done.iter().map(|(lease, places)| self.end_done(queue, owner, *lease, places.iter().map(id)));
        let others = self.end_attempts(queue, Holder::Owner(owner), &endings);
        let (ended, others) = join(try_join_all(doing), others).await;
        let mut verdicts = vec![Finished::Stored; finishes.len()];
        for ((_, places), lost) in done.iter().zip(ended?) {
            let lost = lost.into_iter().filter_map(|n| places.get(usize::try_from(n - 1).ok()?));
            lost.for_each(|place| verdicts[*place] = Finished::Lost);
        }
        rest.into_iter().zip(others?).for_each(|(place, verdict)| verdicts[place] = verdict);
        Ok(verdicts)
    }

    /// Ends attempts that leave nothing behind; the places of those no longer theirs, counted from 1.
    async fn end_done(
        &self,
        queue: &QueueName,
        owner: &Owner,
        lease: i64,
        ids: impl Iterator<Item = &str>,
    ) -> Result<Vec<i64>, BrokerError> {
        let keys = QueueKeys::new(queue);
        let now = self.now_in(queue.as_str());
        let mut call = script::FINISH_DONE.call();
        call.key(keys.active()).key(keys.lease()).key(keys.holders()).key(keys.processed());
        call.key(keys.processed_on(&day_of(now)));
        call.arg(keys.task_prefix())
            .arg(owner.as_str())
            .arg((now + DAY_COUNTERS_LIFE).as_second())
            .arg(lease);
        ids.for_each(|id| {
            call.arg(id);
        });
        match self.run(DOING, queue.as_str(), &call).await? {
            redis::Value::Array(lost) => {
                let mut reply = Reply::new(DOING, redis::Value::Array(lost))?;
                let mut places = Vec::new();
                while !reply.is_empty() {
                    places.push(reply.int()?);
                }
                Ok(places)
            }
            _all_stored => Ok(Vec::new()),
        }
    }

    pub(super) async fn end_attempts(
        &self,
        queue: &QueueName,
        holder: Holder<'_>,
        endings: &[Ending<'_>],
    ) -> Result<Vec<Finished>, BrokerError> {
        let keys = QueueKeys::new(queue);
        let now = self.now_in(queue.as_str());
        let day = day_of(now);
        let mut verdicts = Vec::with_capacity(endings.len());
        for chunk in endings.chunks(FINISHES_PER_CALL) {
            let mut call = script::FINISH.call();
            call.key(keys.active()).key(keys.lease()).key(keys.pending()).key(keys.retry());
            call.key(keys.archived()).key(keys.completed()).key(keys.processed()).key(keys.failed());
            call.key(keys.processed_on(&day)).key(keys.failed_on(&day));
            call.key(keys.locks()).key(keys.scheduled()).key(keys.holders());
            call.arg(keys.task_prefix()).arg(now.as_nanosecond().to_string());
            call.arg((now + DAY_COUNTERS_LIFE).as_second());
            call.arg(match holder {
                Holder::Owner(owner) => owner.as_str(),
                Holder::Expired => "",
            });
            for ending in chunk {
                let lock = lock_in(keys, ending.unique_key);
                call.arg(ending.id).arg(ending.lease.as_ref()).arg(ending.outcome).arg(lock);
                if ending.outcome != "done" {
                    call.arg(ending.message.as_ref());
                }
                if !matches!(ending.outcome, "done" | "requeue" | "crash") {
                    call.arg(ending.score)
                        .arg(u8::from(ending.counts_as_failure) + 2 * u8::from(ending.is_change));
                }
                if matches!(ending.outcome, "crash" | "retry" | "archive" | "withdraw" | "snooze") {
                    call.arg(&ending.note);
                }
            }
            let fresh: Vec<_> = match self.run(DOING, queue.as_str(), &call).await? {
                redis::Value::Array(answers) => answers.into_iter().map(verdict).collect(),
                _all_stored => chunk.iter().map(|_| Finished::Stored).collect(),
            };
            for verdict in fresh {
                if let Finished::Refused(problem) = &verdict
                    && problem.contains(DEMOTED)
                {
                    // Nothing of this call was stored, and the new master will take it.
                    let error = make_extension_error("READONLY".into(), Some(problem.clone()));
                    self.note(&error).await;
                    return Err(error).doing(DOING, queue.as_str());
                }
                verdicts.push(verdict);
            }
        }
        match verdicts.len() == endings.len() {
            true => Ok(verdicts),
            false => Err(BrokerError::Reply { doing: DOING, problem: "answers are missing".into() }),
        }
    }

    /// Stores what a handler returns. `false`: the task is no longer theirs, nothing was stored.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn write_result(
        &self,
        queue: &QueueName,
        owner: &Owner,
        id: &str,
        result: &[u8],
    ) -> Result<bool, BrokerError> {
        let keys = QueueKeys::new(queue);
        let mut call = script::RESULT.key(keys.lease());
        call.key(keys.task(id)).key(keys.holders()).arg(id).arg(owner.as_str()).arg(result);
        let stored: i64 = self.run("store a result", queue.as_str(), &call).await?;
        Ok(stored == 1)
    }
}

fn day_of(now: Timestamp) -> String {
    now.strftime("%Y-%m-%d").to_string()
}

/// A success of which neither result nor lock is left.
fn leaves_nothing(finish: &Finish) -> bool {
    finish.outcome == FinishOutcome::Done && finish.message.unique_key.is_empty()
}

fn verdict(answer: redis::Value) -> Finished {
    match answer {
        redis::Value::Int(1) => Finished::Stored,
        redis::Value::Int(_) => Finished::Lost,
        redis::Value::BulkString(text) => Finished::Refused(String::from_utf8_lossy(&text).into_owned()),
        other => Finished::Refused(format!("{other:?}")),
    }
}

fn ending<'a>(finish: &'a Finish, owner: &Owner, now: Timestamp) -> Ending<'a> {
    let message = &finish.message;
    let lease = finish.leased_until.as_second();
    let bare = |outcome| Ending {
        id: message.id.as_bytes(),
        lease: lease.to_string().into(),
        outcome,
        message: Bytes::new(),
        is_change: false,
        score: 0,
        counts_as_failure: false,
        unique_key: &message.unique_key,
        note: String::new(),
    };
    let kept = |outcome, score, counts_as_failure| Ending {
        message: message.encode(),
        score,
        counts_as_failure,
        ..bare(outcome)
    };
    let failed = |outcome, score, counts_as_failure| {
        // A retry that counts has counted itself already.
        let retried = message.retried - i32::from(outcome == "retry" && counts_as_failure);
        let note = error_record(retried, now, owner.as_str(), &message.error);
        Ending { note, ..kept(outcome, score, counts_as_failure) }
    };
    // Stored only if somebody cancels the attempt before it has ended.
    let if_cancelled = || message.cancelled("").encode();
    match &finish.outcome {
        FinishOutcome::Done => bare("done"),
        FinishOutcome::Complete => {
            kept("complete", message.completed_s.saturating_add(message.retention_s), false)
        }
        FinishOutcome::Retry { at, counts_as_failure } => failed("retry", ceil_s(*at), *counts_as_failure),
        FinishOutcome::Archive => failed("archive", now.as_second(), true),
        FinishOutcome::Withdraw => failed("withdraw", now.as_second(), false),
        FinishOutcome::Requeue => Ending { message: if_cancelled(), ..bare("requeue") },
        FinishOutcome::Snooze { at, reason } => {
            let note = cut(reason).to_owned();
            Ending { message: if_cancelled(), score: ceil_s(*at), note, ..bare("snooze") }
        }
        FinishOutcome::Quarantine { id, raw, reason } => {
            let shown = String::from_utf8_lossy(id);
            let envelope = Message::undecodable(&shown, &message.queue, raw.clone(), reason, now.as_second());
            Ending {
                id,
                message: envelope.encode(),
                score: now.as_second(),
                counts_as_failure: true,
                unique_key: "",
                ..bare("archive")
            }
        }
    }
}
