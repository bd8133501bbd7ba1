//! What was wanted lately.

use std::collections::VecDeque;
use std::time::Duration;

/// The numbers of workers wanted within the stabilization window, kept as the falling sequence of those that
/// can still be the most: so its length is bounded by the number of different values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    wanted: VecDeque<(Duration, u32)>,
}

impl History {
    /// A history in which `current` workers were wanted just now, so that whoever takes over does not shrink a
    /// fleet before a whole window has passed.
    #[must_use]
    pub fn starting_with(current: u32, now: Duration) -> Self {
        Self { wanted: VecDeque::from([(now, current)]) }
    }

    /// Notes what is wanted; answers the most wanted within the window.
    pub(super) fn note(&mut self, now: Duration, window: Duration, wanted: u32) -> u32 {
        while self.wanted.back().is_some_and(|&(_, earlier)| earlier <= wanted) {
            self.wanted.pop_back();
        }
        self.wanted.push_back((now, wanted));
        while self.wanted.front().is_some_and(|&(at, _)| at + window < now || (window.is_zero() && at < now))
        {
            self.wanted.pop_front();
        }
        self.wanted.front().map_or(wanted, |&(_, most)| most)
    }
}
