//! What sort of server answers: asked before it is trusted, with a command that every user may run.

use std::collections::HashMap;

use redis::aio::ConnectionLike;
use redis::{RedisResult, Value};

use super::error::is_login;

/// A server as it describes itself. What it does not tell is empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) version: String,
    /// `standalone`, `cluster` or `sentinel`.
    pub(super) mode: String,
    pub(super) is_replica: bool,
}

/// Asks a server what it is.
pub(super) async fn kind_of(connection: &mut impl ConnectionLike) -> RedisResult<Kind> {
    let told: RedisResult<HashMap<String, Value>> = redis::cmd("HELLO").query_async(connection).await;
    let mut told = match told {
        Ok(told) => told,
        Err(error) if is_login(&error) || error.is_io_error() => return Err(error),
        // Before 6.2, and behind some proxies.
        Err(_) => {
            let info: String = redis::cmd("INFO").query_async(connection).await?;
            return Ok(from_info(&info));
        }
    };
    let mut text = |name: &str| {
        told.remove(name).and_then(|value| redis::from_redis_value::<String>(value).ok()).unwrap_or_default()
    };
    Ok(Kind { version: text("version"), mode: text("mode"), is_replica: is_replica(&text("role")) })
}

fn from_info(info: &str) -> Kind {
    let field = |name| field(info, name).unwrap_or_default().to_owned();
    Kind {
        version: field("redis_version"),
        mode: field("redis_mode"),
        is_replica: is_replica(&field("role")),
    }
}

fn is_replica(role: &str) -> bool {
    matches!(role, "replica" | "slave")
}

/// A field of `INFO`.
pub(super) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_info_says_is_read() {
        let info = "# Server\r\nredis_version:5.0.14\r\nredis_mode:standalone\r\nrole:slave\r\n";
        let kind = Kind { version: "5.0.14".into(), mode: "standalone".into(), is_replica: true };
        assert_eq!(from_info(info), kind);
        assert_eq!(from_info(""), Kind::default());
    }
}
