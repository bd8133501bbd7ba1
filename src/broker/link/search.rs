//! The search for the master: whom the Sentinels name, and whether that server says the same.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, RedisError, RedisResult, make_extension_error};
use tokio::time::{sleep, timeout};

use super::super::endpoint::Endpoint;
use super::super::error::is_login;
use super::super::server_kind::{Kind, kind_of};
use super::inquiry::{Address, Sentinel};
use super::sentinel::{Master, Shared, no_master};
use super::{ANSWER_TIMEOUT, CONNECT_TIMEOUT, PIPELINE, within};

/// How often the Sentinels are asked while all is well.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long a silent master may take to give a sign of life.
const SIGN_LIMIT: Duration = Duration::from_secs(1);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Looks for the master, for as long as there are followers.
pub(super) struct Search {
    shared: Arc<Shared>,
    sentinels: Vec<Sentinel>,
    found: u64,
}

impl Search {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let place = &shared.place;
        Self {
            shared: Arc::clone(shared),
            sentinels: place.sentinels.iter().cloned().map(Sentinel::new).collect(),
            found: 0,
        }
    }

    /// Goes on for ever.
    pub(super) async fn follow(&mut self) {
        let mut pause = PAUSE_MIN;
        loop {
            let Some(master) = self.shared.current() else {
                if let Err(error) = self.find().await {
                    tracing::debug!("no master by Sentinel: {error}");
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                continue;
            };
            pause = PAUSE_MIN;
            let doubts = timeout(ASK_EVERY, self.shared.doubt.notified()).await.is_ok();
            if doubts && self.shared.current().is_some() && !is_alive(&master).await {
                self.shared.leave(master.number);
            }
            if let Ok(named) = self.ask().await
                && named != master.address
            {
                tracing::info!(
                    "the Sentinels name {}:{} instead of {}:{}",
                    named.0,
                    named.1,
                    master.address.0,
                    master.address.1
                );
                self.shared.leave(master.number);
            }
        }
    }

    /// Connects to the master that the Sentinels name.
    pub(super) async fn find(&mut self) -> RedisResult<()> {
        let (host, port) = self.ask().await?;
        let endpoint = &self.shared.endpoint;
        let mut info = endpoint.server_at(&host, port);
        let (dialled, kind) = match meet(endpoint, info.clone()).await {
            Err(error) if is_login(&error) && self.shared.place.may_be_sentinels_login() => {
                // asynq's URLs hold the Sentinels' password only: then the servers have none.
                info = without_login(info);
                meet(endpoint, info).await.map_err(|_| error)?
            }
            met => met?,
        };
        let (client, connection) = dialled;
        match kind {
            Kind { is_replica: true, .. } => {
                let said = format!(
                    "{host}:{port} is named as master {:?} and says that it is a replica",
                    self.shared.place.master
                );
                Err(make_extension_error("MASTERDOWN".into(), Some(said)))
            }
            _ => {
                self.found += 1;
                self.shared.enter(Master { connection, client, address: (host, port), number: self.found });
                Ok(())
            }
        }
    }

    /// Asks all Sentinels at once. The one that knows of the latest failover is right.
    async fn ask(&mut self) -> RedisResult<Address> {
        let Shared { endpoint, place, .. } = &*self.shared;
        let asked = self.sentinels.iter_mut().map(|sentinel| sentinel.ask(endpoint, place));
        let mut refused = None;
        let mut named = Vec::new();
        for answer in join_all(asked).await {
            match answer {
                Ok(answer) => named.push(answer),
                // A refusal says more than silence.
                Err(error) => {
                    if refused.as_ref().is_none_or(RedisError::is_io_error) {
                        refused = Some(error);
                    }
                }
            }
        }
        let latest = named.into_iter().max_by_key(|(epoch, _)| *epoch);
        latest.map(|(_, address)| address).ok_or_else(|| refused.unwrap_or_else(|| no_master(&place.master)))
    }
}

/// Whether a silent master is one still.
async fn is_alive(master: &Master) -> bool {
    let mut connection = master.connection.clone();
    within(SIGN_LIMIT, kind_of(&mut connection)).await.is_ok_and(|kind| !kind.is_replica)
}

async fn dial(endpoint: &Endpoint, info: ConnectionInfo) -> RedisResult<(Client, MultiplexedConnection)> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(ANSWER_TIMEOUT))
        .set_pipeline_buffer_size(PIPELINE);
    let client = endpoint.client(info)?;
    let connection =
        within(CONNECT_TIMEOUT, client.get_multiplexed_async_connection_with_config(&config)).await?;
    Ok((client, connection))
}

/// Connects to a server and asks what it is.
async fn meet(
    endpoint: &Endpoint,
    info: ConnectionInfo,
) -> RedisResult<((Client, MultiplexedConnection), Kind)> {
    let (client, mut connection) = dial(endpoint, info).await?;
    let kind = within(CONNECT_TIMEOUT, kind_of(&mut connection)).await?;
    Ok(((client, connection), kind))
}

fn without_login(info: ConnectionInfo) -> ConnectionInfo {
    let settings = redis::RedisConnectionInfo::default().set_db(info.redis_settings().db());
    info.set_redis_settings(settings)
}
