//! What was wanted lately.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Most moments that are remembered apart.
const MOMENTS_MAX: usize = 64;

/// The numbers of workers wanted within the stabilization window, kept as the falling sequence of those that can still
/// be the most.
///
/// It is written down and read again by whoever decides next, so its times are those of a clock that both can read.
/// Where it would become long, moments are merged: the larger number is then taken to have been wanted until the later
/// moment, so a fleet shrinks a little later and never earlier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct History {
    /// Unix ms, and how many were wanted.
    wanted: Vec<(i64, u32)>,
}

impl History {
    /// A history in which `current` workers were wanted just now, so that whoever knows nothing does not shrink a
    /// fleet before a whole window has passed.
    #[must_use]
    pub fn starting_with(current: u32, now: Timestamp) -> Self {
        Self { wanted: vec![(now.as_millisecond(), current)] }
    }

    /// The history of another process, continued. What it wanted last it is taken to have wanted until now: what was
    /// wanted since it was written down is not known.
    #[must_use]
    pub fn continued(mut self, now: Timestamp) -> Self {
        if let Some((at, _)) = self.wanted.last_mut() {
            *at = now.as_millisecond().max(*at);
        }
        self.wanted.truncate(MOMENTS_MAX);
        self
    }

    /// When the last number was wanted that is remembered.
    #[must_use]
    pub fn last(&self) -> Option<Timestamp> {
        self.wanted.last().and_then(|(at, _)| Timestamp::from_millisecond(*at).ok())
    }

    /// The moments that are remembered, and how many workers were wanted then: fewer and fewer.
    pub fn moments(&self) -> impl Iterator<Item = (Timestamp, u32)> {
        self.wanted.iter().filter_map(|(at, number)| Some((Timestamp::from_millisecond(*at).ok()?, *number)))
    }

    /// With what is wanted now; and the most wanted within the window.
    pub(super) fn with(&self, now: Timestamp, window: Duration, wanted: u32) -> (Self, u32) {
        let now = now.as_millisecond();
        let window = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        // A clock that was set back must not keep a number for longer than a window.
        let kept = self.wanted.iter().map(|&(at, number)| (at.min(now), number));
        let kept = kept.filter(|&(at, number)| number > wanted && now.saturating_sub(at) <= window);
        let mut moments: Vec<_> = kept.filter(|_| window > 0).collect();
        moments.push((now, wanted));
        while moments.len() > MOMENTS_MAX {
            merge_nearest(&mut moments);
        }
        let most = moments[0].1;
        (Self { wanted: moments }, most)
    }
}

/// Makes one of the two moments that are nearest to each other.
fn merge_nearest(moments: &mut Vec<(i64, u32)>) {
    let gap = |at: &usize| moments[at + 1].0 - moments[*at].0;
    if let Some(at) = (0..moments.len() - 1).min_by_key(gap) {
        moments[at].0 = moments[at + 1].0;
        moments.remove(at + 1);
    }
}
