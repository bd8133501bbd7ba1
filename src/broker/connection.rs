//! Connecting, and what is checked before Redis is trusted with tasks.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};

use super::clock::Clock;
use super::endpoint::Place;
use super::enqueue::Registered;
use super::error::{Doing, is_demotion, is_login};
use super::link::{Link, Moves, Shard, within};
use super::script::Call;
use super::server_kind::{field, kind_of};
use super::{BrokerError, Endpoint};

/// Oldest Redis that has all the commands the scripts use.
const OLDEST: (u32, u32) = (6, 2);
/// How long the clock of one node among several may take to read; a slow answer tells nothing anyway.
const READING_LIMIT: Duration = Duration::from_millis(500);
/// How often a script is loaded for one call: a server that took over meanwhile may not have it either.
const LOADS: usize = 2;

/// A Redis that holds queues: one server, the master behind Sentinels, or a cluster. Cheap to clone: all clones
/// share connections, which are made anew by themselves after they broke.
#[derive(Clone)]
pub struct Broker {
    link: Link,
    shared: Arc<Shared>,
}

struct Shared {
    endpoint: Endpoint,
    clock: Clock,
    registered: Registered,
    scheduled: Registered,
}

impl Broker {
    /// Connects, and checks that Redis is new enough, takes writes and keeps what it is given.
    ///
    /// # Errors
    /// [`BrokerError::Connect`] when nobody answers (worth another try), [`BrokerError::Login`],
    /// [`BrokerError::TooOld`], [`BrokerError::Evicts`], [`BrokerError::Replica`] and
    /// [`BrokerError::OtherKind`] when this Redis cannot be used as it is.
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, BrokerError> {
        let link = Link::open(endpoint).await.map_err(|source| refused(endpoint, source))?;
        let shared = Shared {
            endpoint: endpoint.clone(),
            clock: Clock::default(),
            registered: Registered::default(),
            scheduled: Registered::default(),
        };
        let broker = Self { link, shared: Arc::new(shared) };
        broker.check_servers().await?;
        broker.sync_clock().await?;
        Ok(broker)
    }

    /// Redis's time now, as well as this process knows it. In a cluster that of one of its nodes; see
    /// [`now_in`](Self::now_in).
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// The time now of the server that holds a queue, as well as this process knows it.
    #[must_use]
    pub fn now_in(&self, queue: &str) -> Timestamp {
        match self.link.clock_of(queue) {
            Some(clock) => clock.now(),
            None => self.shared.clock.now(),
        }
    }

    /// How far Redis's clock is ahead of this machine's; negative when it is behind. In a cluster, that of the
    /// node whose clock is furthest off.
    #[must_use]
    pub fn clock_offset(&self) -> SignedDuration {
        let nodes = match &self.link {
            Link::Cluster(routed) => routed.shards(),
            Link::Single(_) | Link::Sentinel(_) => Vec::new(),
        };
        let offsets = nodes.iter().filter_map(|server| Some(server.clock.as_ref()?.offset()));
        offsets.max_by_key(|offset| offset.abs()).unwrap_or_else(|| self.shared.clock.offset())
    }

    /// Where this Redis is, without secrets.
    #[must_use]
    pub fn address(&self) -> String {
        self.shared.endpoint.to_string()
    }

    /// Reads the clock of each server that holds data and corrects [`now`](Self::now) by it.
    ///
    /// # Errors
    /// [`BrokerError::Command`] when none answers; the old corrections stay.
    pub async fn sync_clock(&self) -> Result<(), BrokerError> {
        let read = self.shards().await?.into_iter().map(|mut server| async move {
            let asked = Timestamp::now();
            let time = redis::cmd("TIME");
            let (seconds, micros): (i64, i64) = match &server.clock {
                // One node that is silent holds up what is on the others no longer than this.
                Some(_) => within(READING_LIMIT, time.query_async(&mut server.link)).await?,
                None => time.query_async(&mut server.link).await?,
            };
            let told = seconds * 1_000_000 + micros;
            if let Some(clock) = &server.clock {
                clock.learn(asked, Timestamp::now(), told);
            }
            RedisResult::Ok((asked, Timestamp::now(), told))
        });
        let read = join_all(read).await;
        let (mut first, mut wrong) = (None, None);
        for reading in read {
            match reading {
                Ok(reading) => first = first.or(Some(reading)),
                Err(error) => wrong = Some(error),
            }
        }
        if let Some((asked, answered, told)) = first {
            self.shared.clock.learn(asked, answered, told);
            return Ok(());
        }
        wrong.map_or(Ok(()), Err).doing("read the clock", "*")
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// [`BrokerError::Command`] when there is none.
    pub async fn ping(&self) -> Result<(), BrokerError> {
        redis::cmd("PING").query_async(&mut self.link()).await.doing("ping", "*")
    }

    pub(super) fn link(&self) -> Link {
        self.link.clone()
    }

    /// The servers that hold data.
    pub(super) async fn shards(&self) -> Result<Vec<Shard>, BrokerError> {
        self.link.shards(&self.shared.endpoint).await.map_err(|source| refused(&self.shared.endpoint, source))
    }

    /// The server that holds a queue's keys, as known now.
    pub(super) fn shard_of(&self, queue: &str) -> Result<Shard, BrokerError> {
        self.link.shard_of(&self.shared.endpoint, queue).doing("find the queue's server", queue)
    }

    /// Queues entered among all queues.
    pub(super) fn registered(&self) -> &Registered {
        &self.shared.registered
    }

    /// Queues entered among those that hold schedules.
    pub(super) fn scheduled(&self) -> &Registered {
        &self.shared.scheduled
    }

    /// Runs a script; loads it first where it is missing. All its keys have one hash tag.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        doing: &'static str,
        queue: &str,
        call: &Call,
    ) -> Result<T, BrokerError> {
        let mut link = self.link();
        let mut answer = call.command().query_async(&mut link).await;
        for _ in 0..LOADS {
            if !answer.as_ref().is_err_and(is_missing_script) {
                break;
            }
            let loaded: RedisResult<String> = call.loading().query_async(&mut link).await;
            loaded.doing(doing, queue)?;
            answer = call.command().query_async(&mut link).await;
        }
        if let Err(error) = &answer {
            self.note(error).await;
        }
        answer.doing(doing, queue)
    }

    /// Runs scripts of many queues in one round trip; in a cluster, in one per slot. What is wrong with one queue fails
    /// that one only.
    pub(super) async fn run_all(
        &self,
        doing: &'static str,
        calls: &[(&str, Call)],
    ) -> Result<Vec<Result<Value, BrokerError>>, BrokerError> {
        let mut pipeline = Pipeline::with_capacity(calls.len());
        for (_, call) in calls {
            pipeline.add_command(call.command().clone());
        }
        let mut answers = Vec::with_capacity(calls.len());
        for ((queue, call), answer) in calls.iter().zip(self.pipe_each(doing, &pipeline).await?) {
            answers.push(match answer {
                Err(error) if is_missing_script(&error) => self.run(doing, queue, call).await,
                answer => answer.doing(doing, queue),
            });
        }
        Ok(answers)
    }

    /// Whether keys of different queues may be on different servers.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.shared.endpoint.place, Place::Cluster(_))
    }

    /// Runs commands in one round trip, each of which may fail by itself.
    pub(super) async fn pipe_each(
        &self,
        doing: &'static str,
        pipeline: &Pipeline,
    ) -> Result<Vec<RedisResult<Value>>, BrokerError> {
        let sent = self.link().req_packed_commands(pipeline, 0, pipeline.len()).await;
        if let Err(error) = &sent {
            self.note(error).await;
        }
        Ok(sent.doing(doing, "*")?.into_iter().map(Value::extract_error).collect())
    }

    /// Runs plain commands in one round trip; in a cluster, in one per slot, at the same time. Each command has
    /// keys of one hash tag, and may run twice when a server stops being the master meanwhile.
    pub(super) async fn pipe<T: FromRedisValue>(
        &self,
        doing: &'static str,
        queue: &str,
        pipeline: &Pipeline,
    ) -> Result<T, BrokerError> {
        let answer = pipeline.query_async(&mut self.link()).await;
        if let Err(error) = &answer {
            self.note(error).await;
        }
        answer.doing(doing, queue)
    }

    /// Takes note of what an error says about where the data are.
    pub(super) async fn note(&self, error: &RedisError) {
        if is_demotion(error) {
            self.link().note(error).await;
        }
    }

    /// A connection of its own to where a key is, on which a command may block for as long as it likes.
    pub(super) async fn own_connection(&self, key: &str) -> Result<MultiplexedConnection, BrokerError> {
        let endpoint = &self.shared.endpoint;
        let dialled = self.link.dial(endpoint, key).await;
        self.own(dialled).await
    }

    /// A connection of its own that listens to channels.
    pub(super) async fn own_subscription(&self) -> Result<redis::aio::PubSub, BrokerError> {
        let dialled = self.link.dial_pubsub(&self.shared.endpoint).await;
        self.own(dialled).await
    }

    /// Tells when a connection of its own no longer leads to where the data are.
    pub(super) fn moves(&self) -> Moves {
        self.link.moves()
    }

    async fn own<T>(&self, dialled: RedisResult<T>) -> Result<T, BrokerError> {
        if let Err(error) = &dialled {
            self.link().note(error).await;
        }
        dialled.map_err(|source| refused(&self.shared.endpoint, source))
    }

    async fn check_servers(&self) -> Result<(), BrokerError> {
        let mut servers = self.shards().await?;
        let checks = join_all(servers.iter_mut().map(|server| self.check_server(server))).await;
        let any_answers = checks.iter().any(Result::is_ok);
        for check in checks {
            match check {
                // A node of a cluster that is away for now: another is about to take its place.
                Err(error) if any_answers && error.is_retryable() => {}
                check => check?,
            }
        }
        Ok(())
    }

    async fn check_server(&self, server: &mut Shard) -> Result<(), BrokerError> {
        let address = server.address.clone();
        // The first command: it meets what a URL without a password hides until here.
        let kind = kind_of(&mut server.link).await;
        let kind = match kind {
            Err(source) if is_login(&source) => return Err(refused(&self.shared.endpoint, source)),
            kind => kind.doing("ask Redis what it is", "*")?,
        };
        let is_cluster = self.is_cluster();
        match kind.mode.as_str() {
            "sentinel" => {
                let instead = "redis-sentinel://host:port,…?master=name";
                return Err(BrokerError::OtherKind { address, found: "is a Sentinel", instead });
            }
            "cluster" if !is_cluster => {
                let instead = "redis-cluster://host:port,…";
                return Err(BrokerError::OtherKind { address, found: "is a node of a cluster", instead });
            }
            _ => {}
        }
        if !is_new_enough(&kind.version) {
            return Err(BrokerError::TooOld { address, found: kind.version, needed: "6.2" });
        }
        if kind.is_replica {
            return Err(BrokerError::Replica { address });
        }
        let info: Result<String, RedisError> = redis::cmd("INFO").query_async(&mut server.link).await;
        let info = match info {
            // A user may be kept from asking; then the administrator answers for the settings.
            Err(error) if is_login(&error) => return Ok(()),
            info => info.doing("read INFO", "*")?,
        };
        match field(&info, "maxmemory_policy") {
            Some(policy) if policy != "noeviction" => {
                Err(BrokerError::Evicts { address, policy: policy.to_owned() })
            }
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let database = self.shared.endpoint.servers().redis_settings().db();
        write!(f, "Broker({}, db {database})", self.shared.endpoint)
    }
}

fn is_missing_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// A refused login is the user's to mend; so is a URL of another sort. Everything else may pass.
fn refused(endpoint: &Endpoint, source: RedisError) -> BrokerError {
    let address = endpoint.to_string();
    let says = |text: &str| source.detail().is_some_and(|detail| detail.contains(text));
    match &endpoint.place {
        _ if is_login(&source) => BrokerError::Login { address, user: endpoint.user().to_owned(), source },
        Place::Cluster(_) if says("cluster support disabled") => {
            let instead = "redis://host:port";
            BrokerError::OtherKind { address, found: "is no cluster", instead }
        }
        Place::Sentinel(_) if says("unknown command") => {
            let instead = "redis://host:port, or the port of a Sentinel (26379)";
            BrokerError::OtherKind { address, found: "is no Sentinel", instead }
        }
        _ => BrokerError::Connect { address, source },
    }
}

fn is_new_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= OLDEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        for (version, new_enough) in
            [("7.0.15", true), ("6.2.0", true), ("6.0.16", false), ("10.1", true), ("", false)]
        {
            assert_eq!(is_new_enough(version), new_enough, "{version}");
        }
    }
}
