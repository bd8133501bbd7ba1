//! Damaged tasks through Redis: a worker claims, runs, archives and keeps what nobody meant to be a task.

use std::time::{Duration, Instant};

use cronmill::broker::Broker;
use cronmill::task::{Message, QueueName};
use cronmill::worker::{Context, HandlerError, Server, Task};
use fastrand::Rng;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::fleet::now_and_then;
use crate::mutate::{ON_PURPOSE, damage, golden, noise, panics, random, stretch};
use crate::support::{RedisServer, full_size};

const QUEUE: &str = "fuzz";
/// How long a batch may take: what is wedged would not end at all.
const LIMIT: Duration = Duration::from_secs(120);
/// The id of a task that is as it should be.
const GOOD: &str = "a good one";

/// Puts every task that is in no container, in several or in that of another state on a list; so also those in
/// `pending`, `active` and `lease`, since all of them are to have ended. Counts where the others are.
const JUDGE: &str = r"
local prefix, held, wrong = ARGV[1], {}, {}
local counts = {}
for _, state in ipairs({'scheduled', 'retry', 'archived', 'completed'}) do
  local ids = redis.call('ZRANGE', prefix .. state, 0, -1)
  counts[#counts + 1] = state .. ' ' .. #ids
  for _, id in ipairs(ids) do
    local found = redis.call('HGET', prefix .. 't:' .. id, 'state')
    if found ~= state then wrong[#wrong + 1] = id .. ' is ' .. tostring(found) .. ' and stands in ' .. state end
    if held[id] then wrong[#wrong + 1] = id .. ' stands in ' .. held[id] .. ' and in ' .. state end
    held[id] = state
  end
end
for _, key in ipairs(redis.call('KEYS', prefix .. 't:*')) do
  if not held[string.sub(key, #prefix + 3)] then
    wrong[#wrong + 1] = key .. ' is ' .. tostring(redis.call('HGET', key, 'state')) .. ' and stands nowhere'
  end
end
table.insert(wrong, 1, table.concat(counts, ', '))
return wrong";

/// Deletes what the last batch left, so that each is judged by itself.
const WIPE: &str = r"
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
  if string.find(key, ':t:', 1, true) then redis.call('UNLINK', key) end
end
return redis.call('DEL', ARGV[1] .. 'scheduled', ARGV[1] .. 'retry', ARGV[1] .. 'archived', ARGV[1] .. 'completed')";

/// What a handler does with a task depends on the task alone.
async fn handle(context: Context, task: Task) -> Result<(), HandlerError> {
    match task.payload().first().map_or(0, |byte| byte % 8) {
        0 => Err(HandlerError::msg("it failed")),
        1 => Err(HandlerError::skip_retry(HandlerError::msg("it failed for good"))),
        2 => Err(HandlerError::snooze(Duration::from_secs(600))),
        3 => context.result_writer().write(task.payload().to_vec()).await.map_err(HandlerError::from),
        4 => std::panic::panic_any(ON_PURPOSE),
        _ => Ok(()),
    }
}

/// A worker that also keeps its queue, in this process.
struct Worker {
    token: CancellationToken,
    running: tokio::task::JoinHandle<Result<(), cronmill::worker::WorkerError>>,
    good: mpsc::UnboundedReceiver<()>,
}

impl Worker {
    fn start(broker: &Broker) -> Self {
        let (sender, good) = mpsc::unbounded_channel();
        let queue = QueueName::new(QUEUE).expect("valid");
        let server = Server::builder(broker.clone()).queue(queue, 1).concurrency(20);
        let server = server.lease(Duration::from_secs(2)).build().expect("a worker");
        let token = CancellationToken::new();
        let handler = move |context: Context, task: Task| {
            if context.id() == GOOD {
                sender.send(()).expect("the test waits for it");
            }
            handle(context, task)
        };
        let running = tokio::spawn(server.run(handler, token.clone()));
        Self { token, running, good }
    }

    /// A task that is as it should be runs.
    async fn serves(&mut self, broker: &Broker) {
        let message =
            Message { kind: "t".into(), id: GOOD.into(), queue: QUEUE.into(), ..Message::default() };
        broker.enqueue(&message, None).await.expect("stored");
        tokio::time::timeout(LIMIT, self.good.recv())
            .await
            .expect("a good task runs")
            .expect("the worker runs");
    }

    async fn stop(self) {
        self.token.cancel();
        self.running.await.expect("no panic").expect("no part of it failed");
    }
}

/// Writes damaged tasks past all that would check them.
struct Vandal {
    connection: redis::Connection,
    random: Rng,
    written: usize,
}

impl Vandal {
    fn write(&mut self, count: usize) {
        let prefix = format!("asynq:{{{QUEUE}}}:");
        let mut pipe = redis::pipe();
        for _ in 0..count {
            self.written += 1;
            let (random, number) = (&mut self.random, self.written);
            let mut id = number.to_string().into_bytes();
            if random.u8(..50) == 0 {
                // Never the number of another.
                id.push(b'/');
                id.extend(noise(random, 6));
            }
            let mut message = golden(random, &String::from_utf8_lossy(&id), QUEUE).encode().to_vec();
            match random.u8(..20) {
                0 => message = noise(random, 200),
                1 => {}
                2..7 => stretch(random, &mut message),
                _ => damage(random, &mut message),
            }
            let key = [prefix.as_bytes(), b"t:", &id].concat();
            let task = pipe.cmd("HSET").arg(&key).arg("msg").arg(message);
            task.arg("state").arg(if random.u8(..50) == 0 { noise(random, 9) } else { b"pending".to_vec() });
            if random.u8(..10) == 0 {
                for field in FIELDS {
                    if random.u8(..4) == 0 {
                        task.arg(field).arg(noise(random, 20));
                    }
                }
            }
            task.ignore();
            // Most wait to be claimed; some look like those of a dead worker, by a clock that is not ours either.
            if random.u8(..50) == 0 {
                let long_ago = [0.0, 1.5, -1.0, f64::NEG_INFINITY, 1e9, 1_764_086_400.25][random.usize(..6)];
                pipe.lpush([prefix.as_bytes(), b"active"].concat(), &id).ignore();
                pipe.zadd([prefix.as_bytes(), b"lease"].concat(), &id, long_ago).ignore();
                pipe.hset(&key, "state", "active").ignore();
                if random.bool() {
                    pipe.hset(format!("cronmill:{{{QUEUE}}}:holders"), &id, noise(random, 30)).ignore();
                }
            } else {
                pipe.lpush([prefix.as_bytes(), b"pending"].concat(), &id).ignore();
            }
        }
        pipe.query::<()>(&mut self.connection).expect("written");
    }
}

/// Fields of a task that hold something other than its message.
const FIELDS: [&str; 13] = [
    "pending_since",
    "result",
    "unique_key",
    "group",
    "cronmill_crashes",
    "cronmill_lock",
    "cronmill_revoked",
    "cronmill_cancel",
    "cronmill_errors",
    "cronmill_error:0",
    "cronmill_snoozes",
    "cronmill_snoozed",
    "another",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_tasks_end_somewhere_and_a_good_one_still_runs() {
    let (batches, size) = full_size((4, 1_500), (100, 10_000));
    assert_eq!(panics(), Vec::<String>::new());
    let redis = RedisServer::start();
    let broker = Broker::connect(&redis.endpoint()).await.expect("a Redis of our own");
    let connection = redis::Client::open(redis.url()).expect("a URL").get_connection().expect("it runs");
    let mut vandal = Vandal { connection, random: random("damaged tasks"), written: 0 };
    let mut worker = Worker::start(&broker);
    let prefix = format!("asynq:{{{QUEUE}}}:");
    let start = Instant::now();
    for batch in 1..=batches {
        vandal.write(size);
        let left = || ["pending", "active", "lease"].map(|name| crate::fleet::length(&redis, QUEUE, name));
        let wait =
            tokio::time::timeout(LIMIT, now_and_then(LIMIT * 2, "all have ended", || left() == [0; 3]));
        if wait.await.is_err() {
            let ids = redis.cli_bytes(["ZRANGE", &format!("{prefix}lease"), "0", "10", "WITHSCORES"]);
            panic!("wedged: pending, active, lease {:?}; {}", left(), String::from_utf8_lossy(&ids));
        }
        let pending = format!("{prefix}pending");
        let judged = redis.cli_bytes(["EVAL", JUDGE, "1", &pending, &prefix]);
        let judged = String::from_utf8_lossy(&judged).into_owned();
        let (counts, wrong) = judged.split_once('\n').unwrap_or((&judged, ""));
        if batch == 1 || batch % 10 == 0 || batch == batches {
            println!(
                "batch {batch} of {size}: {counts}; the rest is done; {:.0} s",
                start.elapsed().as_secs_f64()
            );
        }
        for id in wrong.lines().filter_map(|line| line.split(' ').next()).take(3) {
            println!("{id}: {}", redis.cli(["--no-raw", "HGETALL", &format!("{prefix}t:{id}")]));
        }
        assert_eq!(wrong, "");
        worker.serves(&broker).await;
        redis.cli(["EVAL", WIPE, "1", &pending, &prefix]);
    }
    worker.stop().await;
    let ours: Vec<_> = panics().into_iter().filter(|place| place.starts_with("src/")).collect();
    assert_eq!(ours, Vec::<String>::new(), "code of ours panicked");
    println!("{} damaged tasks in {:.0} s", vandal.written, start.elapsed().as_secs_f64());
}
