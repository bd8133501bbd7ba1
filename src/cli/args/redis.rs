//! Which Redis.

use std::convert::Infallible;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use crate::broker::Endpoint;
use crate::cli::exit::Failure;

/// Flags that name a Redis.
#[derive(Args, Clone, Debug)]
pub struct RedisArgs {
    /// The Redis: redis://[user:password@]host[:port][/db], rediss:// for TLS, unix:///path.
    ///
    /// Everybody on this machine can read a program's flags, so put a URL with a password into the
    /// environment.
    #[arg(
        long,
        env = "CRONMILL_REDIS_URL",
        value_name = "URL",
        default_value = "redis://127.0.0.1:6379",
        hide_env_values = true,
        // clap quotes a value that its parser refuses, and this one may hold a password: take anything here.
        value_parser = secret
    )]
    redis_url: SecretString,
}

impl RedisArgs {
    /// The endpoint that the URL names.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] for what is no URL of a Redis; the message does not show the URL.
    pub fn endpoint(&self) -> Result<Endpoint, Failure> {
        let parsed = self.redis_url.expose_secret().trim().parse::<Endpoint>();
        parsed.map_err(|error| Failure::usage(error).context("--redis-url or CRONMILL_REDIS_URL"))
    }
}

fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(SecretString::from(text))
}
