//! What Redis says of itself.

use std::time::Duration;

use super::error::Doing;
use super::{Broker, BrokerError};

/// The state of a Redis, from its `INFO`. What it does not tell is empty or zero.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RedisFacts {
    /// Its version.
    pub version: String,
    /// Names this run of it: another start has another.
    pub run_id: String,
    /// `master` or `slave`.
    pub role: String,
    /// How long it has run.
    pub uptime: Duration,
    /// Connected clients.
    pub clients: u64,
    /// Commands it ran in the last second.
    pub commands_per_s: u64,
    /// Memory its data takes.
    pub memory_bytes: u64,
    /// The most that was.
    pub memory_peak_bytes: u64,
    /// The most it may be; `None`: no limit but the machine's.
    pub memory_bytes_max: Option<u64>,
}

impl Broker {
    /// Asks Redis about itself.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn facts(&self) -> Result<RedisFacts, BrokerError> {
        let info: String = redis::cmd("INFO").query_async(&mut self.link()).await.doing("read INFO", "*")?;
        Ok(parse(&info))
    }
}

fn parse(info: &str) -> RedisFacts {
    let text = |name: &str| {
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map(str::trim).unwrap_or_default().to_owned()
    };
    let number = |name: &str| text(name).parse::<u64>().unwrap_or(0);
    RedisFacts {
        version: text("redis_version"),
        run_id: text("run_id"),
        role: text("role"),
        uptime: Duration::from_secs(number("uptime_in_seconds")),
        clients: number("connected_clients"),
        commands_per_s: number("instantaneous_ops_per_sec"),
        memory_bytes: number("used_memory"),
        memory_peak_bytes: number("used_memory_peak"),
        memory_bytes_max: Some(number("maxmemory")).filter(|max| *max > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_whole_and_missing_ones_are_zero() {
        let info =
            "# Memory\r\nused_memory_human:9M\r\nused_memory:9437184\r\nmaxmemory:0\r\nrole:master\r\n";
        let facts = RedisFacts { role: "master".into(), memory_bytes: 9_437_184, ..RedisFacts::default() };
        assert_eq!(parse(info), facts);
        assert_eq!(parse("maxmemory:100\n").memory_bytes_max, Some(100));
    }
}
