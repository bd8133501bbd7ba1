//! Reading zsets in pages that do not shift while members come and go: each page begins after the member that the
//! last one ended with, not at a rank.

use super::keys::QueueKeys;
use super::{Broker, BrokerError};
use crate::task::QueueName;

/// A member of a zset and its score: a place that stays where it is while others come and go.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    /// The task's id.
    pub(super) id: Vec<u8>,
    /// Its score.
    pub(super) score: f64,
}

impl Place {
    /// Whether this place comes later than another: by score, and by the id's bytes within one score.
    pub(super) fn is_after(&self, other: &Self) -> bool {
        self.score > other.score || (self.score == other.score && self.id > other.id)
    }
}

/// The last of a page's places that satisfies something.
pub(super) fn last_place(page: &[Place], is_wanted: impl Fn(usize) -> bool) -> Option<&Place> {
    (0..page.len()).rev().find(|&at| is_wanted(at)).map(|at| &page[at])
}

impl Broker {
    /// The members after a place, lowest scores first. It need not be a member any more.
    pub(super) async fn page_after(
        &self,
        queue: &QueueName,
        zset: &[u8],
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Vec<Place>, BrokerError> {
        let first = match after {
            Some(place) => self.rank_after(queue, zset, place).await?,
            None => 0,
        };
        self.range(queue, zset, first, first + limit as i64 - 1).await
    }

    /// The last member of a zset.
    pub(super) async fn last_of(&self, queue: &QueueName, zset: &[u8]) -> Result<Option<Place>, BrokerError> {
        Ok(self.range(queue, zset, -1, -1).await?.pop())
    }

    async fn range(
        &self,
        queue: &QueueName,
        zset: &[u8],
        first: i64,
        last: i64,
    ) -> Result<Vec<Place>, BrokerError> {
        let mut pipe = redis::pipe();
        pipe.cmd("ZRANGE").arg(zset).arg(first).arg(last).arg("WITHSCORES");
        let (members,): (Vec<(Vec<u8>, f64)>,) = self.pipe("read a page", queue.as_str(), &pipe).await?;
        Ok(members.into_iter().map(|(id, score)| Place { id, score }).collect())
    }

    /// The rank of the first member after a place.
    async fn rank_after(&self, queue: &QueueName, zset: &[u8], place: &Place) -> Result<i64, BrokerError> {
        const DOING: &str = "find a page";
        let mut pipe = redis::pipe();
        pipe.cmd("ZSCORE").arg(zset).arg(&place.id).cmd("ZRANK").arg(zset).arg(&place.id);
        pipe.cmd("ZCOUNT").arg(zset).arg("-inf").arg(format!("({}", place.score));
        pipe.cmd("ZCOUNT").arg(zset).arg("-inf").arg(place.score);
        let found: (Option<f64>, Option<i64>, i64, i64) = self.pipe(DOING, queue.as_str(), &pipe).await?;
        if let (Some(score), Some(rank), ..) = found
            && score == place.score
        {
            return Ok(rank + 1);
        }
        // It has gone: look where it would be among those of its score, which are sorted by their bytes.
        let (_, _, mut low, mut high) = found;
        while low < high {
            let middle = low + (high - low) / 2;
            match self.range(queue, zset, middle, middle).await?.pop() {
                Some(member) if !member.is_after(place) => low = middle + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// The names of a queue's groups, some at a time; or just the one given.
    pub(super) fn group_names<'a>(&'a self, queue: &'a QueueName, only: Option<&str>) -> GroupNames<'a> {
        let only = only.map(|name| name.as_bytes().to_vec());
        GroupNames { broker: self, queue, only, cursor: Some(0) }
    }

    /// How many tasks wait in groups, exactly.
    pub(super) async fn count_aggregating(
        &self,
        queue: &QueueName,
        only: Option<&str>,
    ) -> Result<u64, BrokerError> {
        let mut names = self.group_names(queue, only);
        let mut count = 0;
        while let Some(some) = names.next().await? {
            count += self.group_sizes(queue, &some).await?.iter().sum::<u64>();
        }
        Ok(count)
    }

    /// How many members these groups have.
    pub(super) async fn group_sizes(
        &self,
        queue: &QueueName,
        names: &[Vec<u8>],
    ) -> Result<Vec<u64>, BrokerError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let prefix = QueueKeys::new(queue).group_prefix();
        let mut pipe = redis::pipe();
        for name in names {
            pipe.zcard([prefix.as_bytes(), name].concat());
        }
        self.pipe("read group sizes", queue.as_str(), &pipe).await
    }
}

/// Walks the names of a queue's groups. One that stands there all the while is met, perhaps twice.
pub(super) struct GroupNames<'a> {
    broker: &'a Broker,
    queue: &'a QueueName,
    only: Option<Vec<u8>>,
    cursor: Option<u64>,
}

impl GroupNames<'_> {
    /// Some more names; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Vec<u8>>>, BrokerError> {
        let Some(cursor) = self.cursor.take() else { return Ok(None) };
        if let Some(only) = self.only.take() {
            return Ok(Some(vec![only]));
        }
        let mut pipe = redis::pipe();
        pipe.cmd("SSCAN").arg(QueueKeys::new(self.queue).groups()).arg(cursor).arg("COUNT").arg(100);
        let ((next, names),): ((u64, Vec<Vec<u8>>),) =
            self.broker.pipe("list groups", self.queue.as_str(), &pipe).await?;
        self.cursor = (next != 0).then_some(next);
        Ok(Some(names))
    }
}
