//! Finding and counting the tasks that a bulk step is about.

use super::bulk::Selection;
use super::keys::QueueKeys;
use super::{Broker, BrokerError};
use crate::task::{Message, QueueName, State, UNDECODABLE_TYPE};

/// Tasks read at once to see their types.
pub(super) const PAGE: usize = 100;

/// A task that was looked at.
pub(super) struct Looked {
    pub(super) id: Vec<u8>,
    /// Whether it is of the type asked for.
    pub(super) fits: bool,
    /// The lock it may hold.
    pub(super) lock: Vec<u8>,
}

struct Counting {
    seen: u64,
    fitting: u64,
}

impl Counting {
    fn add(&mut self, looked: Vec<Looked>, progress: &mut impl FnMut(u64)) {
        self.seen += looked.len() as u64;
        self.fitting += looked.iter().filter(|task| task.fits).count() as u64;
        progress(self.seen);
    }
}

impl Broker {
    /// How many tasks are selected. By type it reads each one of the state; `progress` hears how many were read.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn count_selected(
        &self,
        queue: &QueueName,
        selection: &Selection,
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<u64, BrokerError> {
        let keys = QueueKeys::new(queue);
        let Some(kind) = selection.kind.as_deref() else {
            return match selection.state {
                State::Aggregating => self.count_aggregating(queue, selection.group.as_deref()).await,
                state => self.length(queue, state).await,
            };
        };
        let mut counting = Counting { seen: 0, fitting: 0 };
        match selection.state {
            State::Pending | State::Active => {
                let list = keys.container(selection.state);
                for first in (0..self.length(queue, selection.state).await? as usize).step_by(PAGE) {
                    let ids = self.ids_of_list(queue, &list, first, PAGE).await?;
                    counting.add(self.look(queue, ids, Some(kind)).await?, &mut progress);
                }
            }
            State::Aggregating => {
                let mut names = self.group_names(queue, selection.group.as_deref());
                while let Some(some) = names.next().await? {
                    for name in some {
                        let zset = [keys.group_prefix().as_bytes(), &name].concat();
                        self.count_zset(queue, &zset, kind, &mut counting, &mut progress).await?;
                    }
                }
            }
            state => {
                let zset = keys.container(state).into_bytes();
                self.count_zset(queue, &zset, kind, &mut counting, &mut progress).await?;
            }
        }
        Ok(counting.fitting)
    }

    async fn count_zset(
        &self,
        queue: &QueueName,
        zset: &[u8],
        kind: &str,
        counting: &mut Counting,
        progress: &mut (impl FnMut(u64) + Send),
    ) -> Result<(), BrokerError> {
        let mut after = None;
        loop {
            let page = self.page_after(queue, zset, after.as_ref(), PAGE).await?;
            let Some(last) = page.last().cloned() else { return Ok(()) };
            let ids = page.into_iter().map(|place| place.id).collect();
            counting.add(self.look(queue, ids, Some(kind)).await?, progress);
            after = Some(last);
        }
    }

    /// How many ids the container of a state holds; not for aggregating tasks.
    pub(super) async fn length(&self, queue: &QueueName, state: State) -> Result<u64, BrokerError> {
        let container = QueueKeys::new(queue).container(state);
        let mut pipe = redis::pipe();
        match state {
            State::Pending | State::Active => pipe.llen(container),
            _ => pipe.zcard(container),
        };
        let (length,): (u64,) = self.pipe("count tasks", queue.as_str(), &pipe).await?;
        Ok(length)
    }

    /// Ids of a list, counted from its oldest, newest first.
    pub(super) async fn ids_of_list(
        &self,
        queue: &QueueName,
        list: &str,
        skip: usize,
        count: usize,
    ) -> Result<Vec<Vec<u8>>, BrokerError> {
        let mut pipe = redis::pipe();
        pipe.cmd("LRANGE").arg(list).arg(-((skip + count) as i64)).arg(-(skip as i64) - 1);
        let (ids,): (Vec<Vec<u8>>,) = self.pipe("read ids", queue.as_str(), &pipe).await?;
        Ok(ids)
    }

    /// Looks at tasks: whether each is of the type asked for, and which lock it may hold.
    pub(super) async fn look(
        &self,
        queue: &QueueName,
        ids: Vec<Vec<u8>>,
        kind: Option<&str>,
    ) -> Result<Vec<Looked>, BrokerError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let keys = QueueKeys::new(queue);
        let (prefix, locks) = (keys.task_prefix(), keys.unique_prefix());
        let mut pipe = redis::pipe();
        for id in &ids {
            pipe.hmget([prefix.as_bytes(), id].concat(), &["msg", "unique_key"]);
        }
        type Fields = (Option<Vec<u8>>, Option<Vec<u8>>);
        let fields: Vec<Fields> = self.pipe("read tasks", queue.as_str(), &pipe).await?;
        let look = |(id, (raw, lock)): (Vec<u8>, Fields)| {
            let message = raw.map(Message::decode);
            let found = match &message {
                Some(Ok(message)) => Some(message.kind.as_str()),
                Some(Err(_)) => Some(UNDECODABLE_TYPE),
                None => None,
            };
            let fits = kind.is_none_or(|wanted| found == Some(wanted));
            // Go leaves the field out for members of a group.
            let in_message = message.as_ref().and_then(|read| read.as_ref().ok());
            let in_message = in_message.map(|message| message.unique_key.clone().into_bytes());
            let lock = lock.or(in_message).filter(|lock| lock.starts_with(locks.as_bytes()));
            Looked { id, fits, lock: lock.unwrap_or_default() }
        };
        Ok(ids.into_iter().zip(fields).map(look).collect())
    }
}
