//! Many tasks at once: run, archive, delete or cancel what stands in a state, all of it or all of one type.
//!
//! No script handles more than [`CHUNK`] tasks, and none searches a list: tasks are taken from a list's end, or by
//! position. Each script is whole by itself, so a bulk step may be interrupted anywhere and started again: every
//! task is either handled or where it was. Tasks that come to the state after the step began are left alone as far
//! as Redis can tell; it never handles more than stood there when it began.

use super::cancel::{CancelThen, Cancelled};
use super::keys::QueueKeys;
use super::paging::{Place, last_place};
use super::select::{Looked, PAGE};
use super::unique::FOREIGN_LOCK_LIFE_S;
use super::{Broker, BrokerError, script};
use crate::task::{QueueName, State};

/// Tasks one script call handles.
pub(super) const CHUNK: usize = 50;
/// Tasks one call takes out of a list by their positions.
const PICKS: usize = 25;
/// From this far into a list on, positions cost so much that a call takes fewer: some 100 µs each amid a million.
const DEEP: usize = 60_000;
/// How far a list may have moved between reading a page and taking tasks out of it.
const SLACK: usize = 64;

/// What is done with many tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BulkVerb {
    /// They become pending. A unique one that had ended stays where it is when another one took its place.
    Run,
    /// They go to the archive, as they are, and the locks they hold are given back.
    Archive,
    /// They are deleted, and the locks they hold given back.
    Delete,
    /// Their workers are asked to stop them; then this becomes of them.
    Cancel(CancelThen),
}

impl BulkVerb {
    /// The verb as scripts and messages spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Archive => "archive",
            Self::Delete => "delete",
            Self::Cancel(_) => "cancel",
        }
    }

    /// The states whose tasks this can be done with.
    #[must_use]
    pub const fn states(self) -> &'static [State] {
        use State::{Active, Aggregating, Archived, Completed, Pending, Retry, Scheduled};
        match self {
            Self::Run => &[Scheduled, Retry, Archived, Aggregating, Completed],
            Self::Archive => &[Pending, Scheduled, Retry, Aggregating, Completed],
            Self::Delete => &[Pending, Scheduled, Retry, Archived, Completed, Aggregating],
            Self::Cancel(_) => &[Active],
        }
    }

    const fn doing(self) -> &'static str {
        match self {
            Self::Run => "run many tasks",
            Self::Archive => "archive many tasks",
            Self::Delete => "delete many tasks",
            Self::Cancel(_) => "cancel many tasks",
        }
    }
}

/// Which tasks of a queue a bulk step is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Those in this state.
    pub state: State,
    /// Of this type only.
    pub kind: Option<String>,
    /// Of this group only; for [`State::Aggregating`].
    pub group: Option<String>,
}

impl Selection {
    /// All tasks in a state.
    #[must_use]
    pub fn of(state: State) -> Self {
        Self { state, kind: None, group: None }
    }

    /// Only those of a type.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// Only those of a group.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }
}

/// What a bulk step did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Handled {
    /// Tasks handled.
    pub tasks: u64,
    /// Ids taken out that had no task.
    pub orphans: u64,
}

impl Broker {
    /// Does something with every selected task, in bounded steps. `progress` hears how many were handled so far.
    ///
    /// Cancel-safe: dropped midway, every task is either handled or where it was. Safe to repeat.
    ///
    /// # Errors
    /// [`BrokerError::BulkState`] when tasks in that state cannot be handled so; [`BrokerError::Command`], after
    /// which the steps that `progress` heard of hold, and perhaps one more.
    pub async fn bulk(
        &self,
        queue: &QueueName,
        verb: BulkVerb,
        selection: &Selection,
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<Handled, BrokerError> {
        let state = selection.state;
        if !verb.states().contains(&state) {
            return Err(BrokerError::BulkState { verb, state });
        }
        let kind = selection.kind.as_deref();
        let mut step = Step { broker: self, queue, verb, kind, handled: Handled::default() };
        match (state, kind) {
            (State::Active, _) => {
                let BulkVerb::Cancel(then) = verb else {
                    return Err(BrokerError::BulkState { verb, state });
                };
                step.cancel(then, &mut progress).await?;
            }
            (State::Aggregating, _) => step.groups(selection.group.as_deref(), &mut progress).await?,
            (State::Pending, Some(_)) => step.sift(&mut progress).await?,
            // Which of these may run depends on who holds their locks.
            (_, None) if verb != BulkVerb::Run || !matches!(state, State::Archived | State::Completed) => {
                step.sweep(state, &mut progress).await?;
            }
            (_, _) => {
                let zset = QueueKeys::new(queue).container(state).into_bytes();
                step.pick(&zset, b"", &mut progress).await?;
            }
        }
        Ok(step.handled)
    }
}

/// One bulk step under way.
struct Step<'a> {
    broker: &'a Broker,
    queue: &'a QueueName,
    verb: BulkVerb,
    kind: Option<&'a str>,
    handled: Handled,
}

impl Step<'_> {
    fn keys(&self) -> QueueKeys<'_> {
        QueueKeys::new(self.queue)
    }

    fn now_ns(&self) -> String {
        self.broker.now_in(self.queue.as_str()).as_nanosecond().to_string()
    }

    fn add(&mut self, (tasks, orphans): (u64, u64), progress: &mut impl FnMut(u64)) {
        self.handled.tasks += tasks;
        self.handled.orphans += orphans;
        progress(self.handled.tasks);
    }

    /// Everything in a state, from the end where the oldest or the first due are.
    async fn sweep(
        &mut self,
        state: State,
        progress: &mut (impl FnMut(u64) + Send),
    ) -> Result<(), BrokerError> {
        let mut left = self.broker.length(self.queue, state).await?;
        let began = self.now_ns();
        while left > 0 {
            let keys = self.keys();
            let mut call = script::SWEEP.key(keys.container(state));
            call.key(keys.pending()).key(keys.archived()).key(keys.lease());
            call.arg(keys.task_prefix()).arg(self.verb.as_str()).arg(u8::from(state == State::Pending));
            call.arg(left.min(CHUNK as u64)).arg(self.now_ns()).arg(&began);
            call.arg(keys.unique_prefix());
            let (tasks, orphans, more): (u64, u64, u8) =
                self.broker.run(self.verb.doing(), self.queue.as_str(), &call).await?;
            left = left.saturating_sub(tasks + orphans);
            self.add((tasks, orphans), progress);
            if more == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Tasks of one type in the pending list, from the newest to the oldest.
    async fn sift(&mut self, progress: &mut (impl FnMut(u64) + Send)) -> Result<(), BrokerError> {
        let list = self.keys().pending();
        // Places are counted from the oldest: what producers push does not move them.
        let length = self.broker.length(self.queue, State::Pending).await? as usize;
        let mut end = length;
        while end > 0 {
            let depth = end.min(length - end).max(1);
            let picks = (PICKS * DEEP / depth).clamp(PICKS / 5, PICKS);
            let skip = end.saturating_sub(PAGE);
            let ids = self.broker.ids_of_list(self.queue, &list, skip, end - skip).await?;
            let looked = self.broker.look(self.queue, ids, self.kind).await?;
            let fitting: Vec<_> = looked.into_iter().filter(|task| task.fits).collect();
            // What workers have claimed meanwhile moved the others towards the oldest end.
            let from = skip.saturating_sub(SLACK);
            for some in fitting.chunks(picks) {
                let keys = self.keys();
                let mut call = script::PICK_PENDING.key(keys.pending());
                call.key(keys.archived()).arg(keys.task_prefix()).arg(self.verb.as_str()).arg(self.now_ns());
                call.arg(from).arg(end - from + SLACK).arg(keys.unique_prefix());
                some.iter().for_each(|task| {
                    call.arg(task.id.as_slice());
                });
                let counts = self.broker.run(self.verb.doing(), self.queue.as_str(), &call).await?;
                self.add(counts, progress);
            }
            end = skip;
        }
        Ok(())
    }

    /// Members of groups.
    async fn groups(
        &mut self,
        group: Option<&str>,
        progress: &mut (impl FnMut(u64) + Send),
    ) -> Result<(), BrokerError> {
        let mut names = self.broker.group_names(self.queue, group);
        while let Some(some) = names.next().await? {
            for name in some {
                let zset = [self.keys().group_prefix().as_bytes(), &name].concat();
                self.pick(&zset, &name, progress).await?;
                // The name of a group without members goes too.
                self.pick_named(&zset, &name, &[], progress).await?;
            }
        }
        Ok(())
    }

    /// Tasks of a zset, of one type or all, up to what was its last when this began.
    async fn pick(
        &mut self,
        zset: &[u8],
        group: &[u8],
        progress: &mut (impl FnMut(u64) + Send),
    ) -> Result<(), BrokerError> {
        let Some(last) = self.broker.last_of(self.queue, zset).await? else { return Ok(()) };
        let mut after: Option<Place> = None;
        loop {
            let mut page = self.broker.page_after(self.queue, zset, after.as_ref(), PAGE).await?;
            page.retain(|place| !place.is_after(&last));
            if page.is_empty() {
                return Ok(());
            }
            let ids = page.iter().map(|place| place.id.clone()).collect();
            let looked = self.broker.look(self.queue, ids, self.kind).await?;
            // What stays is where the next page begins; what goes leaves no place to begin at.
            let may_stay = self.verb == BulkVerb::Run;
            after = last_place(&page, |at| may_stay || !looked[at].fits).cloned().or(after);
            let fitting: Vec<_> = looked.into_iter().filter(|task| task.fits).collect();
            for some in fitting.chunks(CHUNK) {
                self.pick_named(zset, group, some, progress).await?;
            }
        }
    }

    async fn pick_named(
        &mut self,
        zset: &[u8],
        group: &[u8],
        tasks: &[Looked],
        progress: &mut impl FnMut(u64),
    ) -> Result<(), BrokerError> {
        let keys = self.keys();
        let mut call = script::PICK.key(zset);
        call.key(keys.pending()).key(keys.archived()).key(keys.groups()).key(keys.locks());
        call.arg(keys.task_prefix()).arg(self.verb.as_str()).arg(self.now_ns()).arg(group);
        call.arg(FOREIGN_LOCK_LIFE_S);
        for task in tasks {
            call.arg(task.id.as_slice()).arg(task.lock.as_slice());
        }
        let counts = self.broker.run(self.verb.doing(), self.queue.as_str(), &call).await?;
        self.add(counts, progress);
        Ok(())
    }

    /// Asks the workers of all that is active now.
    async fn cancel(
        &mut self,
        then: CancelThen,
        progress: &mut (impl FnMut(u64) + Send),
    ) -> Result<(), BrokerError> {
        let list = self.keys().active();
        let mut ids = Vec::new();
        for first in (0..self.broker.length(self.queue, State::Active).await? as usize).step_by(PAGE) {
            ids.extend(self.broker.ids_of_list(self.queue, &list, first, PAGE).await?);
        }
        for some in ids.chunks(PAGE) {
            for task in self.broker.look(self.queue, some.to_vec(), self.kind).await? {
                let id = String::from_utf8_lossy(&task.id);
                if task.fits
                    && let Cancelled::Asked(_) = self.broker.cancel_task(self.queue, &id, then).await?
                {
                    self.add((1, 0), progress);
                }
            }
        }
        Ok(())
    }
}
