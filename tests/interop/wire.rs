//! What our client leaves in Redis is byte for byte what Go's client leaves.

use std::time::Duration;

use bytes::Bytes;
use cronmill::broker::{Broker, Endpoint};
use cronmill::producer::{Client, Task};
use cronmill::task::Message;
use fastrand::Rng;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::{Peers, RedisServer, full_size};

/// Everything of asynq's in a database, one line each, sorted; only moments of enqueueing are left out.
const DUMP: &str = r"
local function hex(text)
  return (string.gsub(text, '.', function(byte) return string.format('%02x', string.byte(byte)) end))
end
local read = {
  string = function(key) return {redis.call('GET', key)} end,
  list = function(key) return redis.call('LRANGE', key, 0, -1) end,
  set = function(key) local all = redis.call('SMEMBERS', key) table.sort(all) return all end,
  zset = function(key) return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end,
  hash = function(key)
    local all = redis.call('HGETALL', key)
    local fields = {}
    for i = 1, #all, 2 do
      local value = all[i] == 'pending_since' and #all[i + 1] .. ' digits' or all[i + 1]
      fields[#fields + 1] = all[i] .. '=' .. value
    end
    table.sort(fields)
    return fields
  end,
}
local lines = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind = redis.call('TYPE', key).ok
  local line = {hex(key), kind}
  for _, value in ipairs(read[kind](key)) do line[#line + 1] = hex(value) end
  lines[#lines + 1] = table.concat(line, ' ')
end
table.sort(lines)
return lines
";

fn dump(redis: &RedisServer, database: &str) -> Vec<String> {
    redis.cli_lines(["-n", database, "EVAL", DUMP, "0"])
}

/// A task in the words of both clients.
#[derive(Debug, Clone)]
struct Wanted {
    kind: String,
    payload: Option<Vec<u8>>,
    id: String,
    queue: String,
    max_retry: Option<u32>,
    timeout_s: Option<u64>,
    deadline_s: Option<i64>,
    retention_s: Option<u64>,
    at_s: Option<i64>,
    header: Option<(String, String)>,
}

impl Wanted {
    fn random(random: &mut Rng, number: usize) -> Self {
        let words = ["a", "email:send", "ü ö", "日本", "🦀", "}{", "a\nb", "\"q\"", "'"];
        let word = |random: &mut Rng| words[random.usize(..words.len())].to_owned();
        let now = Timestamp::now().as_second();
        Self {
            kind: word(random),
            payload: random.bool().then(|| (0..random.usize(..40)).map(|_| random.u8(..)).collect()),
            id: format!("{}-{number}", word(random)),
            queue: ["default", "low", "a b", "q:ü"][random.usize(..4)].to_owned(),
            max_retry: random.bool().then(|| random.u32(..200)),
            timeout_s: random.bool().then(|| random.u64(1..100_000)),
            deadline_s: random.bool().then(|| now + random.i64(-1000..1_000_000)),
            retention_s: random.bool().then(|| random.u64(1..1_000_000)),
            at_s: random.bool().then(|| now + random.i64(1000..1_000_000)),
            header: random
                .bool()
                .then(|| (word(random), if random.bool() { word(random) } else { String::new() })),
        }
    }

    fn for_go(&self) -> Value {
        let hex = |bytes: &Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let seconds = |span: Option<u64>| span.map(|span| format!("{span}s")).unwrap_or_default();
        json!({
            "type": self.kind, "payload_hex": self.payload.as_ref().map(hex), "id": self.id, "queue": self.queue,
            "max_retry": self.max_retry, "timeout": seconds(self.timeout_s),
            "retention": seconds(self.retention_s), "deadline_s": self.deadline_s.unwrap_or(0),
            "at_s": self.at_s.unwrap_or(0),
            "headers": self.header.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        })
    }

    fn for_us(&self) -> Task {
        let time = |second: i64| Timestamp::from_second(second).expect("in range");
        let mut task = Task::new(self.kind.as_str(), self.payload.clone().map(Bytes::from));
        task = task.id(self.id.as_str()).queue(self.queue.as_str()).headers(self.header.clone());
        if let Some(retries) = self.max_retry {
            task = task.max_retry(retries);
        }
        if let Some(span) = self.timeout_s {
            task = task.timeout(Duration::from_secs(span));
        }
        if let Some(second) = self.deadline_s {
            task = task.deadline(time(second));
        }
        if let Some(span) = self.retention_s {
            task = task.retention(Duration::from_secs(span));
        }
        if let Some(second) = self.at_s {
            task = task.at(time(second));
        }
        task
    }
}

/// Clients of both sides, each on a database of its own.
async fn two_clients() -> (RedisServer, Peers, Client) {
    let redis = RedisServer::start();
    let peers = Peers::on(&redis.url());
    let second: Endpoint = redis.url().replace("/0", "/1").parse().expect("a valid URL");
    let client = Client::new(Broker::connect(&second).await.expect("a Redis of our own"));
    (redis, peers, client)
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(byte).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_leaves_in_redis_exactly_what_gos_client_leaves() {
    let seed = fastrand::u64(..);
    let mut random = Rng::with_seed(seed);
    let wanted: Vec<Wanted> = (0..full_size(300, 20_000)).map(|n| Wanted::random(&mut random, n)).collect();
    let (redis, peers, client) = two_clients().await;

    let by_go = peers.encode(&wanted.iter().map(Wanted::for_go).collect::<Vec<_>>());
    for task in &wanted {
        client.enqueue(task.for_us()).await.expect("a new task");
    }
    assert_eq!(by_go.len(), wanted.len());
    for (task, stored) in wanted.iter().zip(&by_go) {
        let bytes =
            unhex(stored["hash"]["msg"].as_str().unwrap_or_else(|| panic!("Go refused {task:?}: {stored}")));
        let message = Message::decode(bytes.clone()).expect("Go's message");
        assert_eq!(message.encode(), bytes, "encoding what Go encoded; seed {seed}: {task:?}");
    }
    let (theirs, ours) = (dump(&redis, "0"), dump(&redis, "1"));
    let differing = theirs.iter().zip(&ours).find(|(theirs, ours)| theirs != ours);
    assert_eq!(differing, None, "first difference, Go's and ours; seed {seed}");
    assert_eq!(theirs.len(), ours.len(), "seed {seed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_headers_are_the_same_map_on_both_sides() {
    let (redis, peers, client) = two_clients().await;
    let headers = json!({"a": "1", "b": "", "": "nameless", "ü": "日本"});
    let stored = peers.encode(&[json!({"type": "t", "id": "go", "headers": headers})]);
    let bytes = unhex(stored[0]["hash"]["msg"].as_str().expect("a message"));
    let message = Message::decode(bytes.clone()).expect("Go's message");
    assert_eq!(json!(message.header_map()), headers);
    // Go writes a map in any order, so only the length can be compared.
    assert_eq!(message.encode().len(), bytes.len());

    client.enqueue(Task::new("t", None).id("ours").headers(message.header_map())).await.expect("a new task");
    let second = Peers::on(&redis.url().replace("/0", "/1"));
    assert_eq!(second.inspect(&["task", "default", "ours"])["headers"], headers);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_either_has_taken_is_a_conflict_for_the_other() {
    let (redis, peers, _) = two_clients().await;
    let client = Client::new(Broker::connect(&redis.endpoint()).await.expect("a Redis of our own"));
    peers.produce(&["--id", "go"]);
    client.enqueue(Task::new("t", None).id("ours")).await.expect("a new task");
    assert_eq!(peers.produce(&["--id", "ours"])[0]["error"], "conflict");
    let refused = client.enqueue(Task::new("t", None).id("go")).await.expect_err("Go has it");
    assert_eq!(refused.reason(), "Conflict", "{refused}");
}
