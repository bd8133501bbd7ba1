//! Reading queues and tasks. Nothing here writes, and nothing reads more than a page.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::keep::Dropped;
use super::keys::{QUEUES, QueueKeys};
use super::pause::PauseState;
use super::reply::from_s;
use super::server::since;
use super::{Broker, BrokerError};
use crate::task::{Message, QueueName, State};

/// Most tasks on one page.
pub(super) const PAGE_MAX: usize = 1000;
/// Groups whose sizes are read for a queue's summary; the rest is estimated from them.
const GROUPS_READ: usize = 100;

/// A queue at a glance.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct QueueSummary {
    /// Its name in Redis.
    pub queue: String,
    /// Tasks that can be claimed.
    pub pending: u64,
    /// Tasks that run.
    pub active: u64,
    /// Tasks that wait for their time.
    pub scheduled: u64,
    /// Tasks that wait for another attempt.
    pub retry: u64,
    /// Tasks given up.
    pub archived: u64,
    /// Tasks done and kept.
    pub completed: u64,
    /// Tasks waiting in groups; estimated beyond 100 groups.
    pub aggregating: u64,
    /// Groups.
    pub groups: u64,
    /// Attempts ended today (UTC), failures included.
    pub processed_today: u64,
    /// Attempts failed today (UTC).
    pub failed_today: u64,
    /// Attempts ended ever.
    pub processed_total: u64,
    /// Attempts failed ever.
    pub failed_total: u64,
    /// Archived tasks that the limits of the archive have cost, ever.
    pub dropped: Dropped,
    /// How long the oldest pending task has waited.
    pub wait: Duration,
    /// Whether, since when and why claims are stopped.
    pub paused: Option<PauseState>,
}

impl QueueSummary {
    /// All tasks of the queue.
    #[must_use]
    pub fn size(&self) -> u64 {
        State::ALL.into_iter().map(|state| self.count(state)).sum()
    }

    /// Tasks in one state.
    #[must_use]
    pub fn count(&self, state: State) -> u64 {
        match state {
            State::Active => self.active,
            State::Pending => self.pending,
            State::Scheduled => self.scheduled,
            State::Retry => self.retry,
            State::Archived => self.archived,
            State::Completed => self.completed,
            State::Aggregating => self.aggregating,
        }
    }
}

/// What stands in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub(crate) pending: u64,
    pub(crate) active: u64,
    pub(crate) scheduled: u64,
    pub(crate) retry: u64,
    pub(crate) archived: u64,
    /// How long the oldest pending task has waited.
    pub(crate) wait: Duration,
}

/// One day's numbers.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DayCount {
    /// The day, UTC.
    pub day: String,
    /// Attempts ended.
    pub processed: u64,
    /// Attempts failed.
    pub failed: u64,
}

/// A slice of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Items to skip from the front: the oldest pending, or the earliest due.
    pub offset: usize,
    /// Items to read, at most 1000.
    pub limit: usize,
}

/// A task as read.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskView {
    /// Its id.
    pub id: String,
    /// Its state.
    pub state: State,
    /// Its message; an undecodable one stands in its envelope.
    pub message: Message,
    /// When it is due, retried, was archived, or will be deleted, by its state.
    pub at: Option<Timestamp>,
    /// Since when it is pending.
    pub pending_since: Option<Timestamp>,
    /// Who runs it, when that is a worker of ours.
    pub owner: Option<String>,
    /// What its handler returned.
    pub result: Option<Bytes>,
    /// How often a worker vanished while running it.
    pub crashes: u32,
}

impl Broker {
    /// All queues, sorted by name.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn queues(&self) -> Result<Vec<QueueName>, BrokerError> {
        let mut pipe = redis::pipe();
        pipe.smembers(QUEUES);
        let (names,): (Vec<Vec<u8>>,) = self.pipe("list queues", "*", &pipe).await?;
        // What is no text names no queue.
        let names = names.into_iter().filter_map(|name| String::from_utf8(name).ok());
        let mut names: Vec<_> = names.filter_map(|name| QueueName::new(name).ok()).collect();
        names.sort();
        Ok(names)
    }

    /// What stands in a queue, in one round trip, and one more where tasks wait.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub(crate) async fn backlog(&self, queue: &QueueName) -> Result<Backlog, BrokerError> {
        let keys = QueueKeys::new(queue);
        let mut pipe = redis::pipe();
        pipe.llen(keys.pending()).llen(keys.active()).zcard(keys.scheduled()).zcard(keys.retry());
        pipe.zcard(keys.archived()).lindex(keys.pending(), -1);
        type Numbers = (u64, u64, u64, u64, u64, Option<Vec<u8>>);
        let (pending, active, scheduled, retry, archived, oldest): Numbers =
            self.pipe("read what stands in a queue", queue.as_str(), &pipe).await?;
        let since_when = match &oldest {
            Some(oldest) => self.waiting_since(queue, &String::from_utf8_lossy(oldest)).await?,
            None => None,
        };
        let wait = since_when.map_or(Duration::ZERO, |then| since(self.now_in(queue.as_str()), then));
        Ok(Backlog { pending, active, scheduled, retry, archived, wait })
    }

    /// A queue's numbers, in two round trips whatever its size. A queue nobody wrote to has zeros.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn queue_summary(&self, queue: &QueueName) -> Result<QueueSummary, BrokerError> {
        const DOING: &str = "read the queue's numbers";
        let keys = QueueKeys::new(queue);
        let day = self.now_in(queue.as_str()).strftime("%Y-%m-%d").to_string();
        let backlog = self.backlog(queue).await?;
        let mut pipe = redis::pipe();
        pipe.zcard(keys.completed()).scard(keys.groups());
        pipe.get(keys.processed_on(&day)).get(keys.failed_on(&day)).get(keys.processed()).get(keys.failed());
        pipe.hmget(keys.dropped(), &["age", "number"]);
        type Drops = (Option<u64>, Option<u64>);
        type Numbers = (u64, u64, Option<u64>, Option<u64>, Option<u64>, Option<u64>, Drops);
        let numbers: Numbers = self.pipe(DOING, queue.as_str(), &pipe).await?;
        Ok(QueueSummary {
            queue: queue.to_string(),
            pending: backlog.pending,
            active: backlog.active,
            scheduled: backlog.scheduled,
            retry: backlog.retry,
            archived: backlog.archived,
            completed: numbers.0,
            groups: numbers.1,
            aggregating: if numbers.1 == 0 { 0 } else { self.aggregating(queue, numbers.1).await? },
            processed_today: numbers.2.unwrap_or(0),
            failed_today: numbers.3.unwrap_or(0),
            processed_total: numbers.4.unwrap_or(0),
            failed_total: numbers.5.unwrap_or(0),
            dropped: Dropped { age: numbers.6.0.unwrap_or(0), number: numbers.6.1.unwrap_or(0) },
            wait: backlog.wait,
            paused: self.pause_state(queue).await?,
        })
    }

    /// The last `days` days' numbers, today first.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn history(&self, queue: &QueueName, days: u16) -> Result<Vec<DayCount>, BrokerError> {
        let keys = QueueKeys::new(queue);
        let names: Vec<String> = (0..i64::from(days.clamp(1, 90)))
            .map(|back| (self.now() - SignedDuration::from_hours(24 * back)).strftime("%Y-%m-%d").to_string())
            .collect();
        let mut pipe = redis::pipe();
        for day in &names {
            pipe.get(keys.processed_on(day)).get(keys.failed_on(day));
        }
        let counts: Vec<Option<u64>> = self.pipe("read the queue's history", queue.as_str(), &pipe).await?;
        let day = |(day, pair): (String, &[Option<u64>])| DayCount {
            day,
            processed: pair[0].unwrap_or(0),
            failed: pair[1].unwrap_or(0),
        };
        Ok(names.into_iter().zip(counts.chunks_exact(2)).map(day).collect())
    }

    /// One page of a queue's tasks in a state; none of the aggregating ones, which stand in their groups: see
    /// [`group_tasks`](Self::group_tasks).
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn tasks(
        &self,
        queue: &QueueName,
        state: State,
        page: Page,
    ) -> Result<Vec<TaskView>, BrokerError> {
        const DOING: &str = "list tasks";
        let keys = QueueKeys::new(queue);
        let limit = page.limit.min(PAGE_MAX);
        if limit == 0 || state == State::Aggregating {
            return Ok(Vec::new());
        }
        if !matches!(state, State::Pending | State::Active) {
            return self.zset_tasks(queue, &keys.container(state), page).await;
        }
        // New ids are pushed on the left, so the oldest is the last.
        let (first, last) = (page.offset as i64, (page.offset + limit - 1) as i64);
        let mut pipe = redis::pipe();
        pipe.cmd("LRANGE").arg(keys.container(state)).arg(-last - 1).arg(-first - 1);
        let (ids,): (Vec<Vec<u8>>,) = self.pipe(DOING, queue.as_str(), &pipe).await?;
        let ids: Vec<_> = ids.into_iter().rev().map(|id| (text(id), None)).collect();
        self.all_views(queue, &ids).await
    }

    /// One page of the tasks whose ids stand in a zset, by their scores.
    pub(super) async fn zset_tasks(
        &self,
        queue: &QueueName,
        key: &str,
        page: Page,
    ) -> Result<Vec<TaskView>, BrokerError> {
        let limit = page.limit.min(PAGE_MAX);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut pipe = redis::pipe();
        pipe.cmd("ZRANGE").arg(key).arg(page.offset).arg(page.offset + limit - 1).arg("WITHSCORES");
        let (ids,): (Vec<(Vec<u8>, f64)>,) = self.pipe("list tasks", queue.as_str(), &pipe).await?;
        let ids: Vec<_> = ids.into_iter().map(|(id, score)| (text(id), Some(score as i64))).collect();
        self.all_views(queue, &ids).await
    }

    async fn all_views(
        &self,
        queue: &QueueName,
        ids: &[(String, Option<i64>)],
    ) -> Result<Vec<TaskView>, BrokerError> {
        let mut views = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(100) {
            views.extend(self.views(queue, chunk).await?);
        }
        Ok(views)
    }

    /// One task; `None` when there is none of that id.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn task(&self, queue: &QueueName, id: &str) -> Result<Option<TaskView>, BrokerError> {
        let Some(mut view) = self.views(queue, &[(id.to_owned(), None)]).await?.pop() else {
            return Ok(None);
        };
        let keys = QueueKeys::new(queue);
        if !matches!(view.state, State::Pending | State::Aggregating) {
            let holder = if view.state == State::Active { keys.lease() } else { keys.container(view.state) };
            let mut pipe = redis::pipe();
            pipe.cmd("ZSCORE").arg(holder).arg(id);
            let (score,): (Option<f64>,) = self.pipe("read a task", queue.as_str(), &pipe).await?;
            view.at = score.map(|score| from_s(score as i64));
        }
        Ok(Some(view))
    }

    async fn waiting_since(&self, queue: &QueueName, id: &str) -> Result<Option<Timestamp>, BrokerError> {
        let mut pipe = redis::pipe();
        pipe.hget(QueueKeys::new(queue).task(id), "pending_since");
        let (since,): (Option<String>,) = self.pipe("read the oldest task", queue.as_str(), &pipe).await?;
        Ok(since.and_then(|ns| Timestamp::from_nanosecond(ns.parse().ok()?).ok()))
    }

    async fn aggregating(&self, queue: &QueueName, groups: u64) -> Result<u64, BrokerError> {
        const DOING: &str = "read group sizes";
        let keys = QueueKeys::new(queue);
        let mut pipe = redis::pipe();
        pipe.cmd("SRANDMEMBER").arg(keys.groups()).arg(GROUPS_READ);
        let (names,): (Vec<Vec<u8>>,) = self.pipe(DOING, queue.as_str(), &pipe).await?;
        let mut pipe = redis::pipe();
        for name in &names {
            pipe.zcard([keys.group_prefix().as_bytes(), name].concat());
        }
        if names.is_empty() {
            return Ok(0);
        }
        let sizes: Vec<u64> = self.pipe(DOING, queue.as_str(), &pipe).await?;
        Ok(sizes.iter().sum::<u64>() * groups / names.len() as u64)
    }

    pub(super) async fn views(
        &self,
        queue: &QueueName,
        ids: &[(String, Option<i64>)],
    ) -> Result<Vec<TaskView>, BrokerError> {
        const FIELDS: [&str; 5] = ["msg", "state", "pending_since", "result", "cronmill_crashes"];
        type Fields = (Option<Vec<u8>>, Option<String>, Option<String>, Option<Vec<u8>>, Option<u32>);
        let keys = QueueKeys::new(queue);
        let mut pipe = redis::pipe();
        for (id, _) in ids {
            pipe.hmget(keys.task(id), &FIELDS);
        }
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<Fields> = self.pipe("read tasks", queue.as_str(), &pipe).await?;
        let mut owners = self.owners(queue, ids, |at| rows[at].1.as_deref() == Some("active")).await?;
        let view = |(row, (id, score)): (Fields, &(String, Option<i64>))| {
            let raw = Bytes::from(row.0?);
            let message = Message::decode(raw.clone())
                .unwrap_or_else(|error| Message::undecodable(id, queue.as_str(), raw, &error.to_string(), 0));
            let since = row.2.and_then(|ns| Timestamp::from_nanosecond(ns.parse().ok()?).ok());
            Some(TaskView {
                id: id.clone(),
                state: row.1?.parse().ok()?,
                message,
                at: score.map(from_s),
                pending_since: since,
                owner: owners.remove(id),
                result: row.3.map(Bytes::from),
                crashes: row.4.unwrap_or(0),
            })
        };
        Ok(rows.into_iter().zip(ids).filter_map(view).collect())
    }

    /// Who holds those of the tasks that are active, by their ids.
    async fn owners(
        &self,
        queue: &QueueName,
        ids: &[(String, Option<i64>)],
        is_active: impl Fn(usize) -> bool,
    ) -> Result<HashMap<String, String>, BrokerError> {
        let active: Vec<&str> =
            ids.iter().enumerate().filter(|(at, _)| is_active(*at)).map(|(_, (id, _))| id.as_str()).collect();
        if active.is_empty() {
            return Ok(HashMap::new());
        }
        let mut pipe = redis::pipe();
        pipe.hmget(QueueKeys::new(queue).holders(), &active);
        let (held,): (Vec<Option<String>>,) =
            self.pipe("read who holds tasks", queue.as_str(), &pipe).await?;
        let owner = |(id, held): (&str, Option<String>)| Some((id.to_owned(), owner_in(&held?)?));
        Ok(active.into_iter().zip(held).filter_map(owner).collect())
    }
}

/// Who holds a task, of `<lease end> <owner>` with ` revoked` behind it once it was taken back.
fn owner_in(held: &str) -> Option<String> {
    let (_, owner) = held.split_once(' ')?;
    Some(owner.strip_suffix(" revoked").unwrap_or(owner).to_owned())
}

pub(super) fn text(id: Vec<u8>) -> String {
    String::from_utf8_lossy(&id).into_owned()
}
