//! How a command that asks or tells Redis something once gets there.

use clap::Args;

use super::RedisArgs;
use crate::broker::Broker;
use crate::cli::exit::Failure;
use crate::telemetry::{LogFormat, init_tracing};

/// Flags of commands that speak to Redis and end.
#[derive(Args, Clone, Debug)]
pub struct ConnectionArgs {
    #[command(flatten)]
    redis: RedisArgs,
    /// Log what happens underneath to stderr: error, warn, info, debug, trace, or target=level,… [default: off]
    #[arg(long, env = "CRONMILL_LOG", value_name = "FILTER")]
    log: Option<String>,
}

impl ConnectionArgs {
    /// Connects at once, or says why not. Not cancel-safe, and nothing waits for a Redis that is away.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] for a malformed URL or filter, a refused login, and a Redis that is too old or that
    /// evicts; [`Failure::Failed`] when nobody answers.
    pub async fn connect(&self) -> Result<Broker, Failure> {
        if let Some(filter) = self.log.as_deref().filter(|filter| !filter.trim().is_empty()) {
            init_tracing(LogFormat::Text, filter).map_err(Failure::usage)?;
        }
        Ok(Broker::connect(&self.redis.endpoint()?).await?)
    }
}
