//! Which version of an object an entry was made from.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which version of an object an entry was made from, written `epoch.generation.hash`.
///
/// Ordered by epoch, then generation. Two that agree there but differ in hash have no order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Revision {
    /// How often the leadership of the writers changed hands; a later leader's entries win.
    pub epoch: u64,
    /// The object's generation.
    pub generation: u64,
    /// Hash of the content, from [`Entry::content_hash`](super::Entry::content_hash): letters and digits.
    pub hash: String,
}

impl PartialOrd for Revision {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self.epoch, self.generation).cmp(&(other.epoch, other.generation)) {
            Ordering::Equal if self.hash != other.hash => None,
            ordering => Some(ordering),
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.epoch, self.generation, self.hash)
    }
}

/// The text is no revision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read revision {0:?}: expected epoch.generation.hash")]
pub struct RevisionError(String);

impl FromStr for Revision {
    type Err = RevisionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let mut parts = text.splitn(3, '.');
            let number = |part: &str| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?;
            let epoch = number(parts.next()?)?;
            let generation = number(parts.next()?)?;
            Some(Self { epoch, generation, hash: parts.next()?.to_owned() })
        };
        read().ok_or_else(|| RevisionError(text.to_owned()))
    }
}

impl From<Revision> for String {
    fn from(revision: Revision) -> Self {
        revision.to_string()
    }
}

impl TryFrom<String> for Revision {
    type Error = RevisionError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}
