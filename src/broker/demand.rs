//! What queues ask of their workers: read for many queues at once, in a bounded time each.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use redis::Value;

use super::claim::seconds;
use super::keep::millis;
use super::keys::QueueKeys;
use super::reply::{Reply, from_ms, from_s};
use super::script::Call;
use super::{Broker, BrokerError, GroupLimits, SET_TASKS_MAX, script};
use crate::task::QueueName;

/// Schedules of a queue looked at for a forecast.
const ENTRIES: usize = 100;
/// Groups of a queue that one call looks at, about.
const GROUPS: usize = 50;
/// Calls that one read makes for the groups of a queue, at most.
const GROUP_CALLS: usize = 4;
/// Groups of a queue that one read sees, about.
pub const GROUPS_PER_READ: u64 = (GROUPS * GROUP_CALLS) as u64;
/// Queues asked about in one round trip.
const QUEUES_PER_TRIP: usize = 200;
/// The format of what workers say about groups.
const GROUPING_FORMAT: u32 = 1;
/// How long what they said is believed.
const GROUPING_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// When groups are ripe of which no worker has said it: as in asynq.
const UNSAID: GroupLimits =
    GroupLimits { grace: Duration::from_secs(60), max_delay: None, max_size: SET_TASKS_MAX };

/// What a queue asks of its workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// Redis's time when it was read.
    pub now: Timestamp,
    /// Whether its tasks cannot be claimed, for longer than the time looked ahead.
    pub is_paused: bool,
    /// Tasks that can be claimed, were it not paused.
    pub pending: u64,
    /// Tasks that run, those with leases that are over included.
    pub active: u64,
    /// Tasks whose leases are over: keeping is about to bring them back.
    pub expired: u64,
    /// Scheduled tasks due within the time looked ahead.
    pub scheduled_soon: u64,
    /// Tasks that are tried again within that time.
    pub retry_soon: u64,
    /// Aggregation sets: taken out of groups, and not yet a task.
    pub aggregating: u64,
    /// Groups.
    pub groups: u64,
    /// Groups that are ripe within that time; of a queue of which no worker said that it aggregates its groups, one at
    /// most.
    pub ripe_groups: u64,
    /// Ticks that wait for the run they replace to end.
    pub waiting_ticks: u64,
    /// Ticks within that time that will run, of the first 100 schedules due.
    pub ticks_soon: u64,
    /// When the next tick is due, by Redis's clock.
    pub next_tick: Option<Timestamp>,
    /// Attempts ended ever.
    pub processed: u64,
}

/// How far a look at the groups of a queue has come: of many groups each look sees some, and the next one goes on.
#[derive(Debug, Clone, Default)]
struct GroupsLooked {
    cursor: Option<String>,
    /// What this pass has found so far.
    so_far: Ripening,
    /// What the last whole pass found.
    last: Ripening,
}

/// What was found in groups.
#[derive(Debug, Clone, Copy, Default)]
struct Ripening {
    /// Ripe within the time looked ahead.
    ripe: u64,
    /// When the first of the others is ripe.
    first: Option<Timestamp>,
}

/// Reads what queues ask of their workers, again and again.
#[derive(Debug)]
pub struct DemandReader {
    broker: Broker,
    groups: HashMap<QueueName, GroupsLooked>,
}

/// One queue's numbers, and when its groups are ripe.
struct Numbers {
    demand: Demand,
    /// As its workers say.
    grouping: Option<GroupLimits>,
}

impl DemandReader {
    /// A reader that has read nothing yet.
    #[must_use]
    pub fn new(broker: Broker) -> Self {
        Self { broker, groups: HashMap::new() }
    }

    /// What each of the queues asks for now and within the time named with it: one round trip for 200 queues, and up to
    /// four more where there are groups. Of more than 200 groups of a queue each read sees some 200, and remembers the
    /// others as it saw them last.
    ///
    /// Not cancel-safe: a read that is dropped may have groups looked at again.
    ///
    /// # Errors
    /// [`BrokerError::Command`]: of all, where Redis does not answer; of one, where its keys hold what they should not.
    pub async fn read(
        &mut self,
        queues: &[(QueueName, Duration)],
    ) -> Result<Vec<Result<Demand, BrokerError>>, BrokerError> {
        let mut demands = Vec::with_capacity(queues.len());
        for part in queues.chunks(QUEUES_PER_TRIP) {
            demands.extend(self.read_part(part).await?);
        }
        Ok(demands)
    }

    /// Forgets what it knows of all queues but these.
    pub fn keep_only(&mut self, is_read: impl Fn(&QueueName) -> bool) {
        self.groups.retain(|queue, _| is_read(queue));
    }

    async fn read_part(
        &mut self,
        queues: &[(QueueName, Duration)],
    ) -> Result<Vec<Result<Demand, BrokerError>>, BrokerError> {
        const DOING: &str = "read what queues ask for";
        let calls: Vec<_> =
            queues.iter().map(|(queue, ahead)| (queue.as_str(), demand_call(queue, *ahead))).collect();
        let answers = self.broker.run_all(DOING, &calls).await?;
        let mut numbers: Vec<_> = answers.into_iter().map(|answer| Numbers::read(DOING, answer?)).collect();
        let has_groups = |read: &Result<Numbers, _>| read.as_ref().is_ok_and(|read| read.demand.groups > 0);
        let mut grouped: Vec<_> = (0..queues.len()).filter(|at| has_groups(&numbers[*at])).collect();
        for _ in 0..GROUP_CALLS {
            self.look_at_groups(queues, &grouped, &mut numbers).await?;
            grouped
                .retain(|at| self.groups.get(&queues[*at].0).is_some_and(|looked| looked.cursor.is_some()));
        }
        Ok(numbers.into_iter().map(|read| Ok(read?.demand)).collect())
    }

    /// Looks at some groups of the queues at these places.
    async fn look_at_groups(
        &mut self,
        queues: &[(QueueName, Duration)],
        places: &[usize],
        numbers: &mut [Result<Numbers, BrokerError>],
    ) -> Result<(), BrokerError> {
        let (mut asked, mut calls) = (Vec::with_capacity(places.len()), Vec::with_capacity(places.len()));
        for &at in places {
            let (queue, ahead) = &queues[at];
            let Ok(Numbers { grouping, .. }) = &numbers[at] else { continue };
            let looked = self.groups.entry(queue.clone()).or_default();
            let call = ripe_call(queue, *ahead, grouping.as_ref().unwrap_or(&UNSAID), looked);
            asked.push(at);
            calls.push((queue.as_str(), call));
        }
        if calls.is_empty() {
            return Ok(());
        }
        let answers = self.broker.run_all("read which groups are ripe", &calls).await?;
        for (at, answer) in asked.into_iter().zip(answers) {
            let (queue, ahead) = &queues[at];
            let looked = self.groups.entry(queue.clone()).or_default();
            let Ok(read) = &mut numbers[at] else { continue };
            match answer.and_then(|answer| looked.note(answer)) {
                Ok(()) => {
                    let ripe = looked.ripe_by(later(read.demand.now, *ahead));
                    read.demand.ripe_groups = if read.grouping.is_some() { ripe } else { ripe.min(1) };
                }
                Err(error) => {
                    looked.cursor = None;
                    numbers[at] = Err(error);
                }
            }
        }
        Ok(())
    }
}

fn demand_call(queue: &QueueName, ahead: Duration) -> Call {
    let keys = QueueKeys::new(queue);
    let mut call = script::DEMAND.key(keys.pending());
    call.key(keys.active()).key(keys.lease()).key(keys.scheduled()).key(keys.retry());
    call.key(keys.groups()).key(keys.aggregation_sets()).key(keys.paused()).key(keys.pause_note());
    call.key(keys.processed()).key(keys.due()).key(keys.grouping());
    call.arg(keys.entry_prefix()).arg(keys.task_prefix()).arg(millis(ahead)).arg(ENTRIES);
    call
}

fn ripe_call(queue: &QueueName, ahead: Duration, limits: &GroupLimits, looked: &GroupsLooked) -> Call {
    let keys = QueueKeys::new(queue);
    let mut call = script::READ_RIPE.key(keys.groups());
    call.arg(keys.group_prefix()).arg(looked.cursor.as_deref().unwrap_or("0")).arg(GROUPS).arg(millis(ahead));
    call.arg(limits.max_size).arg(limits.max_delay.map_or(0, seconds)).arg(seconds(limits.grace));
    call
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

impl Numbers {
    fn read(doing: &'static str, answer: Value) -> Result<Self, BrokerError> {
        let mut reply = Reply::new(doing, answer)?;
        let (now, is_paused) = (from_ms(reply.int()?), reply.int()? == 1);
        let mut count = || Ok::<_, BrokerError>(u64::try_from(reply.int()?).unwrap_or(0));
        let demand = Demand {
            now,
            is_paused,
            pending: count()?,
            active: count()?,
            expired: count()?,
            scheduled_soon: count()?,
            retry_soon: count()?,
            aggregating: count()?,
            groups: count()?,
            ripe_groups: 0,
            waiting_ticks: count()?,
            ticks_soon: count()?,
            next_tick: reply.maybe_int()?.map(from_ms),
            processed: u64::try_from(reply.int()?).unwrap_or(0),
        };
        let said = [reply.maybe_int()?, reply.maybe_int()?, reply.maybe_int()?, reply.maybe_int()?];
        Ok(Self { demand, grouping: grouping(said) })
    }
}

/// What workers said, if it is of a format known here.
fn grouping([format, grace, delay, size]: [Option<i64>; 4]) -> Option<GroupLimits> {
    format.filter(|format| *format == i64::from(GROUPING_FORMAT))?;
    let seconds = |said: Option<i64>| said.and_then(|said| u64::try_from(said).ok()).map(Duration::from_secs);
    Some(GroupLimits {
        grace: seconds(grace)?,
        max_delay: seconds(delay).filter(|delay| !delay.is_zero()),
        max_size: usize::try_from(size?).ok()?.clamp(1, SET_TASKS_MAX),
    })
}

impl GroupsLooked {
    /// Notes what one look at some groups found.
    fn note(&mut self, answer: Value) -> Result<(), BrokerError> {
        let mut reply = Reply::new("read which groups are ripe", answer)?;
        let cursor = Some(reply.text()?).filter(|cursor| cursor != "0");
        let ripe = u64::try_from(reply.int()?).unwrap_or(0);
        let first = reply.maybe_int()?.map(from_s);
        self.so_far.ripe += ripe;
        self.so_far.first = [self.so_far.first, first].into_iter().flatten().min();
        if cursor.is_none() {
            self.last = std::mem::take(&mut self.so_far);
        }
        self.cursor = cursor;
        Ok(())
    }

    /// How many are ripe by then, as far as is known.
    fn ripe_by(&self, then: Timestamp) -> u64 {
        let ripe = self.so_far.ripe.max(self.last.ripe);
        let is_one = [self.so_far.first, self.last.first].into_iter().flatten().any(|first| first <= then);
        ripe.max(u64::from(is_one))
    }
}

impl Broker {
    /// Says when this queue's groups are ripe, for those who decide whether a worker is needed for them. To be repeated
    /// within days.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn say_group_limits(&self, queue: &QueueName, limits: &GroupLimits) -> Result<(), BrokerError> {
        let key = QueueKeys::new(queue).grouping();
        let delay = limits.max_delay.map_or(0, seconds);
        let fields = [
            ("format", GROUPING_FORMAT.into()),
            ("grace", seconds(limits.grace)),
            ("delay", delay),
            ("size", limits.max_size as u64),
        ];
        let mut pipe = redis::pipe();
        pipe.hset_multiple(&key, &fields).ignore();
        pipe.expire(&key, GROUPING_LIFE.as_secs() as i64).ignore();
        self.pipe("say when groups are ripe", queue.as_str(), &pipe).await
    }
}
