//! A Redis Cluster of one test: masters that know each other from the start.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cronmill::broker::Endpoint;

use super::redis_server::{Options, RedisServer, With, free_port};
use super::tls::Certificates;
use super::wait::until_blocking;

/// A cluster serves 2 s after its start at the earliest.
const START_LIMIT: Duration = Duration::from_secs(30);
const SLOTS: usize = 16384;

/// Commands whose answer is that of all nodes together.
pub(super) const OF_EACH_NODE: [&str; 8] =
    ["DBSIZE", "INFO", "FLUSHALL", "KEYS", "SCRIPT", "SLOWLOG", "CONFIG", "--SCAN"];

/// Answers of all nodes as one: numbers are summed, lines put together.
pub(super) fn one_of(answers: Vec<Vec<u8>>) -> Vec<u8> {
    let texts: Vec<String> =
        answers.iter().map(|answer| String::from_utf8_lossy(answer).trim_end().to_owned()).collect();
    let numbers: Result<Vec<i64>, _> = texts.iter().map(|text| text.parse::<i64>()).collect();
    if let Ok(numbers) = numbers {
        return numbers.iter().sum::<i64>().to_string().into_bytes();
    }
    let distinct: BTreeSet<&String> = texts.iter().filter(|text| !text.is_empty()).collect();
    // What all say alike is said once.
    if distinct.len() == 1 && !texts[0].is_empty() {
        return texts[0].clone().into_bytes();
    }
    texts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n").into_bytes()
}

/// Masters, each with an equal part of the slots.
pub struct Cluster {
    /// The masters.
    pub nodes: Vec<RedisServer>,
}

impl Cluster {
    /// Starts masters and waits until all of them serve.
    pub fn start(masters: usize) -> Self {
        Self::of(&Options::plain(), masters)
    }

    /// [`Cluster::start`], with a replica for each master; the replicas come after the masters.
    pub fn start_with_replicas(masters: usize) -> Self {
        let cluster = Self::launched(&vec![Options::plain(); masters], masters);
        until_blocking(START_LIMIT, "the replicas follow", || {
            let replicas = &cluster.nodes[masters..];
            replicas.iter().all(|node| node.cli(["INFO", "replication"]).contains("master_link_status:up"))
        });
        cluster
    }

    /// [`Cluster::start`], with TLS between the nodes and to us.
    pub fn start_tls(masters: usize, certificates: &Arc<Certificates>) -> Self {
        Self::of(&Options::plain().tls_with(certificates).config("tls-cluster", "yes"), masters)
    }

    /// [`Cluster::start`], with clocks that are off by that many seconds.
    pub fn start_with_clocks(clocks_off_s: &[i64]) -> Self {
        let options: Vec<_> = clocks_off_s.iter().map(|off| Options::plain().clock_off(*off)).collect();
        Self::launched(&options, 0)
    }

    pub(super) fn of(options: &Options, masters: usize) -> Self {
        Self::launched(&vec![options.clone(); masters], 0)
    }

    fn launched(options: &[Options], replicas: usize) -> Self {
        for _ in 0..20 {
            if let Some(nodes) = launch(options, replicas) {
                let cluster = Self { nodes };
                until_blocking(START_LIMIT, "the cluster serves", || {
                    cluster
                        .nodes
                        .iter()
                        .all(|node| node.cli(["CLUSTER", "INFO"]).contains("cluster_state:ok"))
                });
                return cluster;
            }
        }
        panic!("a cluster found no ports to listen on");
    }

    /// The first node, with the others around it.
    pub(super) fn into_one(mut self) -> RedisServer {
        let mut first = self.nodes.remove(0);
        first.surround(With::Nodes(self.nodes));
        first
    }

    /// `redis-cluster://` with all nodes.
    pub fn url(&self) -> String {
        Self::url_of(&self.nodes)
    }

    /// [`Cluster::url`] as our broker takes it.
    pub fn endpoint(&self) -> Endpoint {
        self.url().parse().expect("a valid URL")
    }

    pub(super) fn url_of<'a>(nodes: impl IntoIterator<Item = &'a RedisServer>) -> String {
        let (mut hosts, mut scheme) = (Vec::new(), "redis-cluster");
        for node in nodes {
            let port = if node.tls_port() > 0 { node.tls_port() } else { node.port() };
            scheme = if node.tls_port() > 0 { "rediss-cluster" } else { scheme };
            hosts.push(format!("127.0.0.1:{port}"));
        }
        format!("{scheme}://{}", hosts.join(","))
    }

    /// Runs `redis-cli` on whatever node holds the keys.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let first = &self.nodes[0];
        let port = first.port().to_string();
        let mut command = std::process::Command::new("redis-cli");
        let answer = command.args(["-e", "-c", "-p", &port]).args(arguments).output().expect("redis-cli");
        assert!(answer.status.success(), "{command:?}: {}", String::from_utf8_lossy(&answer.stderr));
        String::from_utf8_lossy(&answer.stdout).trim_end().to_owned()
    }

    /// The slot of a key.
    pub fn slot(&self, key: &str) -> u16 {
        self.nodes[0].cli(["CLUSTER", "KEYSLOT", key]).parse().expect("a slot")
    }

    /// The place among the nodes of the one that holds a slot.
    pub fn owner(&self, slot: u16) -> usize {
        let holds = |node: &RedisServer| {
            let line = node.cli_lines(["CLUSTER", "NODES"]).into_iter().find(|line| line.contains("myself"));
            line.expect("it knows itself").split(' ').skip(8).any(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let number = |text: &str| text.parse::<u16>().ok();
                number(first).zip(number(last)).is_some_and(|(first, last)| (first..=last).contains(&slot))
            })
        };
        self.nodes.iter().position(holds).expect("somebody holds every slot")
    }

    /// Begins to move a slot: from now on it is on its way.
    pub fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let (slot, ids) = (slot.to_string(), [self.id(from), self.id(to)]);
        self.nodes[to].cli(["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[0]]);
        self.nodes[from].cli(["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[1]]);
    }

    /// Moves up to `most` keys of a slot that is on its way; answers how many there were.
    pub fn move_keys(&self, slot: u16, from: usize, to: usize, most: usize) -> usize {
        let keys =
            self.nodes[from].cli_lines(["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), &most.to_string()]);
        self.move_these(from, to, &keys);
        keys.len()
    }

    /// Moves keys.
    pub fn move_these(&self, from: usize, to: usize, keys: &[String]) {
        if keys.is_empty() {
            return;
        }
        let port = self.nodes[to].port().to_string();
        let head = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"].map(str::to_owned);
        self.nodes[from].cli(head.iter().chain(keys));
    }

    /// Ends the move of a slot, whose keys have all been moved.
    pub fn end_move(&self, slot: u16, to: usize) {
        let (slot, id) = (slot.to_string(), self.id(to));
        let others = (0..self.nodes.len()).filter(|node| *node != to);
        for node in [to].into_iter().chain(others) {
            self.nodes[node].cli(["CLUSTER", "SETSLOT", &slot, "NODE", &id]);
        }
    }

    fn id(&self, node: usize) -> String {
        self.nodes[node].cli(["CLUSTER", "MYID"])
    }
}

/// Starts nodes that know each other by their files; none when a port was taken meanwhile. Each master may have a
/// replica, which comes after all masters, in the same order.
fn launch(options: &[Options], replicas: usize) -> Option<Vec<RedisServer>> {
    let masters = options.len();
    let all = options.iter().chain(&options[..replicas]);
    let mut nodes: Vec<RedisServer> = all.map(|options| options.clone().prepare()).collect();
    let id = |place: usize| format!("{:040x}", place + 1);
    let mut lines = Vec::new();
    for (place, node) in nodes.iter_mut().enumerate() {
        node.choose_ports();
        let bus = free_port();
        for (directive, value) in [
            ("cluster-enabled", "yes"),
            ("cluster-port", &bus.to_string()),
            ("cluster-config-file", "nodes.conf"),
            ("cluster-node-timeout", "2000"),
            ("repl-diskless-sync-delay", "0"),
        ] {
            node.set_config(directive, value);
        }
        let port = if node.tls_port() > 0 { node.tls_port() } else { node.port() };
        let tail = match place.checked_sub(masters) {
            Some(master) => format!("slave {} 0 0 {} connected", id(master), master + 1),
            None => {
                let (first, last) = (place * SLOTS / masters, (place + 1) * SLOTS / masters - 1);
                format!("master - 0 0 {} connected {first}-{last}", place + 1)
            }
        };
        lines.push((format!("{} 127.0.0.1:{port}@{bus}", id(place)), tail));
    }
    for (place, node) in nodes.iter().enumerate() {
        let mut text = String::new();
        for (other, (head, tail)) in lines.iter().enumerate() {
            let flags = if other == place { "myself," } else { "" };
            text.push_str(&format!("{head} {flags}{tail}\n"));
        }
        text.push_str(&format!("vars currentEpoch {masters} lastVoteEpoch 0\n"));
        std::fs::write(node.folder().join("nodes.conf"), text).expect("write into our own folder");
    }
    nodes.iter_mut().all(RedisServer::launch).then_some(nodes)
}
