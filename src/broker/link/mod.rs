//! Ways to reach the data: one server, the master that Sentinels name, the nodes of a cluster.
//!
//! Whatever the way, a command is sent again only when it surely was not executed. One that may have been is
//! reported as failed: the caller knows how to repeat it.

mod cluster;
mod inquiry;
mod routed;
mod search;
mod sentinel;
mod slot;

use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, RedisError, RedisFuture, RedisResult, Value};
use std::future::Future;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::clock::Clock;
use super::endpoint::{Endpoint, Place};
use super::error::is_demotion;
use routed::Routed;
use sentinel::Follower;
pub(super) use slot::slot_of;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an answer may take before the connection counts as dead.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest pause between two attempts to connect again.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_millis(500);
/// Requests that may be on their way at once before callers wait.
const PIPELINE: usize = 1000;

/// A way to the data. Cheap to clone: all clones share connections, which are made anew by themselves.
#[derive(Clone)]
pub(super) enum Link {
    /// One server.
    Single(ConnectionManager),
    /// The master that Sentinels name.
    Sentinel(Follower),
    /// The nodes of a cluster.
    Cluster(Routed),
}

/// A server that holds data.
pub(super) struct Shard {
    /// Where it is, for people.
    pub(super) address: String,
    /// The way to it alone.
    pub(super) link: Link,
    /// Its clock, where each server has one of its own.
    pub(super) clock: Option<std::sync::Arc<Clock>>,
}

impl Link {
    /// Connects.
    pub(super) async fn open(endpoint: &Endpoint) -> RedisResult<Self> {
        match &endpoint.place {
            Place::Single(info) => {
                let client = endpoint.client((**info).clone())?;
                let manager = client.get_connection_manager_with_config(manager_config(2)).await?;
                Ok(Self::Single(manager))
            }
            Place::Sentinel(place) => Ok(Self::Sentinel(Follower::open(endpoint, place).await?)),
            Place::Cluster(seeds) => Ok(Self::Cluster(Routed::open(endpoint, seeds).await?)),
        }
    }

    /// The servers that hold data, as known now.
    pub(super) async fn shards(&self, endpoint: &Endpoint) -> RedisResult<Vec<Shard>> {
        Ok(match self {
            Self::Single(_) => {
                vec![Shard { address: endpoint.to_string(), link: self.clone(), clock: None }]
            }
            Self::Sentinel(follower) => {
                vec![Shard { address: follower.address().await?, link: self.clone(), clock: None }]
            }
            Self::Cluster(routed) => routed.shards(),
        })
    }

    /// The server that holds a queue, as known now, and the way to it alone: where a command names no key.
    pub(super) fn shard_of(&self, endpoint: &Endpoint, queue: &str) -> RedisResult<Shard> {
        match self {
            Self::Single(_) | Self::Sentinel(_) => {
                Ok(Shard { address: endpoint.to_string(), link: self.clone(), clock: None })
            }
            Self::Cluster(routed) => routed.shard_of(queue),
        }
    }

    /// The clock of the server that holds a queue, where each has its own.
    pub(super) fn clock_of(&self, queue: &str) -> Option<std::sync::Arc<Clock>> {
        match self {
            Self::Cluster(routed) => routed.clock_of(queue),
            Self::Single(_) | Self::Sentinel(_) => None,
        }
    }

    /// Takes note of what an answer says about the way itself.
    pub(super) async fn note(&mut self, error: &RedisError) {
        match self {
            Self::Single(manager) if is_demotion(error) => {
                // Behind the same name there may be another server by now. Redis closes the connection after
                // this, and the next one is made anew.
                let _closed: RedisResult<Value> = redis::cmd("QUIT").query_async(manager).await;
            }
            Self::Single(_) => {}
            Self::Sentinel(follower) => follower.note(error),
            Self::Cluster(routed) => routed.note(error),
        }
    }

    /// A connection of its own to the server that holds a key.
    pub(super) async fn dial(&self, endpoint: &Endpoint, key: &str) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(None);
        let client = self.client(endpoint, Some(key)).await?;
        client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// A connection of its own that listens to channels. In a cluster every node hears every message.
    pub(super) async fn dial_pubsub(&self, endpoint: &Endpoint) -> RedisResult<PubSub> {
        let client = self.client(endpoint, None).await?;
        within(CONNECT_TIMEOUT, client.get_async_pubsub()).await
    }

    async fn client(&self, endpoint: &Endpoint, key: Option<&str>) -> RedisResult<Client> {
        match (self, &endpoint.place) {
            (Self::Sentinel(follower), _) => follower.client().await,
            (Self::Cluster(routed), _) => routed.client(key.map(str::as_bytes)),
            (Self::Single(_), _) => endpoint.client(endpoint.servers().clone()),
        }
    }

    /// Tells when connections made before should be given up, since the data may be elsewhere now.
    pub(super) fn moves(&self) -> Moves {
        match self {
            Self::Single(_) => Moves(None),
            Self::Sentinel(follower) => Moves(Some(follower.moves())),
            Self::Cluster(routed) => Moves(Some(routed.moves())),
        }
    }
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(manager) => manager.req_packed_command(command),
            Self::Sentinel(follower) => Box::pin(follower.send(command)),
            Self::Cluster(routed) => Box::pin(routed.send(command)),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(manager) => manager.req_packed_commands(pipeline, offset, count),
            Self::Sentinel(follower) => Box::pin(follower.send_all(pipeline, offset, count)),
            Self::Cluster(routed) => Box::pin(routed.send_all(pipeline, offset, count)),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(manager) => manager.get_db(),
            Self::Sentinel(follower) => follower.database(),
            Self::Cluster(_) => 0,
        }
    }
}

/// Whether the data have moved since this was made.
pub(super) struct Moves(Option<watch::Receiver<u64>>);

impl Moves {
    /// Waits until they have; for ever where they cannot. Cancel-safe.
    pub(super) async fn moved(&mut self) {
        if let Some(changes) = &mut self.0
            && changes.changed().await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }
}

/// Ends a task with its last holder.
struct Abort(AbortHandle);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How connections that many commands share are made.
fn manager_config(tries_again: usize) -> ConnectionManagerConfig {
    ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(ANSWER_TIMEOUT))
        .set_min_delay(Duration::from_millis(20))
        .set_max_delay(RECONNECT_PAUSE_MAX)
        .set_number_of_retries(tries_again)
        .set_pipeline_buffer_size(PIPELINE)
}

/// An answer within a time, or the error of one that did not come.
pub(super) async fn within<T>(limit: Duration, work: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    let late = |_| RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
    tokio::time::timeout(limit, work).await.map_err(late)?
}
