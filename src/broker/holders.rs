//! Who holds which tasks, by the notes that claims leave; and who is to take no more.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use redis::Pipeline;

use super::claim::Owner;
use super::keep::millis;
use super::keys::QueueKeys;
use super::{Broker, BrokerError};
use crate::task::QueueName;

/// Notes looked at per call, about.
const HELD_PER_CALL: usize = 1000;

/// An id, and what stands there of it.
type Note = (Vec<u8>, Vec<u8>);

/// A lease as it was noted.
pub(super) struct Held {
    pub(super) id: Bytes,
    /// When it ends, as its score is written.
    pub(super) lease: String,
    pub(super) owner: Owner,
}

impl Broker {
    /// One step through all that is held of a queue; 0 when it has come to its end.
    pub(super) async fn held_from(
        &self,
        doing: &'static str,
        queue: &QueueName,
        cursor: u64,
    ) -> Result<(u64, Vec<Held>), BrokerError> {
        let mut pipe = redis::pipe();
        pipe.cmd("HSCAN").arg(QueueKeys::new(queue).holders()).arg(cursor).arg("COUNT").arg(HELD_PER_CALL);
        let ((next, pairs),): ((u64, Vec<Note>),) = self.pipe(doing, queue.as_str(), &pipe).await?;
        let held = pairs.into_iter().filter_map(|(id, note)| {
            let note = std::str::from_utf8(&note).ok()?;
            let (lease, owner) = note.strip_suffix(" revoked").unwrap_or(note).split_once(' ')?;
            Some(Held { id: id.into(), lease: lease.to_owned(), owner: Owner::named(owner) })
        });
        Ok((next, held.collect()))
    }

    /// How many tasks of these queues each owner of ours holds, by leases that are not over. Who is not there holds
    /// none; what Go's workers hold is not noted anywhere.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn held(&self, queues: &[QueueName]) -> Result<HashMap<Owner, usize>, BrokerError> {
        let mut held = HashMap::new();
        for queue in queues {
            let mut cursor = 0;
            loop {
                let (next, found) = self.held_from("see who holds tasks", queue, cursor).await?;
                let now = self.now_in(queue.as_str()).as_second();
                let is_over = |lease: &str| lease.parse::<i64>().is_ok_and(|lease| lease < now);
                for held_one in found.into_iter().filter(|held| !is_over(&held.lease)) {
                    *held.entry(held_one.owner).or_default() += 1;
                }
                if next == 0 {
                    break;
                }
                cursor = next;
            }
        }
        Ok(held)
    }

    /// Whether an owner is told to take no more work from a queue.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn is_cordoned(&self, queue: &QueueName, owner: &Owner) -> Result<bool, BrokerError> {
        let mut pipe = redis::pipe();
        pipe.exists(QueueKeys::new(queue).cordon(owner.as_str()));
        let (exists,): (bool,) = self.pipe("read a cordon", queue.as_str(), &pipe).await?;
        Ok(exists)
    }

    /// Tells owners to take no more work from queues, for as long as `life`. From then on they hold at most what they
    /// hold at that moment.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn cordon(
        &self,
        queues: &[QueueName],
        owners: &[Owner],
        life: Duration,
    ) -> Result<(), BrokerError> {
        self.each_cordon("cordon workers", queues, owners, |pipe, cordon| {
            pipe.pset_ex(cordon, 1, millis(life)).ignore();
        })
        .await
    }

    /// Takes cordons away.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn uncordon(&self, queues: &[QueueName], owners: &[Owner]) -> Result<(), BrokerError> {
        self.each_cordon("uncordon workers", queues, owners, |pipe, cordon| {
            pipe.del(cordon).ignore();
        })
        .await
    }

    /// Does the same with the cordon of each of these owners in each of these queues.
    async fn each_cordon(
        &self,
        doing: &'static str,
        queues: &[QueueName],
        owners: &[Owner],
        put: impl Fn(&mut Pipeline, String),
    ) -> Result<(), BrokerError> {
        let mut pipe = redis::pipe();
        for queue in queues {
            owners.iter().for_each(|owner| put(&mut pipe, QueueKeys::new(queue).cordon(owner.as_str())));
        }
        match pipe.is_empty() {
            true => Ok(()),
            false => self.pipe(doing, "*", &pipe).await,
        }
    }
}
