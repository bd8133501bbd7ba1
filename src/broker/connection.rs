//! Connecting, and what is checked before Redis is trusted with tasks.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult};
use redis::{ServerErrorKind, TlsCertificates};

use super::clock::Clock;
use super::enqueue::Registered;
use super::error::Doing;
use super::script::Call;
use super::{BrokerError, Endpoint};

/// Oldest Redis that has all the commands the scripts use.
const OLDEST: (u32, u32) = (6, 2);
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an answer may take before the connection counts as dead.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest pause between two attempts to connect again.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_millis(500);
/// What Redis answers when it does not know a script, as after its start.
const NO_SCRIPT: ErrorKind = ErrorKind::Server(ServerErrorKind::NoScript);
/// Requests that may be on their way at once before callers wait.
const PIPELINE: usize = 1000;

/// A Redis that holds queues. Cheap to clone: all clones share one multiplexed connection, which is made anew
/// by itself after it broke.
#[derive(Clone)]
pub struct Broker {
    manager: ConnectionManager,
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    endpoint: Endpoint,
    clock: Clock,
    registered: Registered,
    scheduled: Registered,
}

impl Broker {
    /// Connects, and checks that Redis is new enough and keeps what it is given.
    ///
    /// # Errors
    /// [`BrokerError::Connect`] when nobody answers (worth another try), [`BrokerError::Login`],
    /// [`BrokerError::TooOld`] and [`BrokerError::Evicts`] when this Redis cannot be used as it is.
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, BrokerError> {
        let client = client(endpoint)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT))
            .set_min_delay(Duration::from_millis(20))
            .set_max_delay(RECONNECT_PAUSE_MAX)
            .set_number_of_retries(2)
            .set_pipeline_buffer_size(PIPELINE);
        let manager = client.get_connection_manager_with_config(config).await;
        let manager = manager.map_err(|source| refused(endpoint, source))?;
        let shared = Shared {
            client,
            endpoint: endpoint.clone(),
            clock: Clock::default(),
            registered: Registered::default(),
            scheduled: Registered::default(),
        };
        let broker = Self { manager, shared: Arc::new(shared) };
        broker.check_server().await?;
        broker.sync_clock().await?;
        Ok(broker)
    }

    /// Redis's time now, as well as this process knows it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// How far Redis's clock is ahead of this machine's; negative when it is behind.
    #[must_use]
    pub fn clock_offset(&self) -> SignedDuration {
        self.shared.clock.offset()
    }

    /// Where this Redis is, without secrets.
    #[must_use]
    pub fn address(&self) -> String {
        self.shared.endpoint.to_string()
    }

    /// Reads Redis's clock and corrects [`now`](Self::now) by it.
    ///
    /// # Errors
    /// [`BrokerError::Command`] when Redis does not answer; the old correction stays.
    pub async fn sync_clock(&self) -> Result<(), BrokerError> {
        let asked = Timestamp::now();
        let (seconds, micros): (i64, i64) =
            redis::cmd("TIME").query_async(&mut self.link()).await.doing("read the clock", "*")?;
        self.shared.clock.learn(asked, Timestamp::now(), seconds * 1_000_000 + micros);
        Ok(())
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// [`BrokerError::Command`] when there is none.
    pub async fn ping(&self) -> Result<(), BrokerError> {
        redis::cmd("PING").query_async(&mut self.link()).await.doing("ping", "*")
    }

    pub(super) fn link(&self) -> ConnectionManager {
        self.manager.clone()
    }

    /// Queues entered among all queues.
    pub(super) fn registered(&self) -> &Registered {
        &self.shared.registered
    }

    /// Queues entered among those that hold schedules.
    pub(super) fn scheduled(&self) -> &Registered {
        &self.shared.scheduled
    }

    /// Runs a script; loads it first where it is missing.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        doing: &'static str,
        queue: &str,
        call: &Call,
    ) -> Result<T, BrokerError> {
        let mut link = self.link();
        let mut answer = call.command().query_async(&mut link).await;
        if answer.as_ref().is_err_and(|error: &RedisError| error.kind() == NO_SCRIPT) {
            let loaded: RedisResult<String> = call.loading().query_async(&mut link).await;
            loaded.doing(doing, queue)?;
            answer = call.command().query_async(&mut link).await;
        }
        answer.doing(doing, queue)
    }

    /// Runs plain commands in one round trip.
    pub(super) async fn pipe<T: FromRedisValue>(
        &self,
        doing: &'static str,
        queue: &str,
        pipeline: &Pipeline,
    ) -> Result<T, BrokerError> {
        pipeline.query_async(&mut self.link()).await.doing(doing, queue)
    }

    /// A connection of its own, on which a command may block for as long as it likes.
    pub(super) async fn own_connection(&self) -> Result<MultiplexedConnection, BrokerError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(None);
        let connection = self.shared.client.get_multiplexed_async_connection_with_config(&config).await;
        connection.map_err(|source| refused(&self.shared.endpoint, source))
    }

    /// A connection of its own that listens to channels.
    pub(super) async fn own_subscription(&self) -> Result<redis::aio::PubSub, BrokerError> {
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, self.shared.client.get_async_pubsub());
        let timed_out = |_| RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        let connection = connecting.await.map_err(timed_out).and_then(|made| made);
        connection.map_err(|source| refused(&self.shared.endpoint, source))
    }

    async fn check_server(&self) -> Result<(), BrokerError> {
        let address = self.address();
        let mut link = self.link();
        // The first command: it meets what a URL without a password hides until here.
        let info: Result<String, RedisError> = redis::cmd("INFO").query_async(&mut link).await;
        let info = match info {
            Err(source) if is_login(&source) => return Err(refused(&self.shared.endpoint, source)),
            info => info.doing("read INFO", "*")?,
        };
        let field = |name: &str| {
            info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        let found = field("redis_version").unwrap_or("0.0");
        if !is_new_enough(found) {
            return Err(BrokerError::TooOld { address, found: found.to_owned(), needed: "6.2" });
        }
        match field("maxmemory_policy") {
            Some(policy) if policy != "noeviction" => {
                Err(BrokerError::Evicts { address, policy: policy.to_owned() })
            }
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Broker({}, db {})", self.shared.endpoint, self.manager.get_db())
    }
}

fn client(endpoint: &Endpoint) -> Result<Client, BrokerError> {
    // Installing twice is refused, which is fine: one provider is all TLS needs.
    let _already = rustls::crypto::ring::default_provider().install_default();
    let made = match &endpoint.authority {
        None => Client::open(endpoint.info.clone()),
        Some(pem) => Client::build_with_tls(
            endpoint.info.clone(),
            TlsCertificates { client_tls: None, root_cert: Some(pem.clone()) },
        ),
    };
    made.map_err(|source| BrokerError::Connect { address: endpoint.to_string(), source })
}

/// Whether Redis refuses who we said we are, or what that user may not do.
fn is_login(source: &RedisError) -> bool {
    source.kind() == ErrorKind::AuthenticationFailed
        || matches!(source.code(), Some("WRONGPASS" | "NOAUTH" | "NOPERM"))
        || matches!(source.kind(), ErrorKind::Server(ServerErrorKind::NoPerm))
}

/// A refused login is the user's to mend; everything else may pass.
fn refused(endpoint: &Endpoint, source: RedisError) -> BrokerError {
    let address = endpoint.to_string();
    match is_login(&source) {
        true => BrokerError::Login { address, user: endpoint.user().to_owned(), source },
        false => BrokerError::Connect { address, source },
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
