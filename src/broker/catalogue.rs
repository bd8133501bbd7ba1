//! Which types workers serve, and which they met that nobody serves.
//!
//! Workers of ours tell their types with each heartbeat; Go's tell none, and then nothing is known of the queues they
//! serve. Nobody reads messages to find out: the worker that meets a type in vain tells it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::keys::QueueKeys;
use super::{Broker, BrokerError, Concern, LiveServer, script};
use crate::task::QueueName;

/// Types that a worker tells at most, and bytes of them.
const TYPES_MAX: usize = 256;
const BYTES_MAX: usize = 16 * 1024;
/// Types met in vain that a queue remembers, and the longest of them in bytes.
const UNSERVED_MAX: usize = 20;
const TYPE_BYTES_MAX: usize = 256;
/// How long a type counts after it was last met in vain. A task comes back within two minutes.
const LIFE: Duration = Duration::from_secs(300);

/// What a worker publishes.
#[derive(Serialize, Deserialize)]
struct Catalogue {
    format: u32,
    types: Vec<String>,
}

/// The types of a worker as they are published; `None` when there are too many to tell.
pub(super) fn written(types: &[String]) -> Option<String> {
    if types.len() > TYPES_MAX || types.iter().map(String::len).sum::<usize>() > BYTES_MAX {
        return None;
    }
    serde_json::to_string(&Catalogue { format: 1, types: types.to_vec() }).ok()
}

/// The types that a worker published, if it did.
pub(super) fn read(value: &redis::Value) -> Option<Vec<String>> {
    let text: Option<Vec<u8>> = redis::from_redis_value_ref(value).unwrap_or_default();
    let catalogue: Catalogue = serde_json::from_slice(&text?).ok()?;
    (catalogue.format == 1).then_some(catalogue.types)
}

impl Broker {
    /// Notes that a worker met a task of a type that it has no handler for; how often the task was put off before.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn note_unserved(&self, queue: &QueueName, id: &str, kind: &str) -> Result<u64, BrokerError> {
        let keys = QueueKeys::new(queue);
        let mut call = script::NOTE_UNSERVED.key(keys.unserved());
        call.key(keys.task(id));
        // Half a type would be another one.
        call.arg(if kind.len() > TYPE_BYTES_MAX { "" } else { kind });
        call.arg(self.now_in(queue.as_str()).as_second()).arg(LIFE.as_secs()).arg(UNSERVED_MAX);
        self.run("note a type without a handler", queue.as_str(), &call).await
    }

    /// For each of these queues the types that workers met in vain within the last five minutes and that no live
    /// worker serves; sorted, 20 at most. Empty for a queue that a live worker serves which does not tell its types.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn unserved_types(&self, queues: &[QueueName]) -> Result<Vec<Vec<String>>, BrokerError> {
        const DOING: &str = "read types without a handler";
        let mut question = self.question(Concern::Unserved, queues.to_vec());
        let hold = self.which_hold(&mut question).await?;
        let mut met = vec![Vec::new(); queues.len()];
        let with_any: Vec<_> = (0..queues.len()).filter(|at| hold[*at]).collect();
        if with_any.is_empty() {
            return Ok(met);
        }
        let mut pipe = redis::pipe();
        for queue in with_any.iter().map(|at| &queues[*at]) {
            pipe.cmd("ZRANGE").arg(QueueKeys::new(queue).unserved());
            pipe.arg(self.now_in(queue.as_str()).as_second()).arg("+inf").arg("BYSCORE");
            pipe.arg("LIMIT").arg(0).arg(UNSERVED_MAX);
        }
        let read: Vec<Vec<String>> = self.pipe(DOING, "*", &pipe).await?;
        with_any.into_iter().zip(read).for_each(|(at, types)| met[at] = types);
        if met.iter().all(Vec::is_empty) {
            return Ok(met);
        }
        let serving = self.servers().await?;
        for (queue, types) in queues.iter().zip(&mut met) {
            keep_unserved(queue.as_str(), types, &serving);
        }
        Ok(met)
    }
}

/// Leaves of the types that were met in vain those that none of the workers that claim from the queue serves, as far as
/// they tell.
fn keep_unserved(queue: &str, met: &mut Vec<String>, serving: &[LiveServer]) {
    let claims = |worker: &&LiveServer| {
        worker.info.status == "active" && worker.info.queues.iter().any(|served| served.queue() == queue)
    };
    for worker in serving.iter().filter(claims) {
        let Some(types) = &worker.types else { return met.clear() };
        met.retain(|kind| !types.iter().any(|served| kind.starts_with(served.as_str())));
    }
    met.sort();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{QueueWeight, ServerInfo};

    fn serving(queues: &[&str], types: Option<&[&str]>) -> LiveServer {
        let queue = |name: &&str| QueueWeight { queue: Some((*name).to_owned()), ..QueueWeight::default() };
        let queues = queues.iter().map(queue).collect();
        let info = ServerInfo { queues, status: "active".into(), ..ServerInfo::default() };
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        LiveServer { info, running: Vec::new(), types: types.map(owned) }
    }

    fn left(met: &[&str], workers: &[LiveServer]) -> Vec<String> {
        let mut met = met.iter().map(|kind| (*kind).to_owned()).collect();
        keep_unserved("q", &mut met, workers);
        met
    }

    #[test]
    fn a_type_is_unserved_while_no_worker_of_its_queue_serves_it_or_what_it_begins_with() {
        let none: [&str; 0] = [];
        assert_eq!(left(&["b", "a"], &[]), ["a", "b"], "the last one that met them says so");
        assert_eq!(left(&["b", "a:x"], &[serving(&["q"], Some(&["a:"]))]), ["b"]);
        assert_eq!(left(&["a"], &[serving(&["other"], Some(&["a"]))]), ["a"]);
        assert_eq!(left(&["a"], &[serving(&["q"], Some(&["aa"])), serving(&["q"], Some(&["a"]))]), none);
    }

    #[test]
    fn nothing_is_claimed_of_a_queue_whose_worker_does_not_tell() {
        assert!(left(&["a"], &[serving(&["q"], Some(&["b"])), serving(&["q"], None)]).is_empty());
        assert_eq!(left(&["a"], &[serving(&["other"], None)]), ["a"]);
    }

    #[test]
    fn what_is_too_much_to_tell_is_not_told_in_part() {
        let types = |n: usize| (0..n).map(|n| format!("type-{n}")).collect::<Vec<_>>();
        let read = |text: String| read(&redis::Value::BulkString(text.into_bytes()));
        assert_eq!(written(&types(256)).and_then(read), Some(types(256)));
        assert_eq!(written(&types(257)), None);
        assert_eq!(written(&["x".repeat(BYTES_MAX + 1)]), None);
        assert_eq!(read(r#"{"format":2,"types":["a"]}"#.to_owned()), None, "a higher format is left alone");
    }
}
