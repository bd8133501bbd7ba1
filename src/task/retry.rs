//! How long a failed task waits before its next attempt.

use std::time::Duration;

/// asynq's default delay, Sidekiq's formula: `n⁴ + 15 + r·(n+1)` seconds with `r` from 0 to 29, where `n` is
/// the number of retries already used. The first wait is 15 to 44 s; all 25 together take about 20 days.
///
/// `random` is any number; only its remainder by 30 counts.
#[must_use]
pub fn default_retry_delay(retried: i32, random: u32) -> Duration {
    let n = u64::try_from(retried.max(0)).unwrap_or(0).min(1_000);
    let seconds = n.pow(4) + 15 + u64::from(random % 30) * (n + 1);
    Duration::from_secs(seconds)
}
