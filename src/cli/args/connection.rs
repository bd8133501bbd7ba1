//! How a command that asks or tells Redis something once gets there.

use clap::Args;

use super::RedisArgs;
use crate::broker::Broker;
use crate::cli::exit::Failure;

/// Flags of commands that speak to Redis and end. They log nothing: what they have to say is their output.
#[derive(Args, Clone, Debug)]
pub struct ConnectionArgs {
    #[command(flatten)]
    redis: RedisArgs,
}

impl ConnectionArgs {
    /// Connects at once, or says why not: nothing waits for a Redis that is away. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] for a malformed URL, a refused login, and a Redis that is too old or that evicts;
    /// [`Failure::Failed`] when nobody answers.
    pub async fn connect(&self) -> Result<Broker, Failure> {
        Ok(Broker::connect(&self.redis.endpoint()?).await?)
    }
}
