//! What a caller says about groups.

use std::time::Duration;

use super::WorkerError;
use crate::broker::{GroupLimits, SET_TASKS_MAX};

/// How long a group waits for more after its last task, unless said otherwise: as in asynq.
const GRACE: Duration = Duration::from_secs(60);
/// Groups know whole seconds.
const TIME_MIN: Duration = Duration::from_secs(1);

/// What a caller says about groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct GroupOptions {
    pub(super) grace: Option<Duration>,
    pub(super) max_delay: Option<Duration>,
    pub(super) max_size: Option<usize>,
}

impl GroupOptions {
    /// Checks it and fills in what was not said.
    pub(super) fn limits(&self) -> Result<GroupLimits, WorkerError> {
        for (name, given) in [("grace period", self.grace), ("longest delay", self.max_delay)] {
            if let Some(given) = given.filter(|given| *given < TIME_MIN) {
                let problem =
                    format!("a group's {name} of {} ms; allowed are 1 s and more", given.as_millis());
                return Err(WorkerError::Groups { problem });
            }
        }
        let max_size = self.max_size.unwrap_or(SET_TASKS_MAX);
        if !(1..=SET_TASKS_MAX).contains(&max_size) {
            let problem = format!("groups of {max_size} tasks at most; allowed are 1 to {SET_TASKS_MAX}");
            return Err(WorkerError::Groups { problem });
        }
        Ok(GroupLimits { grace: self.grace.unwrap_or(GRACE), max_delay: self.max_delay, max_size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_as_in_asynq_but_for_a_bound() {
        let limits = GroupOptions::default().limits().expect("valid");
        assert_eq!(limits, GroupLimits { grace: GRACE, max_delay: None, max_size: 200 });
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        let short = Some(Duration::from_millis(999));
        for options in [
            GroupOptions { grace: short, ..GroupOptions::default() },
            GroupOptions { max_delay: short, ..GroupOptions::default() },
            GroupOptions { max_size: Some(0), ..GroupOptions::default() },
            GroupOptions { max_size: Some(201), ..GroupOptions::default() },
        ] {
            let error = options.limits().expect_err("refused");
            assert!(error.to_string().contains("allowed are 1"), "{error}");
        }
    }
}
