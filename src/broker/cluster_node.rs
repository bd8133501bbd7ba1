//! Which nodes of a Redis Cluster hold a queue.

use redis::Value;

use super::error::Doing as _;
use super::link::Link;
use super::{Broker, BrokerError, cluster_key_slot};
use crate::task::QueueName;

/// A node of a Redis Cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterNode {
    /// Its id in the cluster.
    pub id: String,
    /// Host and port, as the cluster names them.
    pub address: String,
}

impl Broker {
    /// The nodes of a Redis Cluster that hold a queue: the master first, then its replicas. None in a Redis that is
    /// no cluster, and while nobody holds the queue's slot.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn cluster_nodes(&self, queue: &QueueName) -> Result<Vec<ClusterNode>, BrokerError> {
        let mut link = self.link();
        if !matches!(link, Link::Cluster(_)) {
            return Ok(Vec::new());
        }
        let mut command = redis::cmd("CLUSTER");
        let rows = command.arg("SLOTS").query_async(&mut link).await;
        let rows: Vec<Vec<Value>> = rows.doing("ask which nodes hold a queue", queue.as_str())?;
        let slot = cluster_key_slot(queue);
        Ok(rows.into_iter().find_map(|row| nodes(row, slot)).unwrap_or_default())
    }
}

/// The nodes of a range of slots, if a slot is in it. The row is first slot, last slot, then nodes.
fn nodes(row: Vec<Value>, slot: u16) -> Option<Vec<ClusterNode>> {
    let mut row = row.into_iter();
    let mut bound = || redis::from_redis_value::<u16>(row.next()?).ok();
    let (first, last) = (bound()?, bound()?);
    (first..=last).contains(&slot).then(|| row.filter_map(node).collect())
}

/// A node: host, port, id, and what newer versions add.
fn node(row: Value) -> Option<ClusterNode> {
    let mut row = redis::from_redis_value::<Vec<Value>>(row).ok()?.into_iter();
    let host: Option<String> = redis::from_redis_value(row.next()?).ok()?;
    let port: u16 = redis::from_redis_value(row.next()?).ok()?;
    let id = redis::from_redis_value(row.next()?).ok()?;
    let host = host.filter(|host| !host.is_empty()).unwrap_or_else(|| "?".to_owned());
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    Some(ClusterNode { id, address })
}
