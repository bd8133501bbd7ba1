//! Showing our schedules to asynq's tools: one list for all of them, and what each enqueued. A courtesy beside the
//! entries: nothing of ours reads it back.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prost::Message as _;

use super::claim::Owner;
use super::keep::millis;
use super::keys::{QueueKeys, SCHEDULERS, mirror_draft, mirror_turn, scheduler_entries, scheduler_history};
use super::reply::from_s;
use super::script::Call;
use super::{Broker, BrokerError, script};
use crate::schedule::TickRecord;
use crate::task::{QueueName, SchedulerEnqueueEvent, SchedulerEntry};

/// Most entries in the list.
pub const MIRROR_ENTRIES_MAX: usize = 1000;
/// Most enqueues remembered of each.
pub const MIRROR_EVENTS_MAX: usize = 50;

/// The id under which our schedules are listed, whoever writes the list.
const SCHEDULER: &str = "cronmill";
/// How long the list lasts unless prolonged: as asynq's.
const LIST_LIFE: Duration = Duration::from_secs(20);
/// How long what an entry enqueued stays readable after the last time it was written.
const HISTORY_LIFE_S: i64 = 7 * 24 * 3600;
/// Queues whose earliest entries are read at once.
const QUEUES_AT_ONCE: usize = 16;
/// Entries of the list that one call writes.
const ENTRIES_PER_CALL: usize = 100;
/// Ledgers read, and histories written, at once.
const HISTORIES_AT_ONCE: usize = 20;

/// Where a schedule entry stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleState {
    /// Its queue.
    pub queue: QueueName,
    /// Its uid.
    pub uid: String,
    /// Its revision as text.
    pub revision: String,
    /// The next tick.
    pub next: Option<Timestamp>,
    /// The last tick that was enqueued.
    pub last: Option<Timestamp>,
}

impl Broker {
    /// Becomes or stays the one process that shows the schedules of this Redis to asynq's tools; `false`: another
    /// one does.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn take_mirror_turn(&self, who: &Owner, turn: Duration) -> Result<bool, BrokerError> {
        let mut call = script::KEEPER.key(mirror_turn(SCHEDULER));
        call.arg(who.as_str()).arg(millis(turn));
        let taken: i64 = self.run("take the mirror's turn", "*", &call).await?;
        Ok(taken == 1)
    }

    /// The schedules in force of all queues, at most a thousand: those that are due soonest. Left out are those set
    /// aside.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn soonest_schedules(&self) -> Result<Vec<ScheduleState>, BrokerError> {
        let mut states = Vec::new();
        for some in self.soonest().await?.chunks(100) {
            let mut pipe = redis::pipe();
            for (_, queue, uid) in some {
                let fields = &["rev", "next", "last", "fault", "retired"];
                pipe.cmd("HMGET").arg(QueueKeys::new(queue).entry(uid)).arg(fields);
            }
            let rows: Vec<[Option<String>; 5]> = self.pipe("read schedules", "*", &pipe).await?;
            for ((_, queue, uid), [revision, next, last, fault, retired]) in some.iter().zip(rows) {
                let (Some(revision), None, None) = (revision, fault, retired) else { continue };
                let tick = |second: Option<String>| second?.parse().ok().map(from_s);
                let (next, last) = (tick(next), tick(last));
                states.push(ScheduleState { queue: queue.clone(), uid: uid.clone(), revision, next, last });
            }
        }
        Ok(states)
    }

    /// The entries that are due soonest, with when that is in Unix ms.
    async fn soonest(&self) -> Result<Vec<(f64, QueueName, String)>, BrokerError> {
        let mut soonest: Vec<(f64, QueueName, String)> = Vec::new();
        // What is due later than this is not among them.
        let mut latest = f64::INFINITY;
        for queues in self.scheduled_queues().await?.chunks(QUEUES_AT_ONCE) {
            let mut pipe = redis::pipe();
            for queue in queues {
                pipe.cmd("ZRANGE").arg(QueueKeys::new(queue).due()).arg("-inf").arg(latest).arg("BYSCORE");
                pipe.arg("LIMIT").arg(0).arg(MIRROR_ENTRIES_MAX).arg("WITHSCORES");
            }
            let pages: Vec<Vec<(String, f64)>> = self.pipe("list schedules", "*", &pipe).await?;
            for (queue, page) in queues.iter().zip(pages) {
                soonest.extend(page.into_iter().map(|(uid, due)| (due, queue.clone(), uid)));
            }
            soonest.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| (&a.1, &a.2).cmp(&(&b.1, &b.2))));
            soonest.truncate(MIRROR_ENTRIES_MAX);
            if soonest.len() == MIRROR_ENTRIES_MAX {
                latest = soonest.last().map_or(latest, |(due, ..)| *due);
            }
        }
        Ok(soonest)
    }

    /// Puts a list of entries in the place of the one that asynq's tools read; `false`: it is another's turn, and
    /// nothing changed. At most a thousand are taken.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat. Dropped midway, the list before it stands.
    pub async fn publish_schedules(
        &self,
        who: &Owner,
        entries: &[SchedulerEntry],
    ) -> Result<bool, BrokerError> {
        let entries = &entries[..entries.len().min(MIRROR_ENTRIES_MAX)];
        if entries.is_empty() {
            return self.withdraw(who, false).await;
        }
        let mut before = 0;
        for part in entries.chunks(ENTRIES_PER_CALL) {
            let mut call = mirror_call(&script::PUBLISH_ENTRIES);
            call.arg(who.as_str()).arg(LIST_LIFE.as_secs()).arg(before);
            before += part.len();
            call.arg(u8::from(before == entries.len()));
            for entry in part {
                call.arg(entry.encode_to_vec());
            }
            let written: i64 = self.run("publish schedules", "*", &call).await?;
            if written == 0 {
                return Ok(false);
            }
        }
        self.prolong_schedules().await
    }

    /// Makes the list of entries last on; `false`: there is none.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn prolong_schedules(&self) -> Result<bool, BrokerError> {
        let list = scheduler_entries(SCHEDULER);
        let stale = self.now() + SignedDuration::try_from(LIST_LIFE).unwrap_or(SignedDuration::ZERO);
        let mut pipe = redis::pipe();
        pipe.expire(&list, LIST_LIFE.as_secs().cast_signed());
        pipe.zadd(SCHEDULERS, &list, stale.as_second()).ignore();
        let (is_there,): (bool,) = self.pipe("prolong the list of schedules", "*", &pipe).await?;
        Ok(is_there)
    }

    /// Takes the list of entries away and gives the turn back, if it is this process's turn.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; both lapse by themselves.
    pub async fn withdraw_schedules(&self, who: &Owner) -> Result<(), BrokerError> {
        self.withdraw(who, true).await.map(drop)
    }

    async fn withdraw(&self, who: &Owner, and_leave: bool) -> Result<bool, BrokerError> {
        const DOING: &str = "withdraw schedules";
        let mut call = mirror_call(&script::WITHDRAW_ENTRIES);
        call.arg(who.as_str()).arg(u8::from(and_leave));
        let withdrawn: i64 = self.run(DOING, "*", &call).await?;
        if withdrawn == 1 {
            // Whoever takes over enters the list again, each second.
            let mut pipe = redis::pipe();
            pipe.zrem(SCHEDULERS, scheduler_entries(SCHEDULER)).ignore();
            self.pipe::<()>(DOING, "*", &pipe).await?;
        }
        Ok(withdrawn == 1)
    }

    /// The newest records in the ledgers of entries, so many of each, newest first. Records of a newer format are
    /// left out.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn newest_ticks(
        &self,
        entries: &[(&ScheduleState, usize)],
    ) -> Result<Vec<Vec<TickRecord>>, BrokerError> {
        let mut ledgers = Vec::with_capacity(entries.len());
        for some in entries.chunks(HISTORIES_AT_ONCE) {
            let mut pipe = redis::pipe();
            for (entry, records) in some {
                let last = (*records).clamp(1, 100) as isize - 1;
                pipe.lrange(QueueKeys::new(&entry.queue).ticks(&entry.uid), 0, last);
            }
            let read: Vec<Vec<String>> = self.pipe("read tick ledgers", "*", &pipe).await?;
            let parsed =
                |lines: Vec<String>| lines.iter().filter_map(|line| TickRecord::parse(line).ok()).collect();
            ledgers.extend(read.into_iter().map(parsed));
        }
        Ok(ledgers)
    }

    /// Adds to what asynq's tools show as enqueued by entries, named by uid. Of each the newest fifty are kept, for
    /// seven days after the last time.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn note_enqueues(
        &self,
        entries: &[(&str, Vec<SchedulerEnqueueEvent>)],
    ) -> Result<(), BrokerError> {
        for some in entries.chunks(HISTORIES_AT_ONCE) {
            let mut pipe = redis::pipe();
            for (uid, events) in some.iter().filter(|(_, events)| !events.is_empty()) {
                let history = scheduler_history(uid);
                pipe.cmd("ZADD").arg(&history);
                for event in events.iter().take(MIRROR_EVENTS_MAX) {
                    pipe.arg(event.enqueued.map_or(0, |at| at.seconds)).arg(event.encode_to_vec());
                }
                pipe.ignore();
                pipe.zremrangebyrank(&history, 0, -(MIRROR_EVENTS_MAX as isize) - 1).ignore();
                pipe.expire(&history, HISTORY_LIFE_S).ignore();
            }
            if !pipe.is_empty() {
                self.pipe::<()>("note what was enqueued", "*", &pipe).await?;
            }
        }
        Ok(())
    }
}

/// A call with the keys of the list: whose turn it is, the draft, the list as published.
fn mirror_call(script: &'static script::Script) -> Call {
    let mut call = script.key(mirror_turn(SCHEDULER));
    call.key(mirror_draft(SCHEDULER)).key(scheduler_entries(SCHEDULER));
    call
}
