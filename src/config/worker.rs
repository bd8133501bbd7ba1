//! The file of a worker.

use std::path::Path;

use serde_json::Value;

use super::error::{ConfigError, ConfigFault};
use super::findings::{Findings, Idle};
use super::rpc::{self, RpcClient};
use super::section::{Section, number, shown};
use super::server;
use super::service::Service;
use crate::broker::Endpoint;
use crate::document::{FieldPath, kind_of};
use crate::task::{QueueName, QueueWeights};

/// Keys of the other program's file.
pub(super) const KEYS: [&str; 3] = ["Concurrency", "Queues", "StrictPriority"];

/// What a worker's file says.
#[derive(Debug, Clone)]
pub struct WorkerFile {
    /// About the service itself.
    pub service: Service,
    /// `Redis`.
    pub redis: Option<Endpoint>,
    /// `Concurrency`: how many tasks run at once.
    pub concurrency: Option<u16>,
    /// `Queues` with their weights.
    pub queues: Option<QueueWeights>,
    /// `StrictPriority`.
    pub strict: Option<bool>,
    /// The services that handlers call, by their keys.
    pub rpc: Vec<RpcClient>,
    /// What does nothing here, in the order of its lines.
    pub idle: Vec<Idle>,
}

/// Reads the text of a worker's file.
///
/// # Errors
/// Everything that is wrong, in the order of its lines.
pub fn read_worker(file: &Path, text: &str) -> Result<WorkerFile, Vec<ConfigError>> {
    let (mut found, value) = Findings::open(file, text)?;
    let Some(mut keys) = Section::open(&value, FieldPath::default(), &mut found) else {
        return Err(found.errors);
    };
    let service = Service::take(&mut keys, &mut found);
    let redis = server::take(&mut keys, &mut found);
    let concurrency = keys.number("Concurrency", 1, 10_000, &mut found).and_then(|n| u16::try_from(n).ok());
    let queues = keys.take("Queues").and_then(|(path, value)| weights(&path, value, &mut found));
    let strict = keys.switch("StrictPriority", &mut found);
    let rpc = rpc::take(&mut keys, &mut found);
    keys.close(&super::scheduler::KEYS, "cronmill scheduler", &mut found);
    found.conclude(|idle| WorkerFile { service, redis, concurrency, queues, strict, rpc, idle })
}

/// asynq's queues, each with its weight.
fn weights(path: &FieldPath, value: &Value, found: &mut Findings<'_>) -> Option<QueueWeights> {
    let Value::Object(map) = value else {
        let message = format!("is {}", kind_of(value));
        found.refuse(
            path,
            ConfigFault::InvalidValue,
            message,
            "queues with their weights, as in {critical: 6, default: 3}",
        );
        return None;
    };
    let mut queues = Vec::new();
    for (name, weight) in map {
        let path = path.key(name);
        match QueueName::new(name.as_str()) {
            Ok(queue) => {
                queues.extend(number(weight, &path, 1, 1000, found).map(|weight| (queue, weight as u32)))
            }
            Err(error) => {
                let message = format!("{} is no queue: {error}", shown(name));
                found.refuse(&path, ConfigFault::InvalidValue, message, "");
            }
        }
    }
    if map.is_empty() {
        found.refuse(path, ConfigFault::InvalidValue, "names no queue", "at least one, as in {default: 1}");
    }
    QueueWeights::new(queues)
}
