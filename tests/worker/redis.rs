//! A Redis of a test's own, which can be frozen, stopped and started again.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cronmill::broker::{Broker, Endpoint};
use cronmill::task::{Message, QueueName};

pub(crate) struct RedisServer {
    port: u16,
    dir: tempfile::TempDir,
    child: Child,
}

impl RedisServer {
    /// A Redis that writes every change to disk before it answers, so that a restart loses nothing.
    pub(crate) fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("bound").port();
        drop(free);
        let dir = tempfile::tempdir().expect("a directory");
        let child = spawn(port, dir.path());
        Self { port, dir, child }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) async fn broker(&self) -> Broker {
        connect(self.port).await
    }

    pub(crate) fn client(&self) -> redis::Connection {
        let client = redis::Client::open(("127.0.0.1", self.port)).expect("an address");
        client.get_connection().expect("redis answers")
    }

    pub(crate) fn run<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let mut cmd = redis::cmd(command[0]);
        cmd.arg(&command[1..]);
        cmd.query(&mut self.client()).expect("command")
    }

    /// Stops answering, as a machine that hangs.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Ends the process.
    pub(crate) fn stop(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was started");
    }

    /// Starts it on the same port with what it had on disk.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(self.port, self.dir.path());
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// A task's message as it stands.
    pub(crate) fn message(&self, queue: &QueueName, id: &str) -> Option<Message> {
        let raw: Option<Vec<u8>> = self.run(&["HGET", &format!("asynq:{{{queue}}}:t:{id}"), "msg"]);
        raw.map(|raw| Message::decode(raw).expect("a message"))
    }

    /// The ids a container holds, lists from left to right.
    pub(crate) fn ids(&self, queue: &QueueName, container: &str) -> Vec<String> {
        let key = format!("asynq:{{{queue}}}:{container}");
        match container {
            "pending" | "active" => self.run(&["LRANGE", &key, "0", "-1"]),
            _ => self.run(&["ZRANGE", &key, "0", "-1"]),
        }
    }

    pub(crate) fn count(&self, queue: &QueueName, counter: &str) -> u64 {
        self.run::<Option<u64>>(&["GET", &format!("asynq:{{{queue}}}:{counter}")]).unwrap_or(0)
    }

    /// That no task of the queue is left anywhere, nor anything that belonged to one.
    pub(crate) fn assert_no_task_left(&self, queue: &QueueName) {
        let keys: Vec<String> = self.run(&["KEYS", &format!("asynq:{{{queue}}}:*")]);
        let left: Vec<_> =
            keys.iter().filter(|key| !key.contains(":processed") && !key.contains(":failed")).collect();
        assert!(left.is_empty(), "{left:?}");
    }

    /// How often each command was sent since the last reset, by name.
    pub(crate) fn commands(&self) -> u64 {
        let info: String = self.run(&["INFO", "stats"]);
        let line = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
        line.expect("a count").trim().parse().expect("a number")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A connection through any port, such as a proxy's.
pub(crate) async fn connect(port: u16) -> Broker {
    let endpoint: Endpoint = format!("redis://127.0.0.1:{port}").parse().expect("a URL");
    Broker::connect(&endpoint).await.expect("redis answers")
}

fn spawn(port: u16, dir: &std::path::Path) -> Child {
    let child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
        .args(["--appendonly", "yes", "--appendfsync", "always", "--dir"])
        .arg(dir)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed");
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "redis-server does not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}
