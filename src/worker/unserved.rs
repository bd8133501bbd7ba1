//! Tasks whose type the worker has no handler for: they wait for a worker that has one, each time longer, and others
//! are told of the type.
//!
//! When such a task is pending again, ours hears it within a millisecond, and a worker of Go's within the second that
//! it sleeps. So whoever put a task back leaves it to others for a moment, if there is nothing else to take.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use super::attempt::Attempt;
use super::verdict::later;
use crate::broker::{Finish, FinishOutcome};

/// How long such a task waits at first.
pub(super) const DELAY_MIN: Duration = Duration::from_secs(1);
/// How often it waits that long: of two workers, the one with the handler has taken it by then. Afterwards the wait is
/// doubled each time.
const QUICK_TRIES: u64 = 6;
/// How long it waits at most.
const DELAY_MAX: Duration = Duration::from_secs(120);

/// How long others get to take what was put back: Go's workers ask an empty queue each second.
pub(super) const HEAD_START: Duration = Duration::from_millis(1500);
/// How often it is looked meanwhile whether there is anything else to take.
pub(super) const GLANCE: Duration = Duration::from_millis(100);
/// So many pending tasks are looked at. Where there are more, nobody is idle who could take them.
pub(super) const GLANCED_AT: usize = 16;
/// Tasks that are remembered as put back, and for how long: longer than the longest wait.
const REMEMBERED: usize = 256;
const REMEMBERED_FOR: Duration = Duration::from_secs(300);

/// The tasks that this worker put back for others, the latest of them.
#[derive(Default)]
pub(super) struct PutBack {
    tasks: Mutex<VecDeque<Task>>,
}

struct Task {
    queue: usize,
    id: String,
    at: Instant,
}

impl PutBack {
    fn remember(&self, queue: usize, id: &str) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| {
            task.at.elapsed() < REMEMBERED_FOR && (task.queue, task.id.as_str()) != (queue, id)
        });
        if tasks.len() == REMEMBERED {
            tasks.pop_front();
        }
        tasks.push_back(Task { queue, id: id.to_owned(), at: Instant::now() });
    }

    /// Whether any of a queue's tasks was put back.
    pub(super) fn has_any(&self, queue: usize) -> bool {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.iter().any(|task| task.queue == queue && task.at.elapsed() < REMEMBERED_FOR)
    }

    /// Whether these, the oldest pending of a queue, are all there is to take, and all were put back.
    pub(super) fn are_all(&self, queue: usize, pending: &[Vec<u8>]) -> bool {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let is_put_back =
            |id: &Vec<u8>| tasks.iter().any(|task| task.queue == queue && task.id.as_bytes() == id);
        !pending.is_empty() && pending.len() < GLANCED_AT && pending.iter().all(is_put_back)
    }
}

/// Tells of the type, and has the task wait as long as is due after all it was put off before.
pub(super) async fn note(put_back: &PutBack, attempt: &Attempt, finish: &mut Finish) {
    let (broker, queue, message) = (&attempt.home.broker, attempt.queue_name(), &attempt.message);
    put_back.remember(attempt.queue, &message.id);
    match broker.note_unserved(queue, &message.id, &message.kind).await {
        Ok(times) => {
            if let FinishOutcome::Snooze { at, .. } = &mut finish.outcome {
                *at = later(broker.now_in(queue.as_str()), delay(times));
            }
        }
        // It waits for the shortest time then, and is met again.
        Err(error) => debug!(reason = error.reason(), "a type without a handler is not told: {error}"),
    }
}

fn delay(times: u64) -> Duration {
    let doublings = u32::try_from(times.saturating_sub(QUICK_TRIES - 1).min(16)).unwrap_or(16);
    DELAY_MIN.saturating_mul(1 << doublings).min(DELAY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_put_back_and_nothing_beside_it_is_left_to_others() {
        let (put_back, ids) = (PutBack::default(), |ids: &[&str]| {
            ids.iter().map(|id| id.as_bytes().to_vec()).collect::<Vec<_>>()
        });
        put_back.remember(1, "a");
        put_back.remember(1, "b");
        put_back.remember(1, "a");
        assert!(put_back.has_any(1) && !put_back.has_any(0));
        assert!(put_back.are_all(1, &ids(&["b", "a"])) && put_back.are_all(1, &ids(&["a"])));
        assert!(!put_back.are_all(1, &ids(&["a", "c"])), "another task is not kept waiting");
        assert!(!put_back.are_all(0, &ids(&["a"])), "another queue's task of that id");
        assert!(!put_back.are_all(1, &[]), "nothing is left to be left");
        assert!(!put_back.are_all(1, &ids(&["a"; GLANCED_AT])), "there may be more than was looked at");
    }

    #[test]
    fn the_latest_tasks_are_remembered() {
        let put_back = PutBack::default();
        (0..=REMEMBERED).for_each(|n| put_back.remember(0, &n.to_string()));
        let is_known = |n: usize| put_back.are_all(0, &[n.to_string().into_bytes()]);
        assert!(!is_known(0) && is_known(1) && is_known(REMEMBERED));
    }

    #[test]
    fn the_wait_is_short_while_another_may_take_it_and_doubles_then_up_to_two_minutes() {
        let seconds: Vec<u64> = (0..15).map(|times| delay(times).as_secs()).collect();
        assert_eq!(seconds, [1, 1, 1, 1, 1, 1, 2, 4, 8, 16, 32, 64, 120, 120, 120]);
        assert_eq!(delay(u64::MAX), DELAY_MAX);
    }
}
