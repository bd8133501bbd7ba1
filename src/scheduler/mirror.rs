//! The schedules of a Redis as asynq's tools show them: asynqmon's page of schedulers, asynq's Inspector.
//!
//! One process at a time writes them, elected by a turn in Redis, from what stands there: the entries and their
//! ledgers. Beside the firing loop and not part of it: whatever goes wrong here delays no tick.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::as_asynq::Shown;
use crate::broker::{Broker, BrokerError, Duty, MIRROR_EVENTS_MAX, Outage, Owner, ScheduleState, Turn};
use crate::schedule::{TickOutcome, TickRecord};
use crate::task::{QueueName, SchedulerEnqueueEvent, SchedulerEntry};

/// How often the entries are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Histories written per look; the others come with the next ones.
const HISTORIES_PER_LOOK: usize = 100;
/// Records of a ledger read when something new is in it, and the first time.
const RECORDS: usize = 8;
const RECORDS_FIRST: usize = 100;
/// How often a history is written whole again, so that it lasts as long as its entry.
const WRITE_AGAIN: Duration = Duration::from_secs(24 * 3600);

/// Writes the list and the histories while it has the turn.
pub(super) struct Mirror {
    broker: Broker,
    who: Owner,
    turn: Turn,
    known: HashMap<(QueueName, String), Known>,
    /// The list as it was published last.
    published: Vec<SchedulerEntry>,
}

/// What is known of an entry.
struct Known {
    revision: String,
    /// Nothing if a newer version wrote it.
    shown: Option<Shown>,
    /// The last tick whose enqueue is in its history.
    noted: Option<jiff::Timestamp>,
    /// When its history was written whole.
    noted_all: Option<Instant>,
    /// When its history was looked at.
    looked: Option<Instant>,
}

impl Mirror {
    pub(super) fn new(broker: Broker, who: Owner) -> Self {
        let turn = Turn::new(Duty::Mirror);
        Self { broker, who, turn, known: HashMap::new(), published: Vec::new() }
    }

    /// Mirrors until the token is cancelled, then takes the list away.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut outage = Outage::new("show schedules to asynq's tools");
        while let Some(looked) = stop.run_until_cancelled(self.look()).await {
            outage.rest_after(looked.map(|()| LOOK), &stop).await;
        }
        if self.turn.is_held()
            && let Err(error) = self.broker.withdraw_schedules(&self.who).await
        {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "the list of schedules is left to lapse"
            );
        }
    }

    async fn look(&mut self) -> Result<(), BrokerError> {
        if !self.turn.is_ours_for_all(&self.broker, &self.who).await? {
            // Whoever has it changes what is known here.
            self.known.clear();
            self.published.clear();
            return Ok(());
        }
        let states = self.broker.soonest_schedules().await?;
        self.learn(&states).await?;
        self.publish(&states).await?;
        self.note_enqueues(&states).await
    }

    /// Reads the entries that are new or have changed.
    async fn learn(&mut self, states: &[ScheduleState]) -> Result<(), BrokerError> {
        let keys: HashSet<_> = states.iter().map(key).collect();
        self.known.retain(|key, _| keys.contains(key));
        let mut changed: BTreeMap<&QueueName, Vec<String>> = BTreeMap::new();
        for state in states {
            if self.known.get(&key(state)).is_none_or(|known| known.revision != state.revision) {
                changed.entry(&state.queue).or_default().push(state.uid.clone());
            }
        }
        for (queue, uids) in changed {
            // Few at a time: a payload may be large.
            for some in uids.chunks(20) {
                for stored in self.broker.read_entries(queue, some).await? {
                    let known = self.known.entry((queue.clone(), stored.uid)).or_insert_with(Known::nothing);
                    known.revision = stored.revision;
                    known.shown = stored.entry.ok().map(|entry| Shown::new(&entry));
                }
            }
        }
        Ok(())
    }

    /// Writes the list if it is no longer what was published, or no longer there.
    async fn publish(&mut self, states: &[ScheduleState]) -> Result<(), BrokerError> {
        let shown = |state| Some((self.known.get(&key(state))?.shown.as_ref()?, state));
        let mut shown: Vec<(&Shown, &ScheduleState)> = states.iter().filter_map(shown).collect();
        shown.sort_by_key(|(shown, state)| (&shown.key, &state.queue));
        let list: Vec<_> = shown.into_iter().map(|(shown, state)| shown.at(state.next, state.last)).collect();
        let is_new = list != self.published;
        if !is_new && (list.is_empty() || self.broker.prolong_schedules().await?) {
            return Ok(());
        }
        self.published.clear();
        if self.broker.publish_schedules(&self.who, &list).await? {
            self.published = list;
        }
        Ok(())
    }

    /// Writes what entries have enqueued since the last look, those first that were looked at longest ago.
    async fn note_enqueues(&mut self, states: &[ScheduleState]) -> Result<(), BrokerError> {
        let now = Instant::now();
        let mut behind: Vec<_> = states
            .iter()
            .filter_map(|state| Some((self.known.get(&key(state))?, state)))
            .filter(|(known, state)| known.is_behind(state, now))
            .map(|(known, state)| (known.looked, known.records(now), state))
            .collect();
        behind.sort_by_key(|(looked, ..)| *looked);
        behind.truncate(HISTORIES_PER_LOOK);
        let asked: Vec<_> = behind.iter().map(|(_, records, state)| (*state, *records)).collect();
        let ledgers = self.broker.newest_ticks(&asked).await?;
        let events: Vec<_> = asked
            .iter()
            .zip(&ledgers)
            .map(|((state, _), ledger)| (state.uid.as_str(), events(ledger)))
            .collect();
        self.broker.note_enqueues(&events).await?;
        for ((state, records), ledger) in asked.into_iter().zip(ledgers) {
            let Some(known) = self.known.get_mut(&key(state)) else { continue };
            known.looked = Some(now);
            let is_whole = records >= RECORDS_FIRST;
            if is_whole {
                known.noted_all = Some(now);
            }
            if is_whole || known.reaches_back(&ledger) {
                known.noted = state.last;
            } else {
                // More has happened than was read: all of it next time.
                known.noted_all = None;
            }
        }
        Ok(())
    }
}

impl Known {
    fn nothing() -> Self {
        Self { revision: String::new(), shown: None, noted: None, noted_all: None, looked: None }
    }

    /// Whether its history may lack something.
    fn is_behind(&self, state: &ScheduleState, now: Instant) -> bool {
        state.last.is_some() && (self.noted != state.last || self.is_old(now))
    }

    /// Whether its history is to be written whole.
    fn is_old(&self, now: Instant) -> bool {
        self.noted_all.is_none_or(|at| now.duration_since(at) >= WRITE_AGAIN)
    }

    /// How many records of its ledger to read.
    fn records(&self, now: Instant) -> usize {
        if self.is_old(now) { RECORDS_FIRST } else { RECORDS }
    }

    /// Whether these records go back to what its history has already.
    fn reaches_back(&self, ledger: &[TickRecord]) -> bool {
        ledger.len() < RECORDS || ledger.last().is_some_and(|record| Some(record.from) <= self.noted)
    }
}

fn key(state: &ScheduleState) -> (QueueName, String) {
    (state.queue.clone(), state.uid.clone())
}

/// The newest enqueues in a ledger.
fn events(ledger: &[TickRecord]) -> Vec<SchedulerEnqueueEvent> {
    let enqueued =
        ledger.iter().filter(|record| matches!(record.outcome, TickOutcome::Enqueued | TickOutcome::Refired));
    let event = |record: &TickRecord| {
        Some(SchedulerEnqueueEvent { task_id: record.task_id.clone()?, enqueued: Some(record.at.into()) })
    };
    enqueued.filter_map(event).take(MIRROR_EVENTS_MAX).collect()
}
