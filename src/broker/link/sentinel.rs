//! The master that Sentinels name, followed from server to server.
//!
//! A connection counts only after its server has said that it is a master. It is given up when it breaks, when
//! the server says that it is read-only, when it is silent, and when the Sentinels name another: so a master that
//! was demoted, or that only the others have lost, gets no more work.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Client, Cmd, Pipeline, RedisError, RedisResult, Value, make_extension_error};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::super::endpoint::{Endpoint, SentinelPlace};
use super::super::error::is_demotion;
use super::Abort;
use super::inquiry::{Address, listen};
use super::search::Search;

/// How long a command waits for a master before it is refused.
const MASTER_LIMIT: Duration = Duration::from_secs(2);

/// A connection to whatever server is the master.
#[derive(Clone)]
pub(in crate::broker) struct Follower {
    shared: Arc<Shared>,
    /// Ends the search with the last follower.
    _search: Arc<Abort>,
}

/// What followers and the search have in common.
pub(super) struct Shared {
    pub(super) endpoint: Endpoint,
    pub(super) place: SentinelPlace,
    master: watch::Sender<Option<Master>>,
    /// Counts the masters that were given up.
    moves: watch::Sender<u64>,
    /// Something is wrong with the master.
    pub(super) doubt: Notify,
}

#[derive(Clone)]
pub(super) struct Master {
    pub(super) connection: MultiplexedConnection,
    pub(super) client: Client,
    pub(super) address: Address,
    pub(super) number: u64,
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
        let listeners: Vec<_> =
            place.sentinels.iter().map(|info| listen(Arc::clone(&shared), info.clone())).collect();
        let task = tokio::spawn(async move {
            tokio::join!(search.follow(), join_all(listeners));
        });
        Ok(Self { shared, _search: Arc::new(Abort(task.abort_handle())) })
    }

    pub(super) async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        let mut master = self.shared.master().await?;
        let sent = master.connection.req_packed_command(command);
        let answer = self.shared.unless_moved(sent).await.and_then(Value::extract_error);
        let Err(error) = answer else { return answer };
        self.shared.judge(&master, &error);
        if !is_demotion(&error) {
            return Err(error);
        }
        // Refused before it changed anything, so it may be sent to the right one.
        let mut master = self.shared.master().await?;
        self.shared.unless_moved(master.connection.req_packed_command(command)).await
    }

    pub(super) async fn send_all(
        &mut self,
        pipeline: &Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        let mut master = self.shared.master().await?;
        let sent = master.connection.req_packed_commands(pipeline, offset, count);
        let answers = self.shared.unless_moved(sent).await;
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
        self.shared.unless_moved(master.connection.req_packed_commands(pipeline, offset, count)).await
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
    pub(super) fn current(&self) -> Option<Master> {
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
    pub(super) fn leave(&self, number: u64) {
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

    pub(super) fn enter(&self, master: Master) {
        self.master.send_replace(Some(master));
    }

    /// Waits for an answer for as long as the master is the one it was: of another nobody knows when it would.
    async fn unless_moved<T>(&self, answer: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
        let mut moves = self.moves.subscribe();
        tokio::select! {
            biased;
            answer = answer => answer,
            _ = moves.changed() => Err(std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into()),
        }
    }
}

pub(super) fn no_master(name: &str) -> RedisError {
    make_extension_error(
        "MASTERDOWN".into(),
        Some(format!("the Sentinels name no reachable master {name:?}")),
    )
}
