//! Puts new tasks in the places of aggregated sets, many in one call.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::shared::Shared;
use crate::broker::{BrokerError, Outage, SetFinish, SetFinished};
use crate::causes::on_one_line;

/// Sets taken up at once.
pub(super) const ENDINGS_MAX: usize = 40;

/// The end of one set on its way to Redis.
pub(super) struct Ending {
    queue: usize,
    finish: SetFinish,
    answer: oneshot::Sender<Result<SetFinished, String>>,
}

impl Ending {
    /// Hands the end of a set in and waits for the answer; `None` when the worker ends before there is one.
    pub(super) async fn send(
        endings: &mpsc::Sender<Ending>,
        queue: usize,
        finish: SetFinish,
    ) -> Option<Result<SetFinished, String>> {
        let (answer, answered) = oneshot::channel();
        endings.send(Ending { queue, finish, answer }).await.ok()?;
        answered.await.ok()
    }
}

/// Finishes sets until `stop` is cancelled. What ends while one call is on its way is the next call.
pub(super) async fn finish_sets(
    shared: Arc<Shared>,
    mut endings: mpsc::Receiver<Ending>,
    stop: CancellationToken,
) {
    let mut outage = Outage::new("finish aggregation sets");
    let mut batch = Vec::with_capacity(ENDINGS_MAX);
    loop {
        tokio::select! {
            received = endings.recv_many(&mut batch, ENDINGS_MAX) => {
                if received == 0 {
                    return stop.cancelled().await;
                }
            }
            () = stop.cancelled() => return,
        }
        batch.sort_by_key(|ending| ending.queue);
        while let Some(first) = batch.first() {
            let queue = first.queue;
            let len = batch.iter().take_while(|ending| ending.queue == queue).count();
            let part: Vec<Ending> = batch.drain(..len).collect();
            tokio::select! {
                () = finish_part(&shared, queue, part, &mut outage) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

/// Finishes sets of one queue and tells each what became of it.
async fn finish_part(shared: &Shared, queue: usize, part: Vec<Ending>, outage: &mut Outage) {
    let home = &shared.home;
    let (finishes, answers): (Vec<_>, Vec<_>) =
        part.into_iter().map(|ending| (ending.finish, ending.answer)).unzip();
    match try_to_finish(shared, queue, &finishes, outage).await {
        Ok(verdicts) => answers.into_iter().zip(verdicts).for_each(|(to, verdict)| tell(to, Ok(verdict))),
        // One of them is refused; alone, the others go through.
        Err(_) => {
            for (finish, to) in finishes.into_iter().zip(answers) {
                let alone = home.broker.finish_sets(&home.queues[queue], std::slice::from_ref(&finish)).await;
                tell(to, alone.map(|mut verdicts| verdicts.remove(0)).map_err(|error| on_one_line(&error)));
            }
        }
    }
}

/// Repeats the call while Redis does not answer. Sets that an earlier try finished answer that they are lost,
/// which their tasks then take for what it is: they are not there any more.
async fn try_to_finish(
    shared: &Shared,
    queue: usize,
    finishes: &[SetFinish],
    outage: &mut Outage,
) -> Result<Vec<SetFinished>, BrokerError> {
    let home = &shared.home;
    loop {
        match home.broker.finish_sets(&home.queues[queue], finishes).await {
            Err(error) if error.is_retryable() => sleep(outage.failed(&error)).await,
            answer => {
                outage.ended();
                return answer;
            }
        }
    }
}

/// Whoever waited may be gone: the worker stops.
fn tell(to: oneshot::Sender<Result<SetFinished, String>>, verdict: Result<SetFinished, String>) {
    let _nobody_waits = to.send(verdict);
}
