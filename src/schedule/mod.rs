//! When it runs: schedules, time zones, the next time, and what becomes of each tick.
//!
//! Pure: no I/O, nothing asynchronous, and no clock: `now` is always an argument. Time zones come from the
//! data bundled into the program and never from the machine, so every replica of one version computes the
//! same times.
//!
//! A spec means what robfig/cron v3 makes of it, the parser of Kubernetes' CronJob and of asynq. Left out are
//! its `TZ=` prefixes (the zone is a field of its own) and its rounding of `@every 0s`, negative and
//! sub-second periods up to one second (those are errors here). Added are an optional leading field of
//! seconds, `H`, and days in `@every`.
//!
//! Not here: the firing script and the policies that need to see living tasks (overlap), which belong to the
//! broker and the scheduler.

mod calendar;
mod decide;
mod duration;
mod entry;
mod error;
mod field;
mod ledger;
mod outcome;
mod revision;
mod search;
mod spec;
mod stable_hash;
mod timing;
mod zone;

pub use decide::{Decision, NO_CATCH_UP_GRACE_S, PassedTicks, TICKS_PER_DECISION_MAX, decide};
pub use duration::{PeriodError, period_s};
pub use entry::{CatchUp, Concurrency, Entry, EntryError, Template, local_uid};
pub use entry::{ENTRY_FORMAT, HEADER_NOMINAL_TIME, HEADER_SCHEDULE};
pub use error::{Field, SpecError, TimingError};
pub use ledger::{LedgerError, RECORD_FORMAT, TickRecord};
pub use outcome::{TickOutcome, UnknownOutcome};
pub use revision::{Revision, RevisionError};
pub use timing::{Gap, Overlap, SCHEDULES_MAX, Ticks, Timing, TimingSource, engine_version};

#[cfg(test)]
pub(crate) mod tests;
