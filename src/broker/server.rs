//! Workers as tools see them: who runs, and what.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prost::Message as _;

use super::keys::{SERVERS, WORKERS, server, server_workers};
use super::{Broker, BrokerError, script};
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
}

impl Broker {
    /// Publishes a server and the tasks it runs, for as long as `life`. Repeat well before that ends.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn publish_server(
        &self,
        info: &ServerInfo,
        running: &[WorkerInfo],
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
        call.key(workers).arg(life.as_secs().max(1)).arg(info.encode_to_vec());
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
        pipe.del(record).ignore().del(workers).ignore();
        self.pipe("withdraw the server", "*", &pipe).await
    }

    /// The servers alive now, at most a thousand. Writes nothing, so a read-only user may ask.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn servers(&self) -> Result<Vec<LiveServer>, BrokerError> {
        const DOING: &str = "list servers";
        let mut pipe = redis::pipe();
        pipe.cmd("ZRANGE").arg(SERVERS).arg(self.now().as_second()).arg("+inf").arg("BYSCORE");
        pipe.arg("LIMIT").arg(0).arg(SERVERS_MAX);
        let (records,): (Vec<String>,) = self.pipe(DOING, "*", &pipe).await?;
        let mut pipe = redis::pipe();
        for record in &records {
            pipe.get(record).cmd("HVALS").arg(record.replacen("asynq:servers:", "asynq:workers:", 1));
        }
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let mut answers: Vec<redis::Value> = self.pipe(DOING, "*", &pipe).await?;
        let mut servers = Vec::new();
        for pair in answers.chunks_exact_mut(2) {
            let (record, running) = (std::mem::take(&mut pair[0]), std::mem::take(&mut pair[1]));
            let record: Option<Vec<u8>> = redis::from_redis_value(record).unwrap_or_default();
            let running: Vec<Vec<u8>> = redis::from_redis_value(running).unwrap_or_default();
            let Some(Ok(info)) = record.map(|raw| ServerInfo::decode(raw.as_slice())) else { continue };
            let running = running.iter().filter_map(|raw| WorkerInfo::decode(raw.as_slice()).ok()).collect();
            servers.push(LiveServer { info, running });
        }
        Ok(servers)
    }
}

fn owner(info: &ServerInfo) -> String {
    format!("{}:{}:{}", info.host, info.pid, info.server_id)
}

/// How long ago something was, never negative.
pub(super) fn since(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or(Duration::ZERO)
}
