//! What Redis says of itself.

use std::time::Duration;

use redis::RedisResult;

use super::error::{Doing, is_login};
use super::{Broker, BrokerError};

/// The state of a Redis, from its `INFO`. What it does not tell is empty or zero.
///
/// Of a cluster: the sums over its masters, the least version and uptime, and all run ids as one.
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
    /// Asks Redis about itself. A user who may not ask gets facts that are empty.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn facts(&self) -> Result<RedisFacts, BrokerError> {
        let mut all: Option<RedisFacts> = None;
        for mut server in self.shards().await? {
            let info: RedisResult<String> = redis::cmd("INFO").query_async(&mut server.link).await;
            let facts = match info {
                Err(error) if is_login(&error) => RedisFacts::default(),
                info => parse(&info.doing("read INFO", "*")?),
            };
            all = Some(match all {
                Some(all) => all.and(facts),
                None => facts,
            });
        }
        Ok(all.unwrap_or_default())
    }
}

impl RedisFacts {
    /// Both servers as one.
    fn and(self, other: Self) -> Self {
        let by_number =
            |version: &String| version.split('.').map(|part| part.parse().unwrap_or(0)).collect::<Vec<u32>>();
        // In the same order whoever is asked first.
        let mut runs: Vec<_> = self.run_id.split(',').chain(other.run_id.split(',')).collect();
        runs.sort_unstable();
        Self {
            run_id: runs.join(","),
            version: [self.version, other.version].into_iter().min_by_key(by_number).unwrap_or_default(),
            role: self.role,
            uptime: self.uptime.min(other.uptime),
            clients: self.clients + other.clients,
            commands_per_s: self.commands_per_s + other.commands_per_s,
            memory_bytes: self.memory_bytes + other.memory_bytes,
            memory_peak_bytes: self.memory_peak_bytes + other.memory_peak_bytes,
            memory_bytes_max: self.memory_bytes_max.zip(other.memory_bytes_max).map(|(a, b)| a + b),
        }
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

    #[test]
    fn several_servers_are_summed_up_in_any_order() {
        let one = RedisFacts {
            version: "7.0.15".into(),
            run_id: "b".into(),
            memory_bytes: 5,
            memory_bytes_max: Some(10),
            ..RedisFacts::default()
        };
        let two = RedisFacts { version: "10.1".into(), run_id: "a".into(), ..one.clone() };
        let sum = one.clone().and(two.clone());
        assert_eq!((sum.version.as_str(), sum.run_id.as_str()), ("7.0.15", "a,b"));
        assert_eq!((sum.memory_bytes, sum.memory_bytes_max), (10, Some(20)));
        assert_eq!(two.and(one), sum);
    }
}
