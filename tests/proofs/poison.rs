//! Every kind of key there is, and what may wrongly stand in it.

use fastrand::Rng;

use crate::mutate::noise;

/// The type a key ought to have, or that it might have instead.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Type {
    Text,
    List,
    Set,
    Zset,
    Hash,
}

pub(crate) const TYPES: [Type; 5] = [Type::Text, Type::List, Type::Set, Type::Zset, Type::Hash];

/// Every kind of key in `src/broker/keys.rs`, with its type. `<q>` is the queue, `<o>` the worker that serves it, `<d>`
/// the day, `<l>` the lock of the unique task `u`.
pub(crate) const KEYS: [(&str, Type); 48] = [
    ("asynq:queues", Type::Set),
    ("asynq:servers", Type::Zset),
    ("asynq:workers", Type::Zset),
    ("asynq:servers:{<o>}", Type::Text),
    ("asynq:workers:{<o>}", Type::Hash),
    ("cronmill:servers:{<o>}:types", Type::Text),
    ("asynq:schedulers", Type::Zset),
    ("asynq:schedulers:{cronmill}", Type::List),
    ("asynq:scheduler_history:h", Type::Zset),
    ("cronmill:schedulers:{cronmill}:turn", Type::Text),
    ("cronmill:schedulers:{cronmill}:draft", Type::List),
    ("cronmill:schedules", Type::Set),
    ("cronmill:replicas", Type::Zset),
    ("asynq:{<q>}:pending", Type::List),
    ("asynq:{<q>}:active", Type::List),
    ("asynq:{<q>}:lease", Type::Zset),
    ("asynq:{<q>}:scheduled", Type::Zset),
    ("asynq:{<q>}:retry", Type::Zset),
    ("asynq:{<q>}:archived", Type::Zset),
    ("asynq:{<q>}:completed", Type::Zset),
    ("asynq:{<q>}:groups", Type::Set),
    ("asynq:{<q>}:g:g", Type::Zset),
    ("asynq:{<q>}:aggregation_sets", Type::Zset),
    ("asynq:{<q>}:paused", Type::Text),
    ("asynq:{<q>}:processed", Type::Text),
    ("asynq:{<q>}:failed", Type::Text),
    ("asynq:{<q>}:processed:<d>", Type::Text),
    ("asynq:{<q>}:failed:<d>", Type::Text),
    ("asynq:{<q>}:t:p", Type::Hash),
    ("<l>", Type::Text),
    ("cronmill:{<q>}:receipt:<o>", Type::Text),
    ("cronmill:{<q>}:cordon:<o>", Type::Text),
    ("cronmill:{<q>}:waiters", Type::Zset),
    ("cronmill:{<q>}:keeper", Type::Text),
    ("cronmill:{<q>}:aggregator", Type::Text),
    ("cronmill:{<q>}:locks", Type::Zset),
    ("cronmill:{<q>}:expiring", Type::Zset),
    ("cronmill:{<q>}:claim", Type::Hash),
    ("cronmill:{<q>}:pause", Type::Hash),
    ("cronmill:{<q>}:dropped", Type::Hash),
    ("cronmill:{<q>}:holders", Type::Hash),
    ("cronmill:{<q>}:never", Type::Text),
    ("cronmill:{<q>}:grouping", Type::Hash),
    ("cronmill:{<q>}:fleet", Type::Text),
    ("cronmill:{<q>}:unserved", Type::Zset),
    ("cronmill:{<q>}:due", Type::Zset),
    ("cronmill:{<q>}:entry:e", Type::Hash),
    ("cronmill:{<q>}:ticks:e", Type::List),
];

/// Field names that mean something in one of the hashes.
const FIELDS: [&str; 26] = [
    "msg",
    "state",
    "pending_since",
    "group",
    "unique_key",
    "result",
    "cronmill_crashes",
    "cronmill_lock",
    "cronmill_cancel",
    "since",
    "until",
    "format",
    "age",
    "number",
    "rev",
    "next",
    "body",
    "living",
    "waiting",
    "epoch",
    "generation",
    "policy",
    "timing",
    "cluster",
    "uid",
    "object",
];

/// Puts noise of a type into a key, in the place of whatever stands there.
pub(crate) fn poison(random: &mut Rng, connection: &mut redis::Connection, key: &str, kind: Type) {
    let mut pipe = redis::pipe();
    pipe.del(key).ignore();
    for _ in 0..random.usize(1..30) {
        let mut value = noise(random, 20);
        value.push(0);
        // The scores that mean: at once, long ago, never, and what is no whole number.
        let score =
            [0.0, -1.0, 1.5, f64::NEG_INFINITY, f64::INFINITY, 1e18, 1_764_086_400.0][random.usize(..7)];
        match kind {
            Type::Text => pipe.set(key, value),
            Type::List => pipe.lpush(key, value),
            Type::Set => pipe.sadd(key, value),
            Type::Zset => pipe.zadd(key, value, score),
            Type::Hash => match random.bool() {
                true => pipe.hset(key, FIELDS[random.usize(..FIELDS.len())], value),
                false => pipe.hset(key, noise(random, 5), value),
            },
        };
        pipe.ignore();
    }
    pipe.query::<()>(connection).expect("written");
}
