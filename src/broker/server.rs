//! Workers as tools see them: who runs, and what.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prost::Message as _;

use super::claim::Owner;
use super::keys::{SERVERS, WORKERS, owner_of_server, server, server_types, server_workers};
use super::{Broker, BrokerError, catalogue, script};
use crate::task::{ServerInfo, WorkerInfo};

/// Servers one listing reads at most.
const SERVERS_MAX: isize = 1000;

/// A live server and what it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveServer {
    /// The server.
    pub info: ServerInfo,
    /// The tasks it runs now.
    pub running: Vec<WorkerInfo>,
    /// The types it serves, each with every type that begins with it; `None` when it does not tell, as Go's workers.
    pub types: Option<Vec<String>>,
}

impl LiveServer {
    /// Its name as an owner of leases.
    #[must_use]
    pub fn owner(&self) -> Owner {
        Owner::named(&owner(&self.info))
    }

    /// Whether what it holds is noted, and a cordon keeps it from taking more: it is a worker of ours.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.owner().started().is_some()
    }
}

impl Broker {
    /// Publishes a server, the tasks it runs and the types it serves, for as long as `life`. Repeat well before that
    /// ends. More than 256 types, or 16 KiB of them, are not told at all: half of them would say that it does not
    /// serve the others.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn publish_server(
        &self,
        info: &ServerInfo,
        running: &[WorkerInfo],
        types: Option<&[String]>,
        life: Duration,
    ) -> Result<(), BrokerError> {
        const DOING: &str = "publish the server";
        let owner = owner(info);
        let (record, workers) = (server(&owner), server_workers(&owner));
        let stale = self.now() + SignedDuration::try_from(life).unwrap_or(SignedDuration::ZERO);
        let mut pipe = redis::pipe();
        pipe.zadd(SERVERS, &record, stale.as_second()).ignore();
        pipe.zadd(WORKERS, &workers, stale.as_second()).ignore();
        self.pipe::<()>(DOING, "*", &pipe).await?;
        let mut call = script::SERVER.key(record);
        call.key(workers).key(server_types(&owner));
        call.arg(life.as_secs().max(1)).arg(info.encode_to_vec());
        call.arg(types.and_then(catalogue::written).unwrap_or_default());
        for task in running {
            call.arg(&task.task_id).arg(task.encode_to_vec());
        }
        self.run(DOING, "*", &call).await
    }

    /// Takes a server off the list.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; it lapses by itself.
    pub async fn withdraw_server(&self, info: &ServerInfo) -> Result<(), BrokerError> {
        let owner = owner(info);
        let (record, workers) = (server(&owner), server_workers(&owner));
        let mut pipe = redis::pipe();
        pipe.zrem(SERVERS, &record).ignore().zrem(WORKERS, &workers).ignore();
        pipe.del(record).ignore().del(workers).ignore().del(server_types(&owner)).ignore();
        self.pipe("withdraw the server", "*", &pipe).await
    }

    /// The servers alive now, at most a thousand. Writes nothing, so a read-only user may ask.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn servers(&self) -> Result<Vec<LiveServer>, BrokerError> {
        const DOING: &str = "list servers";
        let owners = self.live_owners(DOING).await?;
        let mut pipe = redis::pipe();
        for owner in &owners {
            pipe.get(server(owner)).get(server_types(owner)).cmd("HVALS").arg(server_workers(owner));
        }
        if owners.is_empty() {
            return Ok(Vec::new());
        }
        let answers: Vec<redis::Value> = self.pipe(DOING, "*", &pipe).await?;
        let mut servers = Vec::new();
        for [record, types, running] in answers.as_chunks().0 {
            let running: Vec<Vec<u8>> = redis::from_redis_value_ref(running).unwrap_or_default();
            let Some(info) = server_info(record) else { continue };
            let running = running.iter().filter_map(|raw| WorkerInfo::decode(raw.as_slice()).ok()).collect();
            servers.push(LiveServer { info, running, types: catalogue::read(types) });
        }
        Ok(servers)
    }

    /// Who published servers that are alive, at most a thousand.
    async fn live_owners(&self, doing: &'static str) -> Result<Vec<String>, BrokerError> {
        let mut pipe = redis::pipe();
        pipe.cmd("ZRANGE").arg(SERVERS).arg(self.now().as_second()).arg("+inf").arg("BYSCORE");
        pipe.arg("LIMIT").arg(0).arg(SERVERS_MAX);
        let (records,): (Vec<String>,) = self.pipe(doing, "*", &pipe).await?;
        Ok(records.iter().filter_map(|record| owner_of_server(record).map(str::to_owned)).collect())
    }
}

/// What stands in a server's record, if it is one.
fn server_info(record: &redis::Value) -> Option<ServerInfo> {
    let record: Option<Vec<u8>> = redis::from_redis_value_ref(record).unwrap_or_default();
    ServerInfo::decode(record?.as_slice()).ok()
}

fn owner(info: &ServerInfo) -> String {
    format!("{}:{}:{}", info.host, info.pid, info.server_id)
}

/// How long ago something was, never negative.
pub(super) fn since(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or(Duration::ZERO)
}
