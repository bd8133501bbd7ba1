//! A queue with many tasks in any state, and a judge that finds whatever is not where it belongs.

use std::time::Duration;

use bytes::Bytes;
use cronmill::broker::{
    Broker, ClaimRequest, Claimed, Enqueued, Finish, FinishOutcome, Finished, NewTask, Owner,
};
use cronmill::task::{Message, QueueName, State};
use jiff::SignedDuration;

use crate::support::RedisServer;

/// Finds ids in no container or in several, containers that hold ids without a task or in another state, and group
/// names without members.
const JUDGE: &str = r"
local prefix, held, wrong = ARGV[1], {}, {}
local function hold(ids, state)
  for _, id in ipairs(ids) do
    if held[id] then wrong[#wrong + 1] = id .. ' stands in ' .. held[id] .. ' and in ' .. state end
    held[id] = state
    local found = redis.call('HGET', prefix .. 't:' .. id, 'state')
    if found ~= state then wrong[#wrong + 1] = id .. ' is ' .. tostring(found) .. ' and stands in ' .. state end
  end
end
for _, state in ipairs({'pending', 'active'}) do hold(redis.call('LRANGE', prefix .. state, 0, -1), state) end
for _, state in ipairs({'scheduled', 'retry', 'archived', 'completed'}) do
  hold(redis.call('ZRANGE', prefix .. state, 0, -1), state)
end
for _, group in ipairs(redis.call('SMEMBERS', prefix .. 'groups')) do
  local ids = redis.call('ZRANGE', prefix .. 'g:' .. group, 0, -1)
  if #ids == 0 then wrong[#wrong + 1] = 'group ' .. group .. ' has no members' end
  hold(ids, 'aggregating')
end
for _, key in ipairs(redis.call('KEYS', prefix .. 't:*')) do
  if not held[string.sub(key, #prefix + 3)] then wrong[#wrong + 1] = key .. ' stands nowhere' end
end
return wrong
";

/// Moves all pending tasks into groups of ten, as asynq's AddToGroup would have put them there.
const REGROUP: &str = r"
local prefix, n = ARGV[1], 0
for _, id in ipairs(redis.call('LRANGE', prefix .. 'pending', 0, -1)) do
  local group = 'g' .. math.floor(n / 10)
  redis.call('ZADD', prefix .. 'g:' .. group, 1000 + n % 3, id)
  redis.call('SADD', prefix .. 'groups', group)
  redis.call('HSET', prefix .. 't:' .. id, 'state', 'aggregating', 'group', group)
  n = n + 1
end
redis.call('DEL', prefix .. 'pending')
return n
";

pub(crate) struct Yard {
    pub(crate) server: RedisServer,
    pub(crate) broker: Broker,
    pub(crate) queue: QueueName,
    owner: Owner,
    claims: std::sync::atomic::AtomicU64,
}

impl Yard {
    pub(crate) async fn new() -> Self {
        let server = RedisServer::start();
        let broker = Broker::connect(&server.endpoint()).await.expect("connect");
        let owner = Owner::new("host", 1, "run");
        Self { server, broker, queue: QueueName::new("q").expect("valid"), owner, claims: 1.into() }
    }

    pub(crate) fn cli(&self, args: &[&str]) -> String {
        self.server.cli(args)
    }

    pub(crate) fn message(&self, id: &str, kind: &str) -> Message {
        Message {
            kind: kind.into(),
            payload: Bytes::from_static(b"{}"),
            id: id.into(),
            queue: self.queue.to_string(),
            max_retry: 3,
            retention_s: 3600,
            ..Message::default()
        }
    }

    /// Puts so many tasks into a state; the n-th has the id `<prefix><n>` and the type that `kind` says.
    pub(crate) async fn fill(
        &self,
        state: State,
        count: usize,
        prefix: &str,
        kind: impl Fn(usize) -> String,
    ) {
        let later = self.broker.now() + SignedDuration::from_hours(1);
        let new = |n: usize| {
            // Several at each time.
            let due = (state == State::Scheduled).then(|| later + SignedDuration::from_secs(n as i64 / 7));
            NewTask::new(self.message(&format!("{prefix}{n:05}"), &kind(n)), due)
        };
        let tasks: Vec<NewTask> = (0..count).map(new).collect();
        for stored in self.broker.enqueue_batch(&tasks).await {
            assert_eq!(stored.expect("stored"), Enqueued::Stored);
        }
        match state {
            State::Pending | State::Scheduled => {}
            State::Aggregating => {
                self.cli(&["EVAL", REGROUP, "1", "asynq:{q}:pending", "asynq:{q}:"]);
            }
            _ => self.work_off(count, state).await,
        }
    }

    /// Claims so many tasks and ends them in a state; active ones stay active.
    async fn work_off(&self, count: usize, state: State) {
        let mut left = count;
        while left > 0 {
            let claimed = self.claim(left.min(64)).await;
            assert!(!claimed.is_empty(), "{left} more are pending");
            left -= claimed.len();
            let now = self.broker.now();
            let outcome = match state {
                State::Active => continue,
                State::Retry => {
                    let at = now + SignedDuration::from_mins(10);
                    FinishOutcome::Retry { at, counts_as_failure: true }
                }
                State::Archived => FinishOutcome::Archive,
                _ => FinishOutcome::Complete,
            };
            let finish = |message: Message| Finish {
                message: message.into(),
                outcome: outcome.clone(),
                leased_until: now,
            };
            let finishes: Vec<_> = claimed.into_iter().map(finish).collect();
            let verdicts = self.broker.finish(&self.queue, &self.owner, &finishes).await.expect("finish");
            assert!(verdicts.iter().all(|verdict| *verdict == Finished::Stored), "{verdicts:?}");
            if state == State::Completed {
                // Their time of deletion is later than now.
                for finish in &finishes {
                    self.cli(&["ZADD", "asynq:{q}:completed", "9999999999", &finish.message.id]);
                }
            }
        }
    }

    /// Claims tasks as a worker would.
    pub(crate) async fn claim(&self, max: usize) -> Vec<Message> {
        let sequence = self.claims.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let lease = Duration::from_secs(300);
        let request = ClaimRequest { queue: &self.queue, owner: &self.owner, sequence, max, lease };
        match self.broker.claim(&request).await.expect("claim") {
            Claimed::Tasks(tasks) => tasks.into_iter().map(|task| task.body.expect("our own")).collect(),
            _ => Vec::new(),
        }
    }

    /// Ends an attempt well; whether it was still ours to end.
    pub(crate) async fn done(&self, message: Message) -> bool {
        let finish = [Finish {
            message: message.into(),
            outcome: FinishOutcome::Done,
            leased_until: self.broker.now(),
        }];
        let verdicts = self.broker.finish(&self.queue, &self.owner, &finish).await.expect("finish");
        verdicts[0] == Finished::Stored
    }

    /// Makes a task unique, and returns its lock.
    pub(crate) fn lock(&self, id: &str) -> String {
        let lock = format!("asynq:{{q}}:unique:t:{id}");
        self.cli(&["SET", &lock, id, "EX", "3600"]);
        self.cli(&["HSET", &format!("asynq:{{q}}:t:{id}"), "unique_key", &lock]);
        lock
    }

    /// Fails unless every task stands in one container, that of its state, and every id has its task.
    pub(crate) fn assert_sound(&self) {
        assert_eq!(self.cli(&["EVAL", JUDGE, "1", "asynq:{q}:pending", "asynq:{q}:"]), "");
    }

    pub(crate) async fn count(&self, state: State) -> u64 {
        self.broker.queue_summary(&self.queue).await.expect("summary").count(state)
    }

    /// Ids of the pending list, the oldest first.
    pub(crate) fn pending(&self) -> Vec<String> {
        let mut ids = self.server.cli_lines(["LRANGE", "asynq:{q}:pending", "0", "-1"]);
        ids.reverse();
        ids
    }
}
