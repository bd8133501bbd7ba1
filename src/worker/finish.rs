//! Reports outcomes to Redis, many at once.
//!
//! Group commit: whatever ends while one flush is on its way is the next flush. No timer delays anything, and
//! the busier the worker, the larger the flushes.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::SignedDuration;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::attempt::Attempt;
use super::shared::Shared;
use super::stats::AttemptResult;
use crate::broker::Outage;
use crate::broker::{Finish, Finished};

/// Tasks in one call: a longer script would hold Redis up for others.
const CHUNK_MAX: usize = 64;
/// Reports taken up per flush.
const FLUSH_MAX: usize = 4 * CHUNK_MAX;
/// How long after the end of its lease an outcome is still worth telling. While nobody could reach Redis, nobody
/// else took the task either.
const WORTH_TELLING: SignedDuration = SignedDuration::from_mins(10);

/// Redis is full: whoever frees memory needs a moment.
const OUT_OF_MEMORY_PAUSE: Duration = Duration::from_millis(500);

/// An attempt's outcome on its way to Redis.
pub(super) struct Report {
    pub(super) attempt: Arc<Attempt>,
    pub(super) finish: Finish,
    pub(super) result: AttemptResult,
}

/// Reports outcomes to Redis.
pub(super) struct Finisher {
    shared: Arc<Shared>,
    reports: mpsc::Receiver<Report>,
    outage: Outage,
}

/// What goes into one call, all of one queue.
struct Chunk {
    queue: usize,
    finishes: Vec<Finish>,
    /// In the same order.
    attempts: Vec<(Arc<Attempt>, AttemptResult)>,
    /// An earlier try of it may have got through, its answer lost.
    is_repeat: bool,
}

impl Finisher {
    pub(super) fn new(shared: Arc<Shared>, reports: mpsc::Receiver<Report>) -> Self {
        Self { shared, reports, outage: Outage::new("report finished tasks") }
    }

    /// Reports until `flush` is cancelled and everything handed in before is told, or `give_up` is.
    pub(super) async fn run(mut self, flush: CancellationToken, give_up: CancellationToken) {
        let mut batch = Vec::with_capacity(FLUSH_MAX);
        loop {
            tokio::select! {
                biased;
                received = self.reports.recv_many(&mut batch, FLUSH_MAX) => {
                    if received == 0 {
                        return;
                    }
                    self.flush(&mut batch, &give_up).await;
                }
                // Once closed, what is left in the channel still comes out above.
                () = flush.cancelled(), if !self.reports.is_closed() => self.reports.close(),
            }
        }
    }

    async fn flush(&mut self, batch: &mut Vec<Report>, give_up: &CancellationToken) {
        batch.retain(|report| !self.is_superseded(report));
        let mut chunks = into_chunks(batch);
        while !chunks.is_empty() {
            let home = &self.shared.home;
            let calls = chunks
                .iter()
                .map(|chunk| home.broker.finish(&home.queues[chunk.queue], &home.owner, &chunk.finishes));
            let answers = join_all(calls).await;
            let mut left = Vec::new();
            let (mut passing, mut pause) = (None, None);
            for (chunk, answer) in chunks.into_iter().zip(answers) {
                match answer {
                    Ok(verdicts) => {
                        if let Some(refused) = self.settle(chunk, verdicts) {
                            pause = Some(OUT_OF_MEMORY_PAUSE);
                            left.push(refused);
                        }
                    }
                    Err(error) if error.is_retryable() => {
                        passing = Some(error);
                        left.push(Chunk { is_repeat: true, ..chunk });
                    }
                    // One of them is refused; alone, the others go through.
                    Err(_) if chunk.attempts.len() > 1 => left.extend(chunk.into_single()),
                    Err(error) => {
                        error!(reason = error.reason(), "cannot store an outcome: {error}");
                        self.drop_chunks(vec![chunk], "Redis refuses it");
                    }
                }
            }
            match &passing {
                None => self.outage.ended(),
                Some(error) => pause = Some(self.outage.failed(error)),
            }
            if let Some(pause) = pause {
                tokio::select! {
                    () = sleep(pause) => {}
                    () = give_up.cancelled() => return self.drop_chunks(left, "the worker stops"),
                }
                left = self.without_stale(left);
            }
            chunks = left;
        }
    }

    /// The task was lost and given to us again while this outcome waited: Redis would take it for the new
    /// attempt's.
    fn is_superseded(&self, report: &Report) -> bool {
        let is_lost = report.attempt.is_lost();
        if is_lost {
            self.shared.stats.note_result(AttemptResult::Lost);
            report.attempt.release(&self.shared.stats);
        }
        is_lost
    }

    /// Takes note of what Redis said; returns what it could not store for want of memory.
    fn settle(&self, chunk: Chunk, verdicts: Vec<Finished>) -> Option<Chunk> {
        let (stats, table) = (&self.shared.stats, &self.shared.table);
        let mut short_of_memory = chunk.empty_repeat();
        let mut ended = Vec::with_capacity(chunk.attempts.len());
        let mut lost = 0;
        for ((finish, (attempt, result)), verdict) in
            chunk.finishes.into_iter().zip(chunk.attempts).zip(verdicts)
        {
            match verdict {
                Finished::Stored => stats.note_result(result),
                Finished::Lost => {
                    lost += 1;
                    stats.note_result(AttemptResult::Lost);
                }
                Finished::Refused(problem) if problem.starts_with("OOM") => {
                    short_of_memory.finishes.push(finish);
                    short_of_memory.attempts.push((attempt, result));
                    continue;
                }
                Finished::Refused(problem) => {
                    let id = &attempt.message.id;
                    error!(task.id = %id, queue.name = %attempt.queue_name(), %result, problem, "cannot store an outcome");
                    stats.note_result(AttemptResult::Lost);
                }
            }
            ended.push(attempt);
        }
        table.remove(chunk.queue, ended.iter());
        ended.iter().for_each(|attempt| attempt.release(stats));
        if lost > 0 {
            let queue = &self.shared.home.queues[chunk.queue];
            if chunk.is_repeat {
                debug!(queue.name = %queue, lost, "outcomes were already stored, or no longer ours");
            } else {
                warn!(queue.name = %queue, lost, "outcomes discarded: the tasks were no longer ours");
            }
        }
        (!short_of_memory.attempts.is_empty()).then_some(short_of_memory)
    }

    /// Splits off what somebody else has taken over, or must have by now.
    fn without_stale(&self, chunks: Vec<Chunk>) -> Vec<Chunk> {
        let now = self.shared.home.broker.now();
        let is_stale =
            |attempt: &Attempt| attempt.is_lost() || now.duration_since(attempt.lease_end()) > WORTH_TELLING;
        let mut kept = Vec::new();
        for chunk in chunks {
            if !chunk.attempts.iter().any(|(attempt, _)| is_stale(attempt)) {
                kept.push(chunk);
                continue;
            }
            let (stale, fresh) = chunk.into_single().partition(|single| is_stale(&single.attempts[0].0));
            self.drop_chunks(stale, "their leases were over long ago");
            kept.extend::<Vec<_>>(fresh);
        }
        kept
    }

    /// The tasks come back to some worker when their leases are over.
    fn drop_chunks(&self, chunks: Vec<Chunk>, why: &'static str) {
        for chunk in chunks {
            let queue = &self.shared.home.queues[chunk.queue];
            error!(queue.name = %queue, outcomes = chunk.attempts.len(), why, "outcomes are not stored");
            self.shared.table.remove(chunk.queue, chunk.attempts.iter().map(|(attempt, _)| attempt));
            for (attempt, _) in &chunk.attempts {
                self.shared.stats.note_result(AttemptResult::Lost);
                attempt.release(&self.shared.stats);
            }
        }
    }
}

impl Chunk {
    fn empty_repeat(&self) -> Chunk {
        Chunk { queue: self.queue, finishes: Vec::new(), attempts: Vec::new(), is_repeat: true }
    }

    fn into_single(self) -> impl Iterator<Item = Chunk> {
        let (queue, is_repeat) = (self.queue, self.is_repeat);
        self.finishes.into_iter().zip(self.attempts).map(move |(finish, attempt)| Chunk {
            queue,
            finishes: vec![finish],
            attempts: vec![attempt],
            is_repeat,
        })
    }
}

fn into_chunks(batch: &mut Vec<Report>) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = Vec::new();
    for Report { attempt, finish, result } in batch.drain(..) {
        let queue = attempt.queue;
        let open = |chunk: &&mut Chunk| chunk.queue == queue && chunk.attempts.len() < CHUNK_MAX;
        // Few queues have reports in one flush, and their last chunk is the open one.
        match chunks.iter_mut().rev().find(open) {
            Some(chunk) => {
                chunk.finishes.push(finish);
                chunk.attempts.push((attempt, result));
            }
            None => chunks.push(Chunk {
                queue,
                finishes: vec![finish],
                attempts: vec![(attempt, result)],
                is_repeat: false,
            }),
        }
    }
    chunks
}
