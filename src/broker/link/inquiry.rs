//! What Sentinels say, asked and unasked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, RedisResult, Value};
use tokio::time::sleep;

use super::super::endpoint::{Endpoint, SentinelPlace};
use super::super::error::is_login;
use super::sentinel::{Shared, no_master};
use super::within;

/// How long a Sentinel may take to answer.
const ASK_LIMIT: Duration = Duration::from_millis(700);
/// What Sentinels say when there is another master, or is about to be.
const EVENTS: [&str; 2] = ["+switch-master", "+promoted-slave"];
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause before a Sentinel is listened to again.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Where a server is.
pub(super) type Address = (String, u16);

/// One Sentinel, with the connection to it.
pub(super) struct Sentinel {
    info: ConnectionInfo,
    connection: Option<MultiplexedConnection>,
}

impl Sentinel {
    pub(super) fn new(info: ConnectionInfo) -> Self {
        Self { info, connection: None }
    }

    /// The master it names, and the number of the failover that made it one.
    pub(super) async fn ask(
        &mut self,
        endpoint: &Endpoint,
        place: &SentinelPlace,
    ) -> RedisResult<(i64, Address)> {
        // Taken out, so that what is given up midway is not used again.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => within(ASK_LIMIT, self.connect(endpoint, place)).await?,
        };
        let mut pipe = redis::pipe();
        pipe.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&place.master);
        pipe.cmd("SENTINEL").arg("MASTER").arg(&place.master);
        let answers = within(ASK_LIMIT, connection.req_packed_commands(&pipe, 0, 2)).await?;
        self.connection = Some(connection);
        let [address, facts] = <[Value; 2]>::try_from(answers).map_err(|_| no_master(&place.master))?;
        let address: Option<Address> = redis::from_redis_value(address.extract_error()?)?;
        let facts: HashMap<String, String> = facts
            .extract_error()
            .ok()
            .and_then(|facts| redis::from_redis_value(facts).ok())
            .unwrap_or_default();
        let epoch = facts.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
        Ok((epoch, address.ok_or_else(|| no_master(&place.master))?))
    }

    async fn connect(
        &self,
        endpoint: &Endpoint,
        place: &SentinelPlace,
    ) -> RedisResult<MultiplexedConnection> {
        connect(&login(endpoint, place, &self.info).await?).await
    }
}

/// A client that the Sentinel takes: it may want a login, which the URL may leave to that of the servers.
async fn login(endpoint: &Endpoint, place: &SentinelPlace, info: &ConnectionInfo) -> RedisResult<Client> {
    let client = endpoint.client(info.clone())?;
    if place.has_sentinel_login {
        return Ok(client);
    }
    match connect(&client).await {
        Err(error) if is_login(&error) => {
            let login = place.node.redis_settings().clone().set_db(0);
            endpoint.client(info.clone().set_redis_settings(login))
        }
        connected => connected.map(|_| client),
    }
}

async fn connect(client: &Client) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ASK_LIMIT))
        .set_response_timeout(Some(ASK_LIMIT));
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    // Whoever has not logged in hears of it here.
    let _pong: Value = redis::cmd("PING").query_async(&mut connection).await?;
    Ok(connection)
}

/// Hears from a Sentinel at once when there is another master. What it misses, the next question tells.
pub(super) async fn listen(shared: Arc<Shared>, info: ConnectionInfo) {
    let mut pause = PAUSE_MIN;
    loop {
        let listening = async {
            let client = login(&shared.endpoint, &shared.place, &info).await?;
            let mut events = within(ASK_LIMIT, client.get_async_pubsub()).await?;
            events.subscribe(&EVENTS).await?;
            RedisResult::Ok(events)
        };
        if let Ok(mut events) = listening.await {
            pause = PAUSE_MIN;
            let mut events = events.on_message();
            while events.next().await.is_some() {
                shared.doubt.notify_one();
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
