//! Schedule entries: the only truth of what fires when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::keys::{QueueKeys, SCHEDULED_QUEUES};
use super::reply::{Reply, from_ms, from_s};
use super::script::Call;
use super::{Broker, BrokerError, Page, script};
use crate::schedule::{Concurrency, Entry, EntryError, TickRecord};
use crate::task::QueueName;

/// Most entries read at once.
const ENTRIES_MAX: usize = 500;
/// How long the ledger of a deleted entry stays readable.
const LEDGER_LIFE_S: u64 = 7 * 24 * 3600;
/// Score of what is never due.
const NEVER: &str = "+inf";

/// A tick and when it is due: later than its nominal time by the jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextTick {
    /// Its nominal time.
    pub nominal: Timestamp,
    /// When it is to run.
    pub due: Timestamp,
}

/// What became of writing an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutVerdict {
    /// It is in force.
    Written,
    /// It stood there already.
    Same,
    /// A newer revision stands there; nothing changed.
    Older {
        /// The revision found.
        stored: String,
    },
    /// The edit moves its times, and a tick under the old ones is due: fire that first, then repeat.
    DueFirst,
}

/// What became of taking an entry out of force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retired {
    /// It no longer fires.
    Gone {
        /// The tick it would have fired next.
        next: Option<NextTick>,
        /// Hash of what decided its times.
        timing: String,
    },
    /// There is none.
    Absent,
    /// It belongs to another cluster; nothing changed.
    Foreign,
}

/// Entries that are due soon.
#[derive(Debug, Clone, PartialEq)]
pub struct DueEntries {
    /// Redis's time when they were read.
    pub now: Timestamp,
    /// When the first entry not among them is due.
    pub later: Option<Timestamp>,
    /// The entries, earliest first.
    pub entries: Vec<DueEntry>,
}

/// One entry that is due soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueEntry {
    /// Its uid.
    pub uid: String,
    /// When it is due.
    pub due: Timestamp,
    /// Its revision; empty when its hash has vanished.
    pub revision: String,
    /// Its next tick.
    pub next: Option<Timestamp>,
    /// A tick that waits for the run it replaces to end.
    pub waiting: Option<Timestamp>,
}

/// An entry as it stands in Redis.
#[derive(Debug, Clone)]
pub struct StoredEntry {
    /// Its uid.
    pub uid: String,
    /// The entry, or why it cannot be read.
    pub entry: Result<Entry, Arc<EntryError>>,
    /// The cluster it belongs to.
    pub cluster: String,
    /// Its revision as text.
    pub revision: String,
    /// The next tick.
    pub next: Option<Timestamp>,
    /// The last tick that was enqueued.
    pub last: Option<Timestamp>,
    /// A tick that waits for the run it replaces to end.
    pub waiting: Option<Timestamp>,
    /// How many ticks ended as what.
    pub counts: BTreeMap<String, u64>,
    /// Why it is set aside, if it is.
    pub fault: Option<String>,
    /// It was taken out of force.
    pub retired: bool,
}

impl Broker {
    /// Writes an entry. `next` is its first tick after now; `carried` its next tick in the queue it came from.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn put_entry(
        &self,
        entry: &Entry,
        next: Option<NextTick>,
        carried: Option<NextTick>,
    ) -> Result<PutVerdict, BrokerError> {
        const DOING: &str = "write a schedule";
        let queue = QueueName::new(entry.template.queue.as_str())?;
        let keys = QueueKeys::new(&queue);
        self.note_schedules(&queue).await?;
        let revision = &entry.revision;
        let mut call = script::PUT_ENTRY.key(keys.entry(&entry.uid));
        call.key(keys.due()).key(keys.ticks(&entry.uid));
        call.arg(&entry.uid).arg(revision.epoch).arg(revision.generation);
        call.arg(revision.to_string())
            .arg(entry.to_json())
            .arg(entry.timing_hash())
            .arg(policy(entry.concurrency));
        add_tick(&mut call, next);
        call.arg(&entry.cluster).arg(self.now_in(queue.as_str()).as_millisecond());
        match carried {
            Some(_) => add_tick(&mut call, carried),
            None => {
                call.arg("").arg("");
            }
        }
        call.arg(u8::from(entry.suspend)).arg(entry.format);
        let mut reply = Reply::new(DOING, self.run(DOING, queue.as_str(), &call).await?)?;
        let verdict = reply.text()?;
        match verdict.as_str() {
            "written" => Ok(PutVerdict::Written),
            "same" => Ok(PutVerdict::Same),
            "older" => Ok(PutVerdict::Older { stored: reply.text()? }),
            "due-first" => Ok(PutVerdict::DueFirst),
            other => Err(BrokerError::Reply { doing: DOING, problem: format!("verdict {other:?}") }),
        }
    }

    /// Takes an entry out of force: deletes it, or leaves a tombstone while it moves to another queue. With a
    /// `cluster`, only if it belongs to that one.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn retire_entry(
        &self,
        queue: &QueueName,
        uid: &str,
        cluster: Option<&str>,
        tombstone: bool,
    ) -> Result<Retired, BrokerError> {
        const DOING: &str = "retire a schedule";
        let keys = QueueKeys::new(queue);
        let mut call = script::RETIRE_ENTRY.key(keys.entry(uid));
        call.key(keys.due()).key(keys.ticks(uid)).arg(uid).arg(cluster.unwrap_or(""));
        call.arg(u8::from(tombstone)).arg(LEDGER_LIFE_S);
        let mut reply = Reply::new(DOING, self.run(DOING, queue.as_str(), &call).await?)?;
        match reply.text()?.as_str() {
            "retired" => {
                let (nominal, timing, due) = (reply.maybe_int()?, reply.text()?, reply.maybe_int()?);
                let tick = |(nominal, due)| NextTick { nominal: from_s(nominal), due: from_ms(due) };
                Ok(Retired::Gone { next: nominal.zip(due).map(tick), timing })
            }
            "foreign" => Ok(Retired::Foreign),
            _ => Ok(Retired::Absent),
        }
    }

    /// Sets an entry aside that cannot be fired, unless it has changed since that revision.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn fault_entry(
        &self,
        queue: &QueueName,
        uid: &str,
        revision: &str,
        why: &str,
    ) -> Result<bool, BrokerError> {
        let keys = QueueKeys::new(queue);
        let mut call = script::FAULT_ENTRY.key(keys.entry(uid));
        call.key(keys.due()).arg(uid).arg(revision).arg(why);
        let set_aside: i64 = self.run("set a schedule aside", queue.as_str(), &call).await?;
        Ok(set_aside == 1)
    }

    /// The entries of a queue that are due within `ahead`, earliest first: at most `page.limit` and 500, without the first
    /// `page.offset`.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn due_entries(
        &self,
        queue: &QueueName,
        ahead: Duration,
        page: Page,
    ) -> Result<DueEntries, BrokerError> {
        const DOING: &str = "read due schedules";
        let keys = QueueKeys::new(queue);
        let mut call = script::DUE.key(keys.due());
        call.arg(keys.entry_prefix()).arg(ahead.as_millis() as u64);
        call.arg(page.offset).arg(page.limit.clamp(1, ENTRIES_MAX));
        let mut reply = Reply::new(DOING, self.run(DOING, queue.as_str(), &call).await?)?;
        let now = from_ms(reply.int()?);
        let later = finite(&reply.text()?);
        let mut entries = Vec::new();
        while !reply.is_empty() {
            entries.push(DueEntry {
                uid: reply.text()?,
                due: from_ms(reply.int()?),
                revision: reply.text()?,
                next: reply.maybe_int()?.map(from_s),
                waiting: reply.maybe_int()?.map(from_s),
            });
        }
        Ok(DueEntries { now, later, entries })
    }

    /// Reads entries whole, at most 500; what is not there is left out.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn read_entries(
        &self,
        queue: &QueueName,
        uids: &[String],
    ) -> Result<Vec<StoredEntry>, BrokerError> {
        let keys = QueueKeys::new(queue);
        let mut found = Vec::new();
        for chunk in uids.chunks(100) {
            let mut pipe = redis::pipe();
            for uid in chunk {
                pipe.hgetall(keys.entry(uid));
            }
            let rows: Vec<BTreeMap<String, Vec<u8>>> =
                self.pipe("read schedules", queue.as_str(), &pipe).await?;
            let there = rows.into_iter().zip(chunk).filter(|(row, _)| row.contains_key("rev"));
            found.extend(there.map(|(row, uid)| stored(uid.clone(), row)));
        }
        Ok(found)
    }

    /// One page of a queue's entries, earliest due first.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn entries(&self, queue: &QueueName, page: Page) -> Result<Vec<StoredEntry>, BrokerError> {
        let limit = page.limit.clamp(1, ENTRIES_MAX) as i64;
        let first = page.offset as i64;
        let mut pipe = redis::pipe();
        pipe.cmd("ZRANGE").arg(QueueKeys::new(queue).due()).arg(first).arg(first + limit - 1);
        let (uids,): (Vec<Vec<u8>>,) = self.pipe("list schedules", queue.as_str(), &pipe).await?;
        let uids: Vec<String> = uids.into_iter().filter_map(|uid| String::from_utf8(uid).ok()).collect();
        self.read_entries(queue, &uids).await
    }

    /// How many entries a queue has.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn entry_count(&self, queue: &QueueName) -> Result<u64, BrokerError> {
        let mut pipe = redis::pipe();
        pipe.zcard(QueueKeys::new(queue).due());
        let (count,): (u64,) = self.pipe("count schedules", queue.as_str(), &pipe).await?;
        Ok(count)
    }

    /// The ledger of an entry, newest record first. Records of a newer format are left out.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn ticks(
        &self,
        queue: &QueueName,
        uid: &str,
        limit: usize,
    ) -> Result<Vec<TickRecord>, BrokerError> {
        let mut pipe = redis::pipe();
        pipe.lrange(QueueKeys::new(queue).ticks(uid), 0, limit.clamp(1, 100) as isize - 1);
        let (lines,): (Vec<Vec<u8>>,) = self.pipe("read a tick ledger", queue.as_str(), &pipe).await?;
        let lines: Vec<String> = lines.into_iter().filter_map(|line| String::from_utf8(line).ok()).collect();
        Ok(lines.iter().filter_map(|line| TickRecord::parse(line).ok()).collect())
    }

    /// The queues that hold schedule entries, or held some.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn scheduled_queues(&self) -> Result<Vec<QueueName>, BrokerError> {
        let mut pipe = redis::pipe();
        pipe.smembers(SCHEDULED_QUEUES);
        let (names,): (Vec<Vec<u8>>,) = self.pipe("list queues with schedules", "*", &pipe).await?;
        // What is no text names no queue.
        let names = names.into_iter().filter_map(|name| String::from_utf8(name).ok());
        let mut names: Vec<_> = names.filter_map(|name| QueueName::new(name).ok()).collect();
        names.sort();
        Ok(names)
    }

    async fn note_schedules(&self, queue: &QueueName) -> Result<(), BrokerError> {
        if self.scheduled().is_recent(queue) {
            return Ok(());
        }
        self.register_queue_sometimes(queue).await?;
        let mut pipe = redis::pipe();
        pipe.sadd(SCHEDULED_QUEUES, queue.as_str()).ignore();
        self.pipe::<()>("note a queue with schedules", queue.as_str(), &pipe).await?;
        self.scheduled().note(queue);
        Ok(())
    }
}

/// The concurrency policy as the firing script knows it.
fn policy(concurrency: Concurrency) -> &'static str {
    match concurrency {
        Concurrency::Allow => "allow",
        Concurrency::Forbid => "forbid",
        Concurrency::Replace => "replace",
    }
}

/// Adds a tick as scripts take it: nominal Unix s or '', due Unix ms or +inf.
pub(super) fn add_tick(call: &mut Call, tick: Option<NextTick>) {
    match tick {
        Some(tick) => call.arg(tick.nominal.as_second()).arg(tick.due.as_millisecond()),
        None => call.arg("").arg(NEVER),
    };
}

fn finite(score: &str) -> Option<Timestamp> {
    let score: f64 = score.parse().ok()?;
    score.is_finite().then(|| from_ms(score as i64))
}

fn stored(uid: String, row: BTreeMap<String, Vec<u8>>) -> StoredEntry {
    // The list of living tasks is packed, not text.
    let text = |(name, value)| Some((name, String::from_utf8(value).ok()?));
    let row: BTreeMap<String, String> = row.into_iter().filter_map(text).collect();
    let field = |name: &str| row.get(name).map(String::as_str);
    let tick = |name: &str| field(name)?.parse().ok().map(from_s);
    let count =
        |(name, value): (&String, &String)| Some((name.strip_prefix("n:")?.to_owned(), value.parse().ok()?));
    let body = field("body").unwrap_or_default();
    StoredEntry {
        entry: Entry::from_json(body.as_bytes()).map_err(Arc::new),
        cluster: field("cluster").unwrap_or_default().to_owned(),
        revision: field("rev").unwrap_or_default().to_owned(),
        next: tick("next"),
        last: tick("last"),
        waiting: tick("waiting"),
        counts: row.iter().filter_map(count).collect(),
        fault: field("fault").map(str::to_owned),
        retired: row.contains_key("retired"),
        uid,
    }
}
