//! How long worker processes take to start, and what they hold.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::broker::LiveServer;

/// A worker that gave no sign of life for so long will give none: not every program shows itself in Redis.
const SIGN_LIMIT: Duration = Duration::from_secs(30);

/// The starts of one fleet's processes.
#[derive(Debug, Default)]
pub(super) struct Starts {
    /// The processes known, and since when the first sign of each is awaited.
    awaited: BTreeMap<u32, Option<Instant>>,
}

/// What live workers on this machine say they hold, by process id.
pub(super) type Held = BTreeMap<u32, u64>;

/// The workers on this host among all of them: elsewhere, another process may have the same id.
pub(super) fn held_on(host: &str, servers: &[LiveServer]) -> Held {
    let here = servers.iter().filter(|server| server.info.host == host);
    let held = |server: &LiveServer| {
        let said = u64::try_from(server.info.active_workers).unwrap_or(0);
        Some((u32::try_from(server.info.pid).ok()?, said.max(server.running.len() as u64)))
    };
    here.filter_map(held).collect()
}

impl Starts {
    /// Notes which processes there are. Answers whether the first sign of any is awaited.
    pub(super) fn awaits(&mut self, staying: impl Iterator<Item = (u32, Instant)>, at: Instant) -> bool {
        let before = std::mem::take(&mut self.awaited);
        for (pid, started) in staying {
            let awaited = before.get(&pid).copied().unwrap_or(Some(started));
            let awaited = awaited.filter(|since| at.duration_since(*since) < SIGN_LIMIT);
            self.awaited.insert(pid, awaited);
        }
        self.awaited.values().any(Option::is_some)
    }

    /// How long the processes took whose first signs these are.
    pub(super) fn hear(&mut self, held: &Held, at: Instant) -> Vec<Duration> {
        let heard = self.awaited.iter_mut().filter(|(pid, _)| held.contains_key(pid));
        heard.filter_map(|(_, awaited)| Some(at.duration_since(awaited.take()?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::ServerInfo;

    #[test]
    fn the_first_sign_of_each_worker_that_shows_itself_counts_once() {
        let (mut starts, start) = (Starts::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let staying = || [(7, start), (8, start)].into_iter();
        assert!(starts.awaits(staying(), at(0)));
        assert_eq!(starts.hear(&Held::from([(7, 0), (9, 4)]), at(500)), [Duration::from_millis(500)]);
        assert!(starts.hear(&Held::from([(7, 0)]), at(9000)).is_empty(), "known already");
        assert!(starts.awaits(staying(), at(29_999)), "the other one may still come");
        assert!(!starts.awaits(staying(), at(30_000)), "it never shows itself");
    }

    #[test]
    fn only_workers_on_this_host_are_ours() {
        let server = |host: &str, pid, active_workers| LiveServer {
            info: ServerInfo { host: host.into(), pid, active_workers, ..ServerInfo::default() },
            running: Vec::new(),
            types: None,
        };
        let servers = [server("here", 7, 2), server("there", 7, 0), server("there", 8, 5)];
        assert_eq!(held_on("here", &servers), Held::from([(7, 2)]));
    }
}
