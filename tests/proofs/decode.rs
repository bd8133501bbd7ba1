//! Everything that reads bytes from Redis, on bytes that nobody wrote.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use cronmill::broker::TaskCursor;
use cronmill::schedule::{Entry, Revision, TickRecord, Timing, decide};
use cronmill::task::{
    Message, ProtoTimestamp, QueueName, QueueWeight, QueueWeights, SchedulerEnqueueEvent, SchedulerEntry,
    ServerInfo, WorkerInfo,
};
use fastrand::Rng;
use jiff::Timestamp;
use prost::Message as _;

use crate::mutate::{damage, golden, noise, random};
use crate::support::full_size;

/// What was read.
#[derive(PartialEq)]
enum Read {
    Refused,
    Accepted,
}

/// Reads protobuf; what is accepted means the same once it is written and read again.
fn proto<M: prost::Message + Default + PartialEq + Debug>(bytes: &[u8]) -> (Read, Option<M>) {
    let Ok(message) = M::decode(bytes) else { return (Read::Refused, None) };
    let again = M::decode(message.encode_to_vec().as_slice());
    assert_eq!(again.as_ref(), Ok(&message), "written and read again it is another");
    (Read::Accepted, Some(message))
}

fn task(bytes: &[u8]) -> Read {
    let (read, message) = proto::<Message>(bytes);
    if let Some(message) = message {
        let of_ours = Message::decode(bytes.to_vec()).expect("it was just read");
        assert_eq!(of_ours, message);
        let now = Timestamp::now();
        let _expiry = (message.expires_at(), message.expired(now), message.cancelled("why").encode());
        assert!(message.header_map().len() <= message.headers.len());
        for header in &message.headers {
            let _value = message.header(header.key.as_deref().unwrap_or_default());
        }
        let _delay = cronmill::task::default_retry_delay(message.retried, 29);
    }
    read
}

fn texts(bytes: &[u8]) -> Read {
    let text = String::from_utf8_lossy(bytes);
    let record = TickRecord::parse(&text);
    if let Ok(record) = &record {
        assert_eq!(TickRecord::parse(&record.encode()).as_ref(), Ok(record), "{text:?}");
    }
    let others = [
        text.parse::<Revision>().is_ok(),
        QueueName::new(text.clone()).is_ok(),
        text.parse::<QueueWeights>().is_ok(),
        text.parse::<TaskCursor>().is_ok(),
    ];
    if record.is_ok() || others.contains(&true) { Read::Accepted } else { Read::Refused }
}

fn entry(bytes: &[u8]) -> Read {
    let Ok(entry) = Entry::from_json(bytes) else { return Read::Refused };
    assert_eq!(Entry::from_json(entry.to_json().as_bytes()).expect("our own"), entry);
    let _hashes = (entry.timing_hash(), entry.content_hash(), entry.key());
    let (now, moments) = (Timestamp::now(), [Timestamp::UNIX_EPOCH, Timestamp::MIN, Timestamp::MAX]);
    if let Ok(timing) = Timing::parse(&entry.timing) {
        for next in moments.into_iter().chain(timing.next_after(now)) {
            let _times = (timing.due(next), timing.next_after(next));
            // Of a schedule that fires each second a decision looks at ten thousand ticks, which takes its time.
            if bytes.len().is_multiple_of(32) {
                let _decision = decide(&entry, &timing, next, now);
            }
        }
    }
    let _messages = moments.map(|nominal| entry.message(nominal).encode());
    Read::Accepted
}

/// A sort of bytes: its name, a good example, and who reads it.
type Sort = (&'static str, fn(&mut Rng) -> Vec<u8>, fn(&[u8]) -> Read);

const OTHERS: [Sort; 6] = [
    ("server", |_| server().encode_to_vec(), |bytes| proto::<ServerInfo>(bytes).0),
    ("running task", |_| running().encode_to_vec(), |bytes| proto::<WorkerInfo>(bytes).0),
    ("periodic entry", |_| periodic().encode_to_vec(), |bytes| proto::<SchedulerEntry>(bytes).0),
    ("enqueue event", |_| event().encode_to_vec(), |bytes| proto::<SchedulerEnqueueEvent>(bytes).0),
    ("schedule entry", |_| ENTRY.as_bytes().to_vec(), entry),
    ("text", |random| TEXTS[random.usize(..TEXTS.len())].as_bytes().to_vec(), texts),
];

const TEXTS: [&str; 6] = [
    "1|1764086400|1764086460|2|too-late|1764086460123|uid-1764086400|why%7C",
    "1|1764086400|1764086400|1|enqueued|1764086400123|uid-1764086400|",
    "1.22.abcdef",
    "critical=6,default=3,low=1",
    "1764086400:5f0c",
    "1764086400|stop",
];

const ENTRY: &str = r#"{"format":1,"uid":"u","namespace":"n","name":"a","cluster":"c","revision":"0.1.h","timing":{"schedules":["*/5 * * * *"],"time_zone":"Europe/Berlin","gap":"After","overlap":"First","anchor":"1970-01-01T00:00:00Z","hash_key":"n/a","jitter_s":30},"concurrency":"Forbid","suspend":false,"starting_deadline_s":60,"catch_up":"Latest","template":{"kind":"t","queue":"q","payload":{"text":"{}"},"headers":{"a":"b"},"max_retry":3,"timeout_s":60,"deadline_s":60,"retention_s":0}}"#;

fn at() -> Option<ProtoTimestamp> {
    Some(ProtoTimestamp { seconds: 1_764_086_400, nanos: 5 })
}

fn server() -> ServerInfo {
    let weight = |name: &str, weight| QueueWeight { queue: Some(name.into()), weight: Some(weight) };
    ServerInfo {
        host: "host".into(),
        pid: 7,
        server_id: "id".into(),
        concurrency: 20,
        queues: vec![weight("critical", 6), weight("low", 1)],
        strict_priority: true,
        status: "active".into(),
        started: at(),
        active_workers: 3,
    }
}

fn running() -> WorkerInfo {
    WorkerInfo {
        host: "host".into(),
        pid: 7,
        server_id: "id".into(),
        task_id: "t".into(),
        task_kind: "email:send".into(),
        task_payload: "{}".into(),
        queue: "default".into(),
        started: at(),
        deadline: at(),
    }
}

fn periodic() -> SchedulerEntry {
    SchedulerEntry {
        id: "id".into(),
        spec: "@every 1m".into(),
        task_kind: "t".into(),
        task_payload: "{}".into(),
        enqueue_options: vec!["Queue(\"default\")".into()],
        next: at(),
        previous: Some(ProtoTimestamp::NEVER),
    }
}

fn event() -> SchedulerEnqueueEvent {
    SchedulerEnqueueEvent { task_id: "t".into(), enqueued: at() }
}

/// Damages and reads so many times; how many were accepted.
fn read_many(
    name: &str,
    count: usize,
    random: &mut Rng,
    good: impl Fn(&mut Rng) -> Vec<u8>,
    read: fn(&[u8]) -> Read,
) {
    let whole = good(random);
    assert!(read(&whole) == Read::Accepted, "undamaged, {name} is refused");
    let (start, mut accepted) = (Instant::now(), 0);
    for _ in 0..count {
        let mut bytes = good(random);
        if random.u8(..20) == 0 {
            bytes = noise(random, 300)
        } else {
            damage(random, &mut bytes)
        }
        match catch_unwind(AssertUnwindSafe(|| read(&bytes))) {
            Ok(answer) => accepted += usize::from(answer == Read::Accepted),
            Err(_panic) => panic!("{name}: reading panicked: {bytes:?}"),
        }
    }
    println!("{count} damaged: {name}, {accepted} accepted, in {:.1} s", start.elapsed().as_secs_f64());
    assert!(
        accepted > 0 && accepted < count,
        "{name}: {accepted} of {count}: not damaged in any way that tells"
    );
}

#[test]
fn damaged_messages_are_read_or_refused_and_nothing_panics() {
    let mut random = random("damaged messages");
    read_many(
        "message",
        full_size(40_000, 1_000_000),
        &mut random,
        |random| golden(random, "1", "q").encode().into(),
        task,
    );
}

#[test]
fn damaged_records_are_read_or_refused_and_nothing_panics() {
    let mut random = random("damaged records");
    for (name, good, read) in OTHERS {
        read_many(name, full_size(3_000, 100_000), &mut random, good, read);
    }
}
