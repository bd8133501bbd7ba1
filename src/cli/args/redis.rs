//! Which Redis.

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use anyhow::Error;
use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use super::Given;
use crate::broker::Endpoint;
use crate::cli::exit::Failure;

/// Flags that name a Redis.
#[derive(Args, Clone, Debug)]
pub struct RedisArgs {
    /// The Redis: redis://[user:password@]host[:port][/db], rediss:// for TLS, unix:///path,
    /// redis-sentinel://host:port,…?master=name, redis-cluster://host:port,….
    ///
    /// Everybody on this machine can read a program's flags, so put a URL with a password into the
    /// environment.
    #[arg(
        long,
        env = "CRONMILL_REDIS_URL",
        value_name = "URL",
        default_value = "redis://127.0.0.1:6379",
        hide_env_values = true,
        value_parser = secret
    )]
    redis_url: SecretString,
    /// PEM file of the certificate authorities to trust for URLs with TLS, instead of the public ones.
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
        endpoint(&self.redis_url, self.redis_ca.as_deref(), "--redis-url or CRONMILL_REDIS_URL")
    }

    /// The endpoint that the URL names, or else a file.
    ///
    /// # Errors
    ///
    /// As [`endpoint`](Self::endpoint).
    pub fn endpoint_or(&self, given: Given<'_>, in_file: Option<Endpoint>) -> Result<Endpoint, Failure> {
        match in_file {
            Some(endpoint) if !given.has("redis_url") => trusting(endpoint, self.redis_ca.as_deref()),
            _ => self.endpoint(),
        }
    }
}

/// The endpoint that a URL names, with the authorities to trust for it; `source` says where the URL stood.
pub(in crate::cli) fn endpoint(
    url: &SecretString,
    authority: Option<&Path>,
    source: &'static str,
) -> Result<Endpoint, Failure> {
    let url = url.expose_secret().trim();
    let endpoint = url.parse::<Endpoint>().map_err(|error| Failure::usage(error).context(source))?;
    trusting(endpoint, authority)
}

/// The endpoint with the authorities to trust for it.
fn trusting(endpoint: Endpoint, authority: Option<&Path>) -> Result<Endpoint, Failure> {
    let Some(file) = authority else { return Ok(endpoint) };
    // Ignoring it would leave somebody who asked for TLS without.
    if !endpoint.is_tls() {
        let problem = "--redis-ca or CRONMILL_REDIS_CA needs a URL for TLS: rediss://, rediss-sentinel:// or rediss-cluster://";
        return Err(Failure::Usage(Error::msg(problem)));
    }
    let trusting = endpoint.with_authority(file);
    trusting.map_err(|error| Failure::usage(error).context("--redis-ca or CRONMILL_REDIS_CA"))
}

/// Takes any text: clap would quote what a stricter parser refuses, and it may hold a password.
pub(in crate::cli) fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(SecretString::from(text))
}
