//! Which Redis.

use std::convert::Infallible;
use std::path::PathBuf;

use anyhow::Error;
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
    /// PEM file of the certificate authorities to trust for rediss://, instead of the public ones.
    #[arg(long, env = "CRONMILL_REDIS_CA", value_name = "FILE")]
    redis_ca: Option<PathBuf>,
}

impl RedisArgs {
    /// The endpoint that the URL names.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] for what is no URL of a Redis, for an authority that cannot be read, and for one
    /// beside a URL without TLS. The message does not show the URL.
    pub fn endpoint(&self) -> Result<Endpoint, Failure> {
        let url = self.redis_url.expose_secret().trim();
        let parsed = url.parse::<Endpoint>();
        let endpoint =
            parsed.map_err(|error| Failure::usage(error).context("--redis-url or CRONMILL_REDIS_URL"))?;
        let Some(file) = &self.redis_ca else { return Ok(endpoint) };
        // Ignoring it would leave somebody who asked for TLS without.
        if !url.starts_with("rediss:") {
            let problem = "--redis-ca or CRONMILL_REDIS_CA needs a URL that begins with rediss://";
            return Err(Failure::Usage(Error::msg(problem)));
        }
        let trusting = endpoint.with_authority(file);
        trusting.map_err(|error| Failure::usage(error).context("--redis-ca or CRONMILL_REDIS_CA"))
    }
}

fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(SecretString::from(text))
}
