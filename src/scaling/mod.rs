//! How many workers the work needs, and why.
//!
//! One pure function of what is known at a moment and of what it said before. No I/O, no clocks: `now` is an
//! argument. The operator and the local mode use the same one.

mod history;
mod lead_time;
mod plan;
mod run_time;
mod snapshot;

pub use history::History;
pub use lead_time::LeadTime;
pub use plan::{Plan, Reason, plan};
pub use run_time::RunTime;
pub use snapshot::{Policy, Snapshot};

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
