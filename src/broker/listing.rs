//! Lists that do not shift while one pages through them.

use std::fmt;
use std::str::FromStr;

use super::inspect::text;
use super::keys::QueueKeys;
use super::paging::Place;
use super::{Broker, BrokerError, TaskView};
use crate::task::{QueueName, State};

/// Most tasks in one answer.
const PAGE_MAX: usize = 1000;

/// Where a list of tasks goes on: after the last one seen, whatever has come and gone since. As text
/// `<score>:<id>`.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskCursor(Place);

/// A text is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor (allowed: what an earlier page printed, as in 1764086400:5f0c…)")]
pub struct TaskCursorError;

impl TaskCursor {
    /// The place after a task as it was read; `None` for one that stands in no time's order.
    #[must_use]
    pub fn after(task: &TaskView) -> Option<Self> {
        let at = task.at.filter(|_| !matches!(task.state, State::Active | State::Pending))?;
        Some(Self(Place { id: task.id.clone().into_bytes(), score: at.as_second() as f64 }))
    }
}

impl fmt::Display for TaskCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.score, String::from_utf8_lossy(&self.0.id))
    }
}

impl FromStr for TaskCursor {
    type Err = TaskCursorError;

    fn from_str(cursor: &str) -> Result<Self, Self::Err> {
        let (score, id) = cursor.split_once(':').ok_or(TaskCursorError)?;
        let score: f64 = score.parse().map_err(|_| TaskCursorError)?;
        match score.is_nan() {
            true => Err(TaskCursorError),
            false => Ok(Self(Place { id: id.as_bytes().to_vec(), score })),
        }
    }
}

impl Broker {
    /// Tasks of a state after a cursor, at most a thousand, and the cursor to go on with: `None` after the last.
    /// For the states that are kept by time, and with a `group` for aggregating tasks; a list (pending, active) has
    /// no places that stay, see [`tasks`](Self::tasks).
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn tasks_after(
        &self,
        queue: &QueueName,
        state: State,
        group: Option<&str>,
        after: Option<&TaskCursor>,
        limit: usize,
    ) -> Result<(Vec<TaskView>, Option<TaskCursor>), BrokerError> {
        let keys = QueueKeys::new(queue);
        let zset = match (state, group) {
            (State::Pending | State::Active, _) | (State::Aggregating, None) => {
                return Ok((Vec::new(), None));
            }
            (State::Aggregating, Some(group)) => format!("{}{group}", keys.group_prefix()),
            (state, _) => keys.container(state),
        };
        let limit = limit.clamp(1, PAGE_MAX);
        let place = after.map(|cursor| &cursor.0);
        let page = self.page_after(queue, zset.as_bytes(), place, limit).await?;
        let next = page.last().filter(|_| page.len() == limit).cloned().map(TaskCursor);
        let ids: Vec<_> = page.into_iter().map(|at| (text(at.id), Some(at.score as i64))).collect();
        let mut views = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(100) {
            views.extend(self.views(queue, chunk).await?);
        }
        Ok((views, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_is_written() {
        for text in ["1764086400:a:b", "0.5:", "-3:x", "inf:y"] {
            assert_eq!(text.parse::<TaskCursor>().expect("a cursor").to_string(), text);
        }
        for text in ["", "x", "x:y", "NaN:y"] {
            assert_eq!(text.parse::<TaskCursor>(), Err(TaskCursorError), "{text}");
        }
    }
}
