//! The processes that fire schedules, and whose turn it is.

use std::sync::Arc;
use std::time::Duration;

use super::claim::Owner;
use super::keep::millis;
use super::keys::REPLICAS;
use super::{Broker, BrokerError};

/// Most processes that are counted.
const REPLICAS_MAX: usize = 500;
/// Stands between a process and what it fires.
const FIRES: char = '@';

/// A process that fires schedules.
#[derive(Debug, Clone)]
pub struct Replica {
    member: String,
    cluster: Option<Arc<str>>,
}

impl Replica {
    /// A process that fires the entries of one cluster, or all.
    #[must_use]
    pub fn new(owner: &Owner, cluster: Option<Arc<str>>) -> Self {
        let member = match &cluster {
            Some(cluster) => format!("{}{FIRES}{cluster}", owner.as_str()),
            None => owner.as_str().to_owned(),
        };
        Self { member, cluster }
    }

    /// Whether another process, by its member, fires entries that this one fires too.
    fn shares_with(&self, other: &str) -> bool {
        match (&self.cluster, other.split_once(FIRES)) {
            (Some(ours), Some((_, theirs))) => **ours == *theirs,
            (None, _) | (_, None) => true,
        }
    }
}

impl Broker {
    /// Reports a firing process alive for as long as `life`; answers its place, from 0, among the living that fire what
    /// it fires, and how many those are.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn join_replicas(
        &self,
        replica: &Replica,
        life: Duration,
    ) -> Result<(usize, usize), BrokerError> {
        let now = self.now().as_millisecond();
        let lapses = now.saturating_add_unsigned(millis(life));
        let mut pipe = redis::pipe();
        pipe.zadd(REPLICAS, &replica.member, lapses).ignore();
        pipe.cmd("ZREMRANGEBYSCORE").arg(REPLICAS).arg("-inf").arg(now).ignore();
        pipe.cmd("ZRANGE").arg(REPLICAS).arg(0).arg(REPLICAS_MAX);
        let (alive,): (Vec<Vec<u8>>,) = self.pipe("join the replicas", "*", &pipe).await?;
        let mut alive: Vec<_> = alive.iter().map(|name| String::from_utf8_lossy(name)).collect();
        alive.retain(|name| replica.shares_with(name));
        alive.sort();
        let place = alive.iter().position(|name| *name == replica.member).unwrap_or(0);
        Ok((place, alive.len()))
    }

    /// Takes a firing process off the list of the living.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; it lapses by itself.
    pub async fn leave_replicas(&self, replica: &Replica) -> Result<(), BrokerError> {
        let mut pipe = redis::pipe();
        pipe.zrem(REPLICAS, &replica.member).ignore();
        self.pipe("leave the replicas", "*", &pipe).await
    }
}

#[test]
fn processes_that_fire_nothing_in_common_do_not_wait_for_each_other() {
    let replica = |cluster: Option<&str>| Replica::new(&Owner::new("h", 1, "r"), cluster.map(Arc::from));
    let (one, two, all) = (replica(Some("one")), replica(Some("two@x")), replica(None));
    assert!(one.shares_with(&one.member) && two.shares_with(&two.member) && all.shares_with(&all.member));
    assert!(!one.shares_with(&two.member) && !two.shares_with(&one.member));
    assert!(one.shares_with(&all.member) && all.shares_with(&one.member));
}
