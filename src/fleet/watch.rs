//! One fleet, watched: from what there is to do to how many workers there shall be, again and again.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::record::FORMAT;
use super::{FleetRecord, Work};
use crate::broker::{Broker, BrokerError};
use crate::scaling::{History, LeadTime, Plan, Policy, RunTime, plan};
use crate::task::QueueName;

/// How often what is known is written down, though nothing happens: those who ask see that somebody decides.
const WRITE_EVERY: Duration = Duration::from_secs(20);

/// What tells a fleet from others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetName {
    /// `namespace/name` of its TaskQueue.
    #[serde(rename = "fleet")]
    pub name: String,
    /// The uid of that object, or what takes its place without a cluster.
    #[serde(rename = "owner")]
    pub owner: String,
}

/// A fleet as whoever decides about it knows it.
#[derive(Debug)]
pub struct FleetWatch {
    name: FleetName,
    queues: Vec<QueueName>,
    lead_time: LeadTime,
    run_time: RunTime,
    /// Nothing before it is known what others knew.
    history: Option<History>,
    last: Option<(Plan, Policy)>,
    written: Option<Written>,
}

/// What was written down, as far as a change of it is worth writing at once.
#[derive(Debug, PartialEq)]
struct Written {
    at: Timestamp,
    current: u32,
    replicas: u32,
    reason: &'static str,
    policy: Policy,
    lead_time: Duration,
    is_run_time_known: bool,
}

impl FleetWatch {
    /// A fleet of which nothing is known but how long its workers may take to start.
    #[must_use]
    pub fn new(name: FleetName, queues: Vec<QueueName>, assumed: Duration) -> Self {
        Self {
            name,
            queues,
            lead_time: LeadTime::assumed(assumed),
            run_time: RunTime::default(),
            history: None,
            last: None,
            written: None,
        }
    }

    /// The queues that it serves.
    #[must_use]
    pub fn queues(&self) -> &[QueueName] {
        &self.queues
    }

    /// It serves these from now on.
    pub fn serve(&mut self, queues: Vec<QueueName>) {
        self.queues = queues;
    }

    /// Whether it is still to be told what others knew.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.history.is_none()
    }

    /// How far ahead work is to be looked for.
    #[must_use]
    pub fn ahead(&self) -> Duration {
        self.lead_time.ahead()
    }

    /// Goes on from what is written down, if that is about this fleet. There are `current` workers: where nothing is
    /// known of what was wanted within the window, so many are taken to have been wanted all the time.
    pub fn recall(&mut self, records: &[FleetRecord], policy: &Policy, current: u32, now: Timestamp) {
        let ours = records.iter().filter(|record| record.name == self.name);
        let Some(record) = ours.max_by_key(|record| record.at) else {
            self.history = Some(History::starting_with(current, now));
            return;
        };
        self.lead_time = LeadTime::assumed(record.lead_time());
        self.run_time = RunTime::known(record.run_time());
        self.history = Some(match record.age(now) <= policy.stabilization {
            true => record.history.clone().continued(now),
            false => History::starting_with(current, now),
        });
    }

    /// Decides how many workers there shall be, of whom there are `current`.
    pub fn decide(&mut self, work: &Work, policy: &Policy, current: u32, now: Timestamp) -> Plan {
        let mut snapshot = work.snapshot();
        snapshot.ended = self.run_time.learn(work.active(), work.processed(), since_epoch(now));
        snapshot.current = current;
        snapshot.run_time = self.run_time.get();
        (snapshot.lead_time, snapshot.ahead) = (self.lead_time.get(), self.lead_time.ahead());
        let history = self.history.take().unwrap_or_else(|| History::starting_with(current, now));
        let (plan, history) = plan(&snapshot, policy, &history, now);
        (self.history, self.last) = (Some(history), Some((plan, *policy)));
        plan
    }

    /// Learns that a worker took so long to be there.
    pub fn learn_start(&mut self, took: Duration) {
        self.lead_time = self.lead_time.learned(took);
    }

    /// How long a worker takes to be there, as learned.
    #[must_use]
    pub fn lead_time(&self) -> Duration {
        self.lead_time.get()
    }

    /// What is to be written down now: nothing while nothing changes, but for a sign of life.
    fn record_due(&mut self, now: Timestamp) -> Option<FleetRecord> {
        let (plan, policy) = self.last?;
        let written = Written {
            at: now,
            current: plan.seen.current,
            replicas: plan.replicas,
            reason: plan.reason.as_str(),
            policy,
            lead_time: self.lead_time.get(),
            is_run_time_known: self.run_time.get().is_some(),
        };
        let is_known = self.written.as_ref().is_some_and(|before| {
            let age = Duration::try_from(now.duration_since(before.at)).unwrap_or(Duration::MAX);
            age < WRITE_EVERY && Written { at: before.at, ..written } == *before
        });
        if is_known {
            return None;
        }
        let record = FleetRecord {
            format: FORMAT,
            at: now,
            name: self.name.clone(),
            queues: self.queues.iter().map(ToString::to_string).collect(),
            policy,
            current: written.current,
            replicas: written.replicas,
            reason: written.reason.to_owned(),
            lead_time_ms: whole_ms(self.lead_time.get()),
            run_time_ms: self.run_time.get().map(whole_ms),
            history: self.history.clone()?,
        };
        self.written = Some(written);
        Some(record)
    }
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Times of a clock that goes on when processes end.
fn since_epoch(now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(Timestamp::UNIX_EPOCH)).unwrap_or(Duration::ZERO)
}

/// What is written down of the fleets that serve these queues.
///
/// # Errors
/// [`BrokerError::Command`].
pub async fn read_records(broker: &Broker, queues: &[QueueName]) -> Result<Vec<FleetRecord>, BrokerError> {
    let texts = broker.read_fleet_records(queues).await?;
    Ok(texts.iter().flatten().filter_map(|text| FleetRecord::parse(text)).collect())
}

/// Writes down what changed of fleets, and now and then what did not.
///
/// # Errors
/// [`BrokerError::Command`]; what could not be written is written with the next change.
pub async fn write_records<'a>(
    broker: &Broker,
    fleets: impl IntoIterator<Item = &'a mut FleetWatch>,
    now: Timestamp,
) -> Result<(), BrokerError> {
    let mut records = Vec::new();
    for fleet in fleets {
        if let Some(record) = fleet.record_due(now) {
            let text = record.to_text();
            records.extend(fleet.queues.iter().map(|queue| (queue.clone(), text.clone())));
        }
    }
    broker.write_fleet_records(&records).await
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::scaling::Reason;

    const POLICY: Policy = Policy {
        fixed: None,
        min: 0,
        max: 30,
        concurrency: 1,
        target_wait: Duration::from_secs(10),
        stabilization: Duration::from_secs(60),
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_800_000_000 + seconds)
    }

    fn fleet(owner: &str) -> FleetWatch {
        let name = FleetName { name: "shop/main".into(), owner: owner.into() };
        FleetWatch::new(name, vec![QueueName::new("q").unwrap()], Duration::from_secs(5))
    }

    /// What is written down, as others read it.
    fn written(fleet: &mut FleetWatch, now: Timestamp) -> Vec<FleetRecord> {
        let record = fleet.record_due(now).expect("there is something to write");
        vec![FleetRecord::parse(&record.to_text()).expect("it can be read")]
    }

    #[test]
    fn who_takes_over_goes_on_from_what_was_learned_and_wanted() {
        let mut first = fleet("uid");
        first.recall(&[], &POLICY, 7, at(0));
        first.learn_start(Duration::from_secs(9));
        assert_eq!(first.decide(&Work::default(), &POLICY, 7, at(30)).replicas, 7);
        let records = written(&mut first, at(30));
        assert_eq!(
            (records[0].current, records[0].replicas, records[0].reason.as_str()),
            (7, 7, "Stabilizing")
        );

        let mut second = fleet("uid");
        assert!(second.is_new());
        second.recall(&records, &POLICY, 7, at(40));
        assert_eq!((second.lead_time(), second.is_new()), (Duration::from_secs(9), false));
        assert_eq!(second.decide(&Work::default(), &POLICY, 7, at(60)).replicas, 7);
        let plan = second.decide(&Work::default(), &POLICY, 7, at(61));
        assert_eq!((plan.replicas, plan.reason), (0, Reason::Idle), "the window began before the change");
    }

    #[test]
    fn what_another_fleet_wrote_or_what_is_older_than_the_window_counts_for_nothing() {
        let mut first = fleet("uid");
        first.recall(&[], &POLICY, 0, at(0));
        first.learn_start(Duration::from_secs(9));
        first.decide(&Work::default(), &POLICY, 0, at(1));
        let records = written(&mut first, at(1));
        let mut other = fleet("another uid");
        other.recall(&records, &POLICY, 4, at(2));
        assert_eq!(other.lead_time(), Duration::from_secs(5));
        assert_eq!(other.decide(&Work::default(), &POLICY, 4, at(50)).replicas, 4);
        let mut late = fleet("uid");
        late.recall(&records, &POLICY, 4, at(62));
        assert_eq!(late.lead_time(), Duration::from_secs(9), "that much is still true");
        assert_eq!(late.decide(&Work::default(), &POLICY, 4, at(120)).replicas, 4, "a whole window anew");
    }

    #[test]
    fn it_is_written_when_something_changes_and_else_every_twenty_seconds() {
        let mut fleet = fleet("uid");
        fleet.recall(&[], &POLICY, 0, at(0));
        let mut look = |seconds, current| {
            fleet.decide(&Work::default(), &POLICY, current, at(seconds));
            fleet.record_due(at(seconds)).is_some()
        };
        let looks = [(0, 0), (1, 0), (19, 0), (20, 0), (21, 0), (22, 1), (23, 1)];
        assert_eq!(
            looks.map(|(seconds, current)| look(seconds, current)),
            [true, false, false, true, false, true, false]
        );
    }

    #[test]
    fn what_a_later_version_wrote_is_left_alone_and_what_it_added_ignored() {
        let mut fleet = fleet("uid");
        fleet.recall(&[], &POLICY, 0, at(0));
        fleet.decide(&Work::default(), &POLICY, 0, at(0));
        let text = fleet.record_due(at(0)).unwrap().to_text();
        let added = text.replacen('{', r#"{"more": [1], "#, 1);
        assert!(FleetRecord::parse(&added).is_some());
        assert!(FleetRecord::parse(&text.replace(r#""format":1"#, r#""format":2"#)).is_none());
        assert!(FleetRecord::parse("").is_none());
    }
}
