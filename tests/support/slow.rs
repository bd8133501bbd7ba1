//! Calls that hold a Redis for long: what they take of it, without what the machine keeps it from its work.

use std::fs;
use std::time::{Duration, Instant};

use super::RedisServer;

/// Watches calls, one at a time, and notes those that hold a server longer than a limit.
pub struct SlowCalls<'a> {
    nodes: Vec<&'a RedisServer>,
    limit: Duration,
    /// How many calls there were.
    pub calls: usize,
    /// What each slow one took of the server.
    pub slow: Vec<Duration>,
    /// How many were slow only by the clock: meanwhile the server waited for a processor that others had.
    pub kept_waiting: usize,
}

impl<'a> SlowCalls<'a> {
    /// Watches a server, or all nodes of a cluster.
    pub fn watch(server: &'a RedisServer, limit: Duration) -> Self {
        server.cli(["CONFIG", "SET", "slowlog-log-slower-than", &limit.as_micros().to_string()]);
        server.cli(["SLOWLOG", "RESET"]);
        Self { nodes: server.nodes().collect(), limit, calls: 0, slow: Vec::new(), kept_waiting: 0 }
    }

    /// Awaits one call and looks how long it held the server.
    pub async fn of<T>(&mut self, call: impl Future<Output = T>) -> T {
        let before: Vec<_> = self.nodes.iter().map(|node| waited(node)).collect();
        let start = Instant::now();
        let answer = call.await;
        self.calls += 1;
        // Nothing holds the server longer than its caller waits.
        if start.elapsed() < self.limit {
            return answer;
        }
        for (node, before) in self.nodes.iter().zip(before) {
            let kept = waited(node) - before;
            let Some(took) = last_slow(node) else { continue };
            node.cli_here(["SLOWLOG", "RESET"]);
            match took.saturating_sub(kept) {
                own if own > self.limit => self.slow.push(own),
                _ => self.kept_waiting += 1,
            }
        }
        answer
    }
}

/// How long a server was ready to run and had no processor, ever.
fn waited(server: &RedisServer) -> Duration {
    let pid = server.pid();
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat")).expect("a running process");
    let waited = text.split(' ').nth(1).and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(waited.expect("three numbers"))
}

/// What the last slow call of a server took by the clock.
fn last_slow(server: &RedisServer) -> Option<Duration> {
    let answer = server.cli_here(["SLOWLOG", "GET", "1"]);
    // Its number, when it began, and how long it took in µs, a line each.
    Some(Duration::from_micros(answer.lines().nth(2)?.parse().expect("a number")))
}
