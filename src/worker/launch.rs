//! Starting attempts. A task of the runtime and its wake-up are dear beside a handler that has nothing to wait for,
//! so the attempts of one claim are looked at once, one after the other, by a single task: what ends at that look is
//! over, and what waits gets a task of its own.
//!
//! A handler that keeps its thread busy would hold up the others of its claim. So a look that took long, like one
//! in vain, makes this worker give every attempt its own task for a while, the longer the more often it happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// A look that takes longer holds up others.
const LOOK_MAX: Duration = Duration::from_micros(200);
/// Attempts that get a task of their own after a look in vain; doubled with each further one.
const REST_MIN: u32 = 64;
const REST_MAX: u32 = 16 * 1024;

/// Starts attempts.
#[derive(Clone)]
pub(super) struct Launcher {
    attempts: TaskTracker,
    patience: Arc<Patience>,
    look_max: Duration,
}

/// When looking at attempts at once is worth trying again.
#[derive(Default)]
struct Patience {
    /// Attempts until then.
    left: AtomicU32,
    /// How many it was the last time.
    rest: AtomicU32,
}

impl Launcher {
    pub(super) fn new(attempts: TaskTracker) -> Self {
        Self { attempts, patience: Arc::default(), look_max: LOOK_MAX }
    }

    /// Starts what one claim brought.
    pub(super) fn launch<F>(&self, claimed: Vec<F>)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if claimed.len() > 1 && self.patience.is_over(claimed.len()) {
            let launcher = self.clone();
            self.attempts.spawn(async move { launcher.look(claimed).await });
        } else {
            self.spawn(claimed);
        }
    }

    fn spawn<F>(&self, attempts: impl IntoIterator<Item = F>)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        for attempt in attempts {
            self.attempts.spawn(attempt);
        }
    }

    async fn look<F>(&self, claimed: Vec<F>)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut claimed = claimed.into_iter();
        while let Some(attempt) = claimed.next() {
            let mut attempt = Box::pin(attempt);
            let begun = Instant::now();
            let is_over = futures::poll!(attempt.as_mut()).is_ready();
            if !is_over {
                self.attempts.spawn(attempt);
            }
            if !is_over || begun.elapsed() > self.look_max {
                self.patience.lost();
                return self.spawn(claimed);
            }
        }
        self.patience.rest.store(0, Ordering::Relaxed);
    }
}

impl Patience {
    fn is_over(&self, attempts: usize) -> bool {
        let attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
        let count = |left: u32| Some(left.saturating_sub(attempts));
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).is_ok_and(|left| left == 0)
    }

    fn lost(&self) {
        let rest = (self.rest.load(Ordering::Relaxed) * 2).clamp(REST_MIN, REST_MAX);
        self.rest.store(rest, Ordering::Relaxed);
        self.left.store(rest, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Mutex;

    use futures::future::{BoxFuture, FutureExt};
    use tokio::sync::Semaphore;
    use tokio::task::Id;

    use super::*;

    const SLOW: Duration = Duration::from_millis(200);

    /// Launches attempts and notes in which tasks of the runtime they ran.
    struct Bench {
        launcher: Launcher,
        attempts: TaskTracker,
        seen: Arc<Mutex<HashSet<Id>>>,
        gate: Arc<Semaphore>,
    }

    impl Bench {
        fn new() -> Self {
            let attempts = TaskTracker::new();
            attempts.close();
            // A busy machine must not make a quick look a slow one.
            let launcher = Launcher { look_max: SLOW, ..Launcher::new(attempts.clone()) };
            Self { launcher, attempts, seen: Arc::default(), gate: Arc::new(Semaphore::new(0)) }
        }

        fn quick(&self) -> BoxFuture<'static, ()> {
            let seen = Arc::clone(&self.seen);
            async move {
                seen.lock().expect("not poisoned").insert(tokio::task::id());
            }
            .boxed()
        }

        fn waiting(&self) -> BoxFuture<'static, ()> {
            let (gate, quick) = (Arc::clone(&self.gate), self.quick());
            async move {
                drop(gate.acquire().await.expect("open"));
                quick.await;
            }
            .boxed()
        }

        fn slow(&self) -> BoxFuture<'static, ()> {
            let quick = self.quick();
            async move {
                let begun = std::time::Instant::now();
                while begun.elapsed() <= SLOW {}
                quick.await;
            }
            .boxed()
        }

        /// In how many tasks a claim's attempts ran.
        async fn tasks(&self, claimed: Vec<BoxFuture<'static, ()>>) -> usize {
            self.seen.lock().expect("not poisoned").clear();
            self.launcher.launch(claimed);
            // The look happens before the gate opens.
            tokio::task::yield_now().await;
            self.gate.add_permits(1000);
            self.attempts.wait().await;
            self.gate.forget_permits(1000);
            self.seen.lock().expect("not poisoned").len()
        }

        fn quick_ones(&self, n: u32) -> Vec<BoxFuture<'static, ()>> {
            (0..n).map(|_| self.quick()).collect()
        }
    }

    #[tokio::test]
    async fn what_ends_at_once_shares_one_task() {
        let bench = Bench::new();
        assert_eq!(bench.tasks(bench.quick_ones(10)).await, 1);
        assert_eq!(bench.tasks(bench.quick_ones(10)).await, 1);
    }

    #[tokio::test]
    async fn what_waits_and_all_behind_it_get_tasks_of_their_own() {
        let bench = Bench::new();
        let claimed = vec![bench.quick(), bench.quick(), bench.waiting(), bench.quick(), bench.quick()];
        assert_eq!(bench.tasks(claimed).await, 4);
    }

    #[tokio::test]
    async fn a_slow_look_is_not_repeated_soon_and_the_pause_grows() {
        let bench = Bench::new();
        for rest in [REST_MIN, 2 * REST_MIN, 4 * REST_MIN] {
            bench.tasks(vec![bench.slow(), bench.quick()]).await;
            for _ in 0..rest / 8 {
                assert_eq!(bench.tasks(bench.quick_ones(8)).await, 8);
            }
        }
        assert_eq!(bench.tasks(bench.quick_ones(8)).await, 1, "and it is tried again");
    }
}
