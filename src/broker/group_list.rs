//! Reading groups: which there are, and what waits in one.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::inspect::PAGE_MAX;
use super::keys::QueueKeys;
use super::reply::from_s;
use super::{Broker, BrokerError, GroupSummary, Page, TaskView};
use crate::task::QueueName;

/// Groups asked about in one round trip.
const GROUPS_PER_TRIP: usize = 100;

impl Broker {
    /// Up to `limit` of a queue's groups (at most 1000), sorted by name among those read, and those of which
    /// something is being aggregated. Where there are more, which ones are read is left to Redis.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn groups(&self, queue: &QueueName, limit: usize) -> Result<Vec<GroupSummary>, BrokerError> {
        let limit = limit.min(PAGE_MAX);
        let taken = self.taken_groups(queue, limit).await?;
        let mut names: BTreeSet<Vec<u8>> = taken.keys().take(limit).cloned().collect();
        let mut found = self.group_names(queue, None);
        while names.len() < limit
            && let Some(some) = found.next().await?
        {
            for name in some {
                if names.len() < limit {
                    names.insert(name);
                }
            }
        }
        let names: Vec<Vec<u8>> = names.into_iter().collect();
        let mut groups = Vec::with_capacity(names.len());
        for chunk in names.chunks(GROUPS_PER_TRIP) {
            self.summarize(queue, chunk, &taken, &mut groups).await?;
        }
        Ok(groups)
    }

    /// One page of the tasks that wait in a group, the first to join first.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn group_tasks(
        &self,
        queue: &QueueName,
        group: &str,
        page: Page,
    ) -> Result<Vec<TaskView>, BrokerError> {
        let key = [QueueKeys::new(queue).group_prefix().as_str(), group].concat();
        self.zset_tasks(queue, &key, page).await
    }

    /// How many tasks of which groups are being aggregated.
    async fn taken_groups(
        &self,
        queue: &QueueName,
        limit: usize,
    ) -> Result<BTreeMap<Vec<u8>, u64>, BrokerError> {
        const DOING: &str = "list aggregation sets";
        let keys = QueueKeys::new(queue);
        let mut pipe = redis::pipe();
        pipe.zrange(keys.aggregation_sets(), 0, limit as isize - 1);
        let (sets,): (Vec<Vec<u8>>,) = self.pipe(DOING, queue.as_str(), &pipe).await?;
        let prefix = keys.group_prefix();
        let mut taken = BTreeMap::new();
        for chunk in sets.chunks(GROUPS_PER_TRIP) {
            let mut pipe = redis::pipe();
            for set in chunk {
                pipe.zcard(set);
            }
            let sizes: Vec<u64> = self.pipe(DOING, queue.as_str(), &pipe).await?;
            for (set, size) in chunk.iter().zip(sizes) {
                let end = set.iter().rposition(|byte| *byte == b':').unwrap_or(set.len());
                if let Some(name) = set[..end].strip_prefix(prefix.as_bytes()) {
                    *taken.entry(name.to_vec()).or_default() += size;
                }
            }
        }
        Ok(taken)
    }

    async fn summarize(
        &self,
        queue: &QueueName,
        names: &[Vec<u8>],
        taken: &BTreeMap<Vec<u8>, u64>,
        into: &mut Vec<GroupSummary>,
    ) -> Result<(), BrokerError> {
        type Ends = Vec<(Vec<u8>, f64)>;
        let prefix = QueueKeys::new(queue).group_prefix();
        let mut pipe = redis::pipe();
        for name in names {
            let key = [prefix.as_bytes(), name].concat();
            pipe.zcard(&key);
            pipe.cmd("ZRANGE").arg(&key).arg(0).arg(0).arg("WITHSCORES");
            pipe.cmd("ZRANGE").arg(&key).arg(-1).arg(-1).arg("WITHSCORES");
        }
        if names.is_empty() {
            return Ok(());
        }
        let answers: Vec<redis::Value> = self.pipe("read groups", queue.as_str(), &pipe).await?;
        let read = |value: &redis::Value| redis::from_redis_value::<Ends>(value.clone()).unwrap_or_default();
        let moment = |ends: Ends| ends.first().map(|(_, score)| from_s(*score as i64));
        for (name, answer) in names.iter().zip(answers.chunks_exact(3)) {
            let tasks = redis::from_redis_value::<u64>(answer[0].clone()).unwrap_or(0);
            let (oldest, newest): (Option<Timestamp>, Option<Timestamp>) =
                (moment(read(&answer[1])), moment(read(&answer[2])));
            into.push(GroupSummary {
                name: String::from_utf8_lossy(name).into_owned(),
                tasks,
                aggregating: taken.get(name).copied().unwrap_or(0),
                oldest,
                newest,
            });
        }
        Ok(())
    }
}
