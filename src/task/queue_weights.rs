//! The queues a worker serves, with their weights, as one text.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::{QueueName, QueueNameError};

/// Largest weight; far beyond it, shares could no longer be told apart.
const WEIGHT_MAX: u32 = 1000;

/// Queue names with their weights; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueWeights(BTreeMap<QueueName, u32>);

/// A list of queues that is not one.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum QueueWeightsError {
    /// Nothing is named.
    #[error("no queue is named (allowed: name=weight,… as in critical=6,default=3)")]
    Empty,
    /// The name cannot be one.
    #[error("queue {name:?}: {source}")]
    Name {
        /// The name as given.
        name: String,
        /// What is wrong with it.
        source: QueueNameError,
    },
    /// The weight cannot be one.
    #[error("queue {name:?} has weight {weight:?} (allowed: 1 to 1000)")]
    Weight {
        /// The queue.
        name: String,
        /// Its weight as given.
        weight: String,
    },
    /// A queue stands there twice.
    #[error("queue {name:?} is named twice")]
    Twice {
        /// The queue.
        name: String,
    },
}

impl QueueWeights {
    /// These queues; `None` when there is none, or one stands there twice. Weights are 1 to 1000; what lies outside
    /// becomes the nearest of them.
    pub fn new(queues: impl IntoIterator<Item = (QueueName, u32)>) -> Option<Self> {
        let (mut weights, mut named) = (BTreeMap::new(), 0);
        for (name, weight) in queues {
            weights.insert(name, weight.clamp(1, WEIGHT_MAX));
            named += 1;
        }
        (named > 0 && weights.len() == named).then_some(Self(weights))
    }

    /// The queues, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&QueueName, u32)> {
        self.0.iter().map(|(name, weight)| (name, *weight))
    }
}

impl FromStr for QueueWeights {
    type Err = QueueWeightsError;

    /// Reads `name=weight,…`; a name without a weight has 1. `%2C` in a name stands for a comma, `%25` for `%`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut queues = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, weight) = part.rsplit_once('=').unwrap_or((part, "1"));
            let weight = match weight.trim().parse() {
                Ok(read @ 1..=WEIGHT_MAX) => read,
                _ => return Err(QueueWeightsError::Weight { name: name.into(), weight: weight.into() }),
            };
            let queue = QueueName::new(name.trim().replace("%2C", ",").replace("%25", "%"))
                .map_err(|source| QueueWeightsError::Name { name: name.into(), source })?;
            if queues.insert(queue, weight).is_some() {
                return Err(QueueWeightsError::Twice { name: name.into() });
            }
        }
        if queues.is_empty() { Err(QueueWeightsError::Empty) } else { Ok(Self(queues)) }
    }
}

impl fmt::Display for QueueWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, weight)) in self.iter().enumerate() {
            let name = name.as_str().replace('%', "%25").replace(',', "%2C");
            write!(f, "{}{name}={weight}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        text.parse::<QueueWeights>().map(|read| read.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn names_and_weights_are_read_and_sorted() {
        assert_eq!(read("default=3,critical=6").unwrap(), "critical=6,default=3");
        assert_eq!(read(" low , shop:default = 2,").unwrap(), "low=1,shop:default=2");
        assert_eq!(read("a=b=2,50%=1").unwrap(), "50%25=1,a=b=2");
    }

    #[test]
    fn any_queue_name_can_be_told_to_a_worker() {
        for name in ["a,b=3", "50%", "%2C", "%252C,", "a{b}:c d", "ä"] {
            let queue = QueueName::new(name).unwrap();
            let told = QueueWeights(BTreeMap::from([(queue.clone(), 7)])).to_string();
            assert_eq!(told.parse::<QueueWeights>().unwrap().0, BTreeMap::from([(queue, 7)]), "{told}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_queue() {
        for (text, part) in [
            ("", "no queue"),
            (",", "no queue"),
            ("a=0", "queue \"a\" has weight \"0\""),
            ("a=1001", "1 to 1000"),
            ("a=-1", "weight \"-1\""),
            ("a=x", "weight \"x\""),
            ("a=", "weight \"\""),
            ("=3", "queue \"\""),
            ("a=1,b,a=2", "queue \"a\" is named twice"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
