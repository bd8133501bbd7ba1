//! Tasks that are of no use unless they begin in time.

use jiff::Timestamp;

use super::Message;

/// The header that names the time, in Unix seconds, by which a task must have begun.
///
/// A header, since any producer of asynq 0.26 can set it. Programs that drop headers do so when an attempt has
/// failed, and from then on the time does not matter.
pub const EXPIRES_HEADER: &str = "cronmill-expires-at";

/// What the error of a cancelled task begins with.
const CANCELLED: &str = "cancelled by request";

impl Message {
    /// The time by which it must have begun; `None` for any, and when the header is no time.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.header(EXPIRES_HEADER)?.trim().parse().ok()?).ok()
    }

    /// The message to archive when its time to begin has passed and no attempt was spent on it; else `None`.
    #[must_use]
    pub fn expired(&self, now: Timestamp) -> Option<Self> {
        // Most messages have no header at all, and every claim asks.
        let was_tried = self.retried > 0 || self.last_failed_s > 0;
        // One that was archived before and is run again by hand has an error.
        if self.headers.is_empty() || was_tried || !self.error.is_empty() {
            return None;
        }
        let at = self.expires_at()?;
        let error = || format!("expired: it was to begin before {at}");
        (at <= now).then(|| Self { error: error(), ..self.clone() })
    }

    /// The message to archive when somebody cancelled the task; `why` may add something.
    #[must_use]
    pub fn cancelled(&self, why: &str) -> Self {
        // A handler may have said just that.
        let says_more = !why.is_empty() && why != CANCELLED;
        let error = if says_more { format!("{CANCELLED}: {why}") } else { CANCELLED.to_owned() };
        Self { error, ..self.clone() }
    }
}
