//! Places of a semaphore, many at a time: whoever works for many at once does it with few calls.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;
use tokio::time::timeout;

/// So many places are worth waiting for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch {
    pub(super) places: u32,
    /// And so long.
    pub(super) wait: Duration,
}

/// Takes free places, `most` at most: at first a batch if that is worth while, else a single one, as `one` waits for it;
/// and whatever else is free by then. `None` when there is not a single one.
pub(super) async fn take_places(
    places: &Arc<Semaphore>,
    batch: Option<Batch>,
    most: usize,
    one: impl Future<Output = Option<OwnedSemaphorePermit>>,
) -> Option<OwnedSemaphorePermit> {
    let taken = match batch {
        Some(batch) => {
            let taken = timeout(batch.wait, Arc::clone(places).acquire_many_owned(batch.places)).await.ok();
            // Those who hold places end together: let those that are about to do so first.
            yield_now().await;
            taken
        }
        None => None,
    };
    let mut taken = match taken {
        Some(taken) => taken.ok()?,
        None => one.await?,
    };
    let more = places.available_permits().min(most.saturating_sub(taken.num_permits()));
    let more = u32::try_from(more).unwrap_or(0);
    if more > 0
        && let Ok(more) = Arc::clone(places).try_acquire_many_owned(more)
    {
        taken.merge(more);
    }
    Some(taken)
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const SOON: Batch = Batch { places: 3, wait: Duration::from_millis(1) };
    const LATE: Batch = Batch { places: 3, wait: Duration::from_secs(3600) };

    fn semaphore(free: usize) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(free))
    }

    async fn one(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        Arc::clone(places).acquire_owned().await.ok()
    }

    #[tokio::test]
    async fn what_is_free_is_taken_up_to_the_most() {
        for (free, batch, expected) in [(9, Some(SOON), 5), (4, Some(SOON), 4), (9, None, 5), (1, None, 1)] {
            let places = semaphore(free);
            let taken = take_places(&places, batch, 5, one(&places)).await.expect("some are free");
            assert_eq!((taken.num_permits(), places.available_permits()), (expected, free - expected));
        }
    }

    #[tokio::test]
    async fn a_batch_is_waited_for_and_what_comes_with_it_is_taken_along() {
        let places = semaphore(1);
        let taking = take_places(&places, Some(LATE), 5, pending());
        let (taken, ()) = tokio::join!(taking, async { places.add_permits(3) });
        assert_eq!(taken.expect("enough come").num_permits(), 4);
    }

    #[tokio::test]
    async fn without_a_batch_in_time_a_single_one_will_do() {
        let places = semaphore(2);
        let taken = take_places(&places, Some(SOON), 5, one(&places)).await.expect("two are free");
        assert_eq!(taken.num_permits(), 2);
        assert!(take_places(&places, Some(SOON), 5, ready(None)).await.is_none(), "none is free");
    }
}
