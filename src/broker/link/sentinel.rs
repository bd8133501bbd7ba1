//! The master that Sentinels name, followed from server to server.
//!
//! A connection counts only after its server has said that it is a master. It is given up when it breaks, when
//! the server says that it is read-only, when it is silent, and when the Sentinels name another: so a master that
//! was demoted, or that only the others have lost, gets no more work.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, Pipeline, RedisError, RedisResult, Value,
    make_extension_error,
};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::super::endpoint::{Endpoint, SentinelPlace};
use super::super::error::{is_demotion, is_login};
use super::super::server_kind::{Kind, kind_of};
use super::{ANSWER_TIMEOUT, Abort, CONNECT_TIMEOUT, PIPELINE, within};

/// How often the Sentinels are asked while all is well.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long a Sentinel may take to answer.
const ASK_LIMIT: Duration = Duration::from_millis(700);
/// How long a command waits for a master before it is refused.
const MASTER_LIMIT: Duration = Duration::from_secs(2);
/// How long a silent master may take to give a sign of life.
const SIGN_LIMIT: Duration = Duration::from_secs(1);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Where a server is.
type Address = (String, u16);

/// A connection to whatever server is the master.
#[derive(Clone)]
pub(in crate::broker) struct Follower {
    shared: Arc<Shared>,
    /// Ends the search with the last follower.
    _search: Arc<Abort>,
}

struct Shared {
    endpoint: Endpoint,
    place: SentinelPlace,
    master: watch::Sender<Option<Master>>,
    /// Counts the masters there were.
    moves: watch::Sender<u64>,
    /// Something is wrong with the master.
    doubt: Notify,
}

#[derive(Clone)]
struct Master {
    connection: MultiplexedConnection,
    client: Client,
    address: Address,
    number: u64,
}

impl Follower {
    /// Finds the master, and goes on to follow it.
    pub(super) async fn open(endpoint: &Endpoint, place: &SentinelPlace) -> RedisResult<Self> {
        let shared = Arc::new(Shared {
            endpoint: endpoint.clone(),
            place: place.clone(),
            master: watch::Sender::new(None),
            moves: watch::Sender::new(0),
            doubt: Notify::new(),
        });
        let mut search = Search::new(&shared);
        search.find().await?;
        let task = tokio::spawn(async move { search.follow().await });
        Ok(Self { shared, _search: Arc::new(Abort(task.abort_handle())) })
    }

    pub(super) async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        let mut master = self.shared.master().await?;
        let answer = master.connection.req_packed_command(command).await.and_then(Value::extract_error);
        let Err(error) = answer else { return answer };
        self.shared.judge(&master, &error);
        if !is_demotion(&error) {
            return Err(error);
        }
        // Refused before it changed anything, so it may be sent to the right one.
        let mut master = self.shared.master().await?;
        master.connection.req_packed_command(command).await
    }

    pub(super) async fn send_all(
        &mut self,
        pipeline: &Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        let mut master = self.shared.master().await?;
        let answers = master.connection.req_packed_commands(pipeline, offset, count).await;
        let error = match &answers {
            Ok(values) => values.iter().find_map(error_in),
            Err(error) => Some(error.clone()),
        };
        let Some(error) = error else { return answers };
        self.shared.judge(&master, &error);
        if !is_demotion(&error) {
            return answers;
        }
        // What is written outside of scripts may be written twice.
        let mut master = self.shared.master().await?;
        master.connection.req_packed_commands(pipeline, offset, count).await
    }

    /// Takes note of an error met on a connection that was made with [`client`](Self::client), or that a script
    /// told as an answer.
    pub(super) fn note(&self, error: &RedisError) {
        if let Some(master) = self.shared.current() {
            self.shared.judge(&master, error);
        }
    }

    /// A client of the master.
    pub(super) async fn client(&self) -> RedisResult<Client> {
        Ok(self.shared.master().await?.client)
    }

    /// Where the master is.
    pub(super) async fn address(&self) -> RedisResult<String> {
        let (host, port) = self.shared.master().await?.address;
        Ok(format!("{host}:{port}"))
    }

    pub(super) fn moves(&self) -> watch::Receiver<u64> {
        self.shared.moves.subscribe()
    }

    pub(super) fn database(&self) -> i64 {
        self.shared.place.node.redis_settings().db()
    }
}

/// The error that an answer is.
fn error_in(value: &Value) -> Option<RedisError> {
    match value {
        Value::ServerError(_) => value.clone().extract_error().err(),
        _ => None,
    }
}

impl Shared {
    fn current(&self) -> Option<Master> {
        self.master.borrow().clone()
    }

    /// The master; waits a while for one.
    async fn master(&self) -> RedisResult<Master> {
        if let Some(master) = self.current() {
            return Ok(master);
        }
        let mut changes = self.master.subscribe();
        let found = timeout(MASTER_LIMIT, changes.wait_for(Option::is_some)).await;
        found.ok().and_then(|found| found.ok()?.clone()).ok_or_else(|| no_master(&self.place.master))
    }

    /// Draws the consequences from an error of the master.
    fn judge(&self, master: &Master, error: &RedisError) {
        if is_demotion(error) || (error.is_io_error() && !error.is_timeout()) {
            self.leave(master.number);
        } else if error.is_timeout() {
            self.doubt.notify_one();
        }
    }

    /// Gives up a master, unless another has taken its place already.
    fn leave(&self, number: u64) {
        let left = self.master.send_if_modified(|current| {
            let is_that = current.as_ref().is_some_and(|master| master.number == number);
            if is_that {
                *current = None;
            }
            is_that
        });
        if left {
            self.moves.send_modify(|moves| *moves += 1);
            self.doubt.notify_one();
        }
    }

    fn enter(&self, master: Master) {
        self.master.send_replace(Some(master));
        self.moves.send_modify(|moves| *moves += 1);
    }
}

fn no_master(name: &str) -> RedisError {
    make_extension_error("MASTERDOWN".into(), Some(format!("the Sentinels name no reachable master {name:?}")))
}

/// Looks for the master, for as long as there are followers.
struct Search {
    shared: Arc<Shared>,
    sentinels: Vec<Sentinel>,
    found: u64,
}

impl Search {
    fn new(shared: &Arc<Shared>) -> Self {
        let place = &shared.place;
        let sentinel = |info: &ConnectionInfo| Sentinel { info: info.clone(), connection: None };
        Self { shared: Arc::clone(shared), sentinels: place.sentinels.iter().map(sentinel).collect(), found: 0 }
    }

    async fn follow(&mut self) {
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
                tracing::info!("the Sentinels name {}:{} instead of {}:{}", named.0, named.1, master.address.0, master.address.1);
                self.shared.leave(master.number);
            }
        }
    }

    /// Connects to the master that the Sentinels name.
    async fn find(&mut self) -> RedisResult<()> {
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
                let said = format!("{host}:{port} is named as master {:?} and says that it is a replica", self.shared.place.master);
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
    let connection = within(CONNECT_TIMEOUT, client.get_multiplexed_async_connection_with_config(&config)).await?;
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

/// One Sentinel, with the connection to it.
struct Sentinel {
    info: ConnectionInfo,
    connection: Option<MultiplexedConnection>,
}

impl Sentinel {
    /// The master it names, and the number of the failover that made it one.
    async fn ask(&mut self, endpoint: &Endpoint, place: &SentinelPlace) -> RedisResult<(i64, Address)> {
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
        let facts: std::collections::HashMap<String, String> =
            facts.extract_error().ok().and_then(|facts| redis::from_redis_value(facts).ok()).unwrap_or_default();
        let epoch = facts.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
        Ok((epoch, address.ok_or_else(|| no_master(&place.master))?))
    }

    async fn connect(&self, endpoint: &Endpoint, place: &SentinelPlace) -> RedisResult<MultiplexedConnection> {
        let connected = connect(endpoint, self.info.clone()).await;
        match connected {
            Err(error) if is_login(&error) && !place.has_sentinel_login => {
                let login = place.node.redis_settings().clone().set_db(0);
                connect(endpoint, self.info.clone().set_redis_settings(login)).await
            }
            connected => connected,
        }
    }
}

async fn connect(endpoint: &Endpoint, info: ConnectionInfo) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ASK_LIMIT))
        .set_response_timeout(Some(ASK_LIMIT));
    let mut connection = endpoint.client(info)?.get_multiplexed_async_connection_with_config(&config).await?;
    // Whoever has not logged in hears of it here.
    let _pong: Value = redis::cmd("PING").query_async(&mut connection).await?;
    Ok(connection)
}
