//! Sentinels of one test, and what they watch over.

use std::process::Command;
use std::time::Duration;

use cronmill::broker::Endpoint;
use tempfile::TempDir;

use super::process::Process;
use super::redis_server::{Options, RedisServer, free_port};
use super::tls::Certificates;
use super::wait::until_blocking;

const START_LIMIT: Duration = Duration::from_secs(20);
/// The name under which Sentinels know the master.
const MASTER: &str = "mymaster";
/// After this long without an answer a Sentinel takes the master for dead.
const DOWN_AFTER_MS: u64 = 1000;

/// One Sentinel process.
pub struct Sentinel {
    process: Process,
    port: u16,
    _dir: TempDir,
}

impl Sentinel {
    /// A Sentinel that watches the first of these servers, which is the master.
    pub(super) fn of(servers: &[&RedisServer], quorum: usize) -> Self {
        Self::start(servers[0].port(), quorum, |_| String::new())
    }

    /// A Sentinel of one server, which has a password of its own. An empty one is none.
    pub fn with_passwords(server: &RedisServer, servers: &str, sentinels: &str) -> Self {
        let mut lines = format!("requirepass {sentinels}\n");
        if !servers.is_empty() {
            lines.push_str(&format!("sentinel auth-pass {MASTER} {servers}\n"));
        }
        Self::start(server.port(), 1, |_| lines.clone())
    }

    /// A Sentinel of one server that speaks TLS only, to it and to us.
    pub fn with_tls(server: &RedisServer, certificates: &Certificates) -> Self {
        Self::start(server.tls_port(), 1, |port| {
            let mut lines = format!("port 0\ntls-port {port}\ntls-replication yes\ntls-auth-clients no\n");
            for (directive, file) in certificates.directives() {
                lines.push_str(&format!("{directive} {}\n", file.display()));
            }
            lines
        })
    }

    fn start(master: u16, quorum: usize, lines: impl Fn(u16) -> String) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for _ in 0..20 {
            let port = free_port();
            let file = dir.path().join("sentinel.conf");
            let text = format!(
                "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {MASTER} 127.0.0.1 {master} {quorum}\n\
                 sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}\n\
                 sentinel failover-timeout {MASTER} 4000\n{}",
                dir.path().display(),
                lines(port),
            );
            std::fs::write(&file, text).expect("write into our own folder");
            let mut command = Command::new("redis-server");
            let mut process = Process::start("redis-sentinel", command.arg(&file).arg("--sentinel"));
            let mut ready = false;
            until_blocking(START_LIMIT, "the Sentinel is ready", || {
                ready = process.stdout().iter().any(|line| line.contains("+monitor"));
                ready || process.ended().is_some()
            });
            if ready {
                return Self { process, port, _dir: dir };
            }
        }
        panic!("a Sentinel found no port to listen on");
    }

    /// `redis-sentinel://` with this one.
    pub fn url(&self) -> String {
        format!("redis-sentinel://127.0.0.1:{}/0?master={MASTER}", self.port)
    }

    /// Runs `redis-cli` on it.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        let port = self.port.to_string();
        let answer = command.args(["-e", "-p", &port]).args(arguments).output().expect("redis-cli");
        assert!(answer.status.success(), "{command:?}: {}", String::from_utf8_lossy(&answer.stderr));
        String::from_utf8_lossy(&answer.stdout).trim_end().to_owned()
    }

    /// Stops it from answering.
    pub fn freeze(&self) {
        self.process.freeze();
    }
}

/// A master with replicas, and Sentinels that replace it when it dies.
pub struct Sentinels {
    /// The servers; the first one was the master at the start.
    pub servers: Vec<RedisServer>,
    /// The Sentinels.
    pub sentinels: Vec<Sentinel>,
}

impl Sentinels {
    /// Starts a master, replicas that have all it has, and three Sentinels that know of each other.
    pub fn start(replicas: usize) -> Self {
        let master = Options::plain().config("repl-diskless-sync-delay", "0").start();
        let address = format!("127.0.0.1 {}", master.port());
        let replica = |_| {
            Options::plain().config("repl-diskless-sync-delay", "0").config("replicaof", &address).start()
        };
        let mut servers: Vec<RedisServer> = (0..replicas).map(replica).collect();
        servers.insert(0, master);
        let linked =
            |server: &RedisServer| server.cli(["INFO", "replication"]).contains("master_link_status:up");
        until_blocking(START_LIMIT, "the replicas follow", || servers[1..].iter().all(linked));
        let all: Vec<&RedisServer> = servers.iter().collect();
        let sentinels: Vec<Sentinel> = (0..3).map(|_| Sentinel::of(&all, 2)).collect();
        until_blocking(START_LIMIT, "the Sentinels know of each other", || {
            sentinels.iter().all(|sentinel| {
                let facts = sentinel.cli(&["SENTINEL", "MASTER", MASTER]);
                let number =
                    |name: &str| facts.lines().skip_while(|line| *line != name).nth(1).map(str::to_owned);
                number("num-other-sentinels").as_deref() == Some("2")
                    && number("num-slaves") == Some(replicas.to_string())
            })
        });
        Self { servers, sentinels }
    }

    /// `redis-sentinel://` with all of them.
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.sentinels.iter().map(|one| format!("127.0.0.1:{}", one.port)).collect();
        format!("redis-sentinel://{}/0?master={MASTER}", hosts.join(","))
    }

    /// [`Sentinels::url`] as our broker takes it.
    pub fn endpoint(&self) -> Endpoint {
        self.url().parse().expect("a valid URL")
    }

    /// The place among the servers of the one that the Sentinels name.
    pub fn master(&self) -> usize {
        let named =
            self.sentinels.last().expect("three").cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]);
        let port = named.lines().nth(1).expect("a port").to_owned();
        self.servers.iter().position(|server| server.port().to_string() == port).expect("one of ours")
    }

    /// Makes one server the master and another its replica, and tells the Sentinels, past their own ways: no
    /// connection of a client is cut.
    pub fn hand_over(&self, old: usize, new: usize) {
        let (old, new) = (&self.servers[old], &self.servers[new]);
        let port = new.port().to_string();
        new.cli(["REPLICAOF", "NO", "ONE"]);
        old.cli(["REPLICAOF", "127.0.0.1", &port]);
        for sentinel in &self.sentinels {
            sentinel.cli(&["SENTINEL", "REMOVE", MASTER]);
            sentinel.cli(&["SENTINEL", "MONITOR", MASTER, "127.0.0.1", &port, "2"]);
        }
    }

    /// Waits until a replica has all that the master has.
    pub fn synced(&self, replica: usize) {
        until_blocking(START_LIMIT, "the replica has everything", || {
            let offset = |server: &RedisServer, name: &str| -> Option<String> {
                let lines = server.cli_lines(["INFO", "replication"]);
                lines.iter().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
            };
            let there = offset(&self.servers[self.master()], "master_repl_offset:");
            there.is_some() && there == offset(&self.servers[replica], "slave_repl_offset:")
        });
    }

    /// Makes the Sentinels choose another master, with the old one alive.
    pub fn fail_over(&self) {
        self.sentinels.last().expect("three").cli(&["SENTINEL", "FAILOVER", MASTER]);
    }
}
