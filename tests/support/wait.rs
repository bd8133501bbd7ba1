//! Waiting for a condition, with a deadline: what tests do instead of sleeping.

use std::time::{Duration, Instant};

/// Wait between two looks.
const BETWEEN: Duration = Duration::from_millis(5);

/// Waits until the condition holds. Panics when it does not within `limit`, naming `what` was awaited.
pub async fn until(limit: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    eventually(limit, what, async || condition().await.then_some(())).await;
}

/// [`until`] for a condition that costs much to look at: it is looked at that seldom.
pub async fn until_seldom(
    between: Duration,
    limit: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> bool,
) {
    looked_for(between, limit, what, async || condition().await.then_some(())).await;
}

/// Waits until there is an answer and returns it. Panics when there is none within `limit`, naming `what`.
pub async fn eventually<T>(limit: Duration, what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    looked_for(BETWEEN, limit, what, look).await
}

async fn looked_for<T>(
    between: Duration,
    limit: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + limit;
    let mut looks = tokio::time::interval(between);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if let Some(answer) = look().await {
            return answer;
        }
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
    }
}

/// [`until`] for tests without a runtime; blocks the thread.
pub fn until_blocking(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        std::thread::park_timeout(BETWEEN);
    }
}
