//! What stands in a test's Redis, read past the broker.

use std::ops::{Deref, DerefMut};

use cronmill::broker::{Broker, Endpoint};
use cronmill::task::{Message, QueueName};

use crate::support;

/// A Redis that has every change on disk before it answers, so that a restart loses nothing.
pub(crate) struct RedisServer(support::RedisServer);

impl RedisServer {
    pub(crate) fn start() -> Self {
        Self(support::RedisServer::options().durable().start())
    }

    pub(crate) async fn broker(&self) -> Broker {
        connect(&self.url()).await
    }

    pub(crate) fn run<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let bytes: Vec<&[u8]> = command.iter().map(|part| part.as_bytes()).collect();
        self.run_bytes(&bytes)
    }

    pub(crate) fn run_bytes<T: redis::FromRedisValue>(&self, command: &[&[u8]]) -> T {
        let client = redis::Client::open(self.url()).expect("an address");
        let mut connection = client.get_connection().expect("redis answers");
        let mut cmd = redis::Cmd::new();
        for part in command {
            cmd.arg(*part);
        }
        cmd.query(&mut connection).expect("command")
    }

    /// Puts a task into a queue as another program could, right or wrong.
    pub(crate) fn push_raw(&self, queue: &QueueName, id: &str, raw: &[u8]) {
        let task = format!("asynq:{{{queue}}}:t:{id}");
        let _: () = self.run_bytes(&[b"HSET", task.as_bytes(), b"msg", raw, b"state", b"pending"]);
        let _: () = self.run(&["LPUSH", &format!("asynq:{{{queue}}}:pending"), id]);
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

    /// The owners that wait blocked for work in the queue.
    pub(crate) fn waiters(&self, queue: &QueueName) -> Vec<String> {
        self.run(&["ZRANGE", &format!("cronmill:{{{queue}}}:waiters"), "0", "-1"])
    }

    /// That no task of the queue is left anywhere, nor anything that belonged to one.
    pub(crate) fn assert_no_task_left(&self, queue: &QueueName) {
        let is_counter = |key: &String| key.contains(":processed") || key.contains(":failed");
        let left: Vec<_> =
            self.keys(&format!("asynq:{{{queue}}}:*")).into_iter().filter(|key| !is_counter(key)).collect();
        assert_eq!(left, Vec::<String>::new());
    }

    /// Commands it has run so far, those inside scripts included.
    pub(crate) fn commands(&self) -> u64 {
        self.info("total_commands_processed")
    }
}

impl Deref for RedisServer {
    type Target = support::RedisServer;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for RedisServer {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// A connection to any URL, such as a proxy's.
pub(crate) async fn connect(url: &str) -> Broker {
    let endpoint: Endpoint = url.parse().expect("a URL");
    Broker::connect(&endpoint).await.expect("redis answers")
}
