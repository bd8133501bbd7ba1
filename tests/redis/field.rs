//! A private Redis with a client and a worker's calls on it, for tests of locks and groups.

use std::time::Duration;

use bytes::Bytes;
use cronmill::broker::{
    Broker, ClaimRequest, Claimed, ClaimedTask, Finish, FinishOutcome, Finished, GroupLimits, Owner,
    SetFinish, SetFinished, TakenSet,
};
use cronmill::producer::{Client, EnqueueError, Receipt, Task};
use cronmill::task::{Message, QueueName};

use crate::support::RedisServer;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// A group is ripe a minute after its last task.
pub(crate) const LIMITS: GroupLimits = GroupLimits { grace: MINUTE, max_delay: None, max_size: 200 };

pub(crate) struct Field {
    pub(crate) server: RedisServer,
    pub(crate) broker: Broker,
    pub(crate) client: Client,
    pub(crate) queue: QueueName,
    pub(crate) owner: Owner,
}

/// A task of type `t` in the queue `q`.
pub(crate) fn task(id: &str) -> Task {
    Task::new("t", Bytes::from_static(b"{}")).queue("q").id(id)
}

impl Field {
    pub(crate) async fn new() -> Self {
        let server = RedisServer::start();
        let broker = Broker::connect(&server.endpoint()).await.expect("a Redis of our own");
        let client = Client::new(broker.clone());
        let queue = QueueName::new("q").expect("valid");
        Self { server, broker, client, queue, owner: Owner::new("host", 1, "x") }
    }

    pub(crate) fn cli(&self, args: &[&str]) -> String {
        self.server.cli(args)
    }

    pub(crate) async fn enqueue(&self, task: Task) -> Result<Receipt, EnqueueError> {
        self.client.enqueue(task).await
    }

    pub(crate) async fn put(&self, task: Task) -> Receipt {
        self.enqueue(task).await.expect("a new task on our own Redis")
    }

    /// Who holds the lock; empty for nobody.
    pub(crate) fn holder(&self, key: &str) -> String {
        self.cli(&["GET", key])
    }

    /// The only lock there is, with who holds it.
    pub(crate) fn lock(&self) -> (String, String) {
        let locks = self.server.keys("asynq:{q}:unique:*");
        assert_eq!(locks.len(), 1, "{locks:?}");
        (locks[0].clone(), self.holder(&locks[0]))
    }

    /// Fails unless no lock is held, and none is to be kept.
    pub(crate) fn assert_no_lock(&self) {
        assert_eq!(self.server.keys("asynq:{q}:unique:*"), Vec::<String>::new());
        assert_eq!(self.cli(&["ZCARD", "cronmill:{q}:locks"]), "0");
    }

    pub(crate) async fn claim(&self, sequence: u64) -> Vec<ClaimedTask> {
        let request =
            ClaimRequest { queue: &self.queue, owner: &self.owner, sequence, max: 64, lease: MINUTE };
        match self.broker.claim(&request).await.expect("Redis answers") {
            Claimed::Tasks(tasks) => tasks,
            other => panic!("{other:?}"),
        }
    }

    /// Claims the one task there is and ends it so.
    pub(crate) async fn end(&self, sequence: u64, outcome: FinishOutcome) {
        let mut tasks = self.claim(sequence).await;
        assert_eq!(tasks.len(), 1);
        let task = tasks.remove(0);
        let message = task.body.expect("it can be read").into();
        let finishes = [Finish { message, outcome, leased_until: task.leased_until }];
        let ended = self.broker.finish(&self.queue, &self.owner, &finishes).await.expect("Redis answers");
        assert_eq!(ended, [Finished::Stored]);
    }

    /// Makes every lock due to be looked at, and looks.
    pub(crate) async fn renew_locks(&self) -> usize {
        for id in self.cli(&["ZRANGE", "cronmill:{q}:locks", "0", "-1"]).lines() {
            self.cli(&["ZADD", "cronmill:{q}:locks", "1", id]);
        }
        self.broker.renew_locks(&self.queue).await.expect("Redis answers").kept
    }

    pub(crate) fn state(&self, id: &str) -> String {
        self.cli(&["HGET", &format!("asynq:{{q}}:t:{id}"), "state"])
    }

    /// Makes all that joined a group have joined it an hour ago.
    pub(crate) fn age(&self, group: &str) {
        let key = format!("asynq:{{q}}:g:{group}");
        for id in self.cli(&["ZRANGE", &key, "0", "-1"]).lines() {
            self.cli(&["ZINCRBY", &key, "-4000", id]);
        }
    }

    /// Takes what is ripe of all groups.
    pub(crate) async fn take(&self, limits: &GroupLimits) -> Vec<TakenSet> {
        let (mut sets, mut cursor) = (Vec::new(), None);
        loop {
            let looked = self.broker.take_sets(&self.queue, cursor.as_deref(), limits, 100, MINUTE).await;
            let looked = looked.expect("Redis answers");
            let is_over = looked.cursor.is_none() && looked.sets.is_empty();
            cursor = looked.cursor;
            let read = self.broker.read_sets(&self.queue, looked.sets).await.expect("Redis answers");
            sets.extend(read);
            if is_over {
                return sets;
            }
        }
    }

    /// The key of a set as text, which it is when its group's name is.
    pub(crate) fn key(set: &TakenSet) -> &str {
        str::from_utf8(&set.key).expect("text")
    }

    /// Puts a task in the place of a set.
    pub(crate) async fn finish_set(&self, set: &TakenSet, task: NewTask) -> SetFinished {
        let finish = SetFinish::new(set.key.clone(), &set.tasks, task);
        let verdicts = self.broker.finish_sets(&self.queue, &[finish]).await.expect("Redis answers");
        verdicts.into_iter().next().expect("one verdict")
    }

    /// What an aggregator might make.
    pub(crate) fn made(&self, id: &str) -> NewTask {
        let message = Message {
            kind: "made".into(),
            id: id.into(),
            queue: self.queue.to_string(),
            max_retry: 3,
            ..Message::default()
        };
        NewTask::new(message, None)
    }

    pub(crate) async fn reclaim(&self) -> usize {
        let mut all = 0;
        loop {
            let (moved, more) = self.broker.reclaim_sets(&self.queue).await.expect("Redis answers");
            all += moved;
            if !more {
                return all;
            }
        }
    }
}

pub(crate) use cronmill::broker::NewTask;
