//! Damaged bytes: good ones with a few things wrong, which get further into a program than noise does.

use std::panic;
use std::sync::{Mutex, OnceLock};

use bytes::Bytes;
use cronmill::task::{Header, Message};
use fastrand::Rng;

/// Random numbers for a test. The seed is printed; `CRONMILL_FUZZ_SEED` gives the same again.
pub(crate) fn random(test: &str) -> Rng {
    let given = std::env::var("CRONMILL_FUZZ_SEED").ok().map(|text| text.parse().expect("a number"));
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("{test}: CRONMILL_FUZZ_SEED={seed}");
    Rng::with_seed(seed)
}

pub(crate) fn noise(random: &mut Rng, most: usize) -> Vec<u8> {
    (0..random.usize(..=most)).map(|_| random.u8(..)).collect()
}

/// Does one to four wrong things to bytes.
pub(crate) fn damage(random: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..random.usize(1..=4) {
        let at = random.usize(..=bytes.len());
        let end = (at + random.usize(..8)).min(bytes.len());
        match random.u8(..8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
            1 if at < bytes.len() => bytes[at] = random.u8(..),
            2 => drop(bytes.splice(at..at, noise(random, 8))),
            3 => drop(bytes.drain(at..end)),
            4 => bytes.truncate(at),
            5 => {
                let again = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, again));
            }
            6 => stretch(random, bytes),
            _ => {
                let other = golden(random, "another", "elsewhere").encode();
                let from = random.usize(..=other.len());
                drop(bytes.splice(at..end, other[from..].iter().copied()));
            }
        }
    }
}

/// Adds to a message a number that arithmetic does not expect: the largest, the smallest, a negative one.
pub(crate) fn stretch(random: &mut Rng, bytes: &mut Vec<u8>) {
    let field = [5, 6, 8, 9, 11, 12, 13][random.usize(..7)] << 3;
    let number = [u64::MAX, i64::MAX as u64, i64::MIN as u64, 1 << 31, 1 << 40][random.usize(..5)];
    bytes.push(field);
    prost::encoding::encode_varint(number, bytes);
}

/// A good message, any of what producers and workers write.
pub(crate) fn golden(random: &mut Rng, id: &str, queue: &str) -> Message {
    let now = jiff::Timestamp::now().as_second();
    let one = |random: &mut Rng, of: [&str; 4]| of[random.usize(..4)].to_owned();
    let number = |random: &mut Rng, of: [i64; 4]| of[random.usize(..4)];
    let header = |random: &mut Rng| Header {
        key: Some(one(random, ["a", "ü", cronmill::task::EXPIRES_HEADER, "http-url"])),
        value: Some(one(random, ["", "1", "日本", "99999999999999999999"])),
    };
    Message {
        kind: one(random, ["t", "email:send", "ü ö", "http"]),
        payload: Bytes::from(noise(random, 40)),
        id: id.to_owned(),
        queue: queue.to_owned(),
        max_retry: random.i32(0..3),
        retried: random.i32(0..3),
        error: one(random, ["", "", "it failed", "🦀"]),
        timeout_s: number(random, [0, 1, 1800, 86_400]),
        deadline_s: number(random, [0, 0, now + 3600, now - 3600]),
        unique_key: one(random, ["", "", "asynq:{fuzz}:unique:t:", "asynq:{other}:unique:t:"]),
        last_failed_s: number(random, [0, 0, now, 1]),
        retention_s: number(random, [0, 0, 60, 3600]),
        completed_s: number(random, [0, 0, 0, now]),
        group: one(random, ["", "", "", "g"]),
        headers: (0..random.usize(..3)).map(|_| header(random)).collect(),
    }
}

/// What a handler says that panics on purpose; of it nothing is printed.
pub(crate) const ON_PURPOSE: &str = "a handler of the test panics";

/// Where code of ours panicked since the first call, in any test of this program: those tests cause none.
pub(crate) fn panics() -> Vec<String> {
    static SEEN: OnceLock<Mutex<Vec<String>>> = OnceLock::new();
    let seen = SEEN.get_or_init(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            if !place.starts_with("tests/")
                && let Some(seen) = SEEN.get()
            {
                seen.lock().expect("nobody panics while holding it").push(place);
            }
            if panic.payload_as_str() != Some(ON_PURPOSE) {
                before(panic);
            }
        }));
        Mutex::default()
    });
    seen.lock().expect("nobody panics while holding it").clone()
}
