//! Each command to the node that holds its key.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use redis::aio::ConnectionLike;
use redis::{
    Arg, Client, Cmd, ConnectionInfo, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value,
};
use tokio::sync::watch;
use tokio::time::sleep;

use super::super::clock::Clock;
use super::super::endpoint::Endpoint;
use super::super::keys;
use super::cluster::{Cluster, Node, redirect};
use super::slot::{is_script, key_of, slot_of, slot_of_queue, tag_of};
use super::{Abort, Link, Shard};

/// Nodes a command is sent on to at most.
const REDIRECTS: usize = 8;
/// How often a command that a node cannot run for now is tried again, before its caller hears of it.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// The nodes of a cluster as one.
#[derive(Clone)]
pub(in crate::broker) struct Routed {
    cluster: Arc<Cluster>,
    /// The node that answered last: what has no key and belongs to the command before, goes there.
    last: Option<Arc<Node>>,
    /// Ends the watch over the slots with the last of these.
    _watch: Arc<Abort>,
}

impl Routed {
    pub(super) async fn open(endpoint: &Endpoint, seeds: &[ConnectionInfo]) -> RedisResult<Self> {
        let cluster = Cluster::open(endpoint, seeds).await?;
        let followed = Arc::clone(&cluster);
        let task = tokio::spawn(async move { followed.follow().await });
        Ok(Self { cluster, last: None, _watch: Arc::new(Abort(task.abort_handle())) })
    }

    pub(in crate::broker) fn shards(&self) -> Vec<Shard> {
        self.cluster.nodes().iter().map(shard).collect()
    }

    pub(super) fn shard_of(&self, queue: &str) -> RedisResult<Shard> {
        Ok(shard(&self.cluster.owner(slot_of_queue(queue))?))
    }

    pub(super) fn clock_of(&self, queue: &str) -> Option<Arc<Clock>> {
        self.cluster.owner(slot_of_queue(queue)).ok().map(|node| Arc::clone(&node.clock))
    }

    pub(super) fn client(&self, key: Option<&[u8]>) -> RedisResult<Client> {
        match key {
            Some(key) => Ok(self.cluster.owner(slot_of(key))?.client.clone()),
            None => match self.cluster.nodes_in_turn().first() {
                Some(node) => Ok(node.client.clone()),
                None => Ok(self.cluster.owner(0)?.client.clone()),
            },
        }
    }

    pub(super) fn moves(&self) -> watch::Receiver<u64> {
        self.cluster.moves.subscribe()
    }

    /// Takes note of an error met on a connection of somebody's own.
    pub(super) fn note(&self, error: &RedisError) {
        if error.is_io_error() {
            self.cluster.pass_over();
        }
        self.cluster.doubt();
    }

    pub(super) async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        match key_of(command) {
            Some(key) => {
                let slot = slot_of(key);
                match whole_slot(command) {
                    Some(command) => self.send_to_slot(&command, slot).await,
                    None => self.send_to_slot(command, slot).await,
                }
            }
            None => self.send_to_any(command).await,
        }
    }

    /// The commands of each slot together, slots at once; answers in the order of the commands.
    pub(super) async fn send_all(
        &mut self,
        pipeline: &Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        if pipeline.is_transaction() {
            let refusal = "a transaction over a cluster is not built: use a script";
            return Err(RedisError::from((ErrorKind::Client, refusal)));
        }
        let commands: Vec<&Cmd> = pipeline.cmd_iter().collect();
        let mut slots: BTreeMap<Option<u16>, Vec<usize>> = BTreeMap::new();
        for (place, command) in commands.iter().enumerate() {
            slots.entry(key_of(command).map(slot_of)).or_default().push(place);
        }
        let parts = slots.into_iter().map(|(slot, places)| {
            let part: Vec<&Cmd> = places.iter().map(|place| commands[*place]).collect();
            let mut link = self.clone();
            async move { Ok::<_, RedisError>((places, link.send_part(slot, &part).await?)) }
        });
        let mut answers = vec![Value::Nil; commands.len()];
        for (places, values) in try_join_all(parts).await? {
            for (place, value) in places.into_iter().zip(values) {
                answers[place] = value;
            }
        }
        Ok(answers.into_iter().skip(offset).take(count).collect())
    }

    /// Sends commands of one slot in one go. What a node could not run is sent again by itself.
    async fn send_part(&mut self, slot: Option<u16>, commands: &[&Cmd]) -> RedisResult<Vec<Value>> {
        let Some(slot) = slot else {
            let mut values = Vec::with_capacity(commands.len());
            for command in commands {
                values.push(self.send_to_any(command).await?);
            }
            return Ok(values);
        };
        let node = self.cluster.owner(slot)?;
        let mut part = Pipeline::with_capacity(commands.len());
        for command in commands {
            part.add_command(whole_slot(command).unwrap_or_else(|| Cmd::clone(command)));
        }
        let sent = node.connection.clone().req_packed_commands(&part, 0, commands.len()).await;
        let mut values = sent.inspect_err(|error| self.note(error))?;
        for (value, command) in values.iter_mut().zip(commands) {
            let error = match &*value {
                Value::ServerError(_) => value.clone().extract_error().err(),
                _ => None,
            };
            if error.is_some_and(|error| Next::after(&error) != Next::Tell) {
                *value = self.send(command).await?;
            }
        }
        Ok(values)
    }

    async fn send_to_slot(&mut self, command: &Cmd, slot: u16) -> RedisResult<Value> {
        let mut node = self.cluster.owner(slot)?;
        let mut asks = false;
        let mut tries = 0;
        for _ in 0..REDIRECTS {
            let answer = if asks { ask(&node, command).await } else { tell(&node, command).await };
            self.last = Some(Arc::clone(&node));
            let Err(error) = answer else { return answer };
            asks = false;
            match Next::after(&error) {
                Next::Tell => {
                    if error.is_io_error() {
                        self.note(&error);
                    }
                    return Err(error);
                }
                Next::Moved => {
                    let Some((slot, host, port)) = redirect(&error, &node.host) else { return Err(error) };
                    node = self.cluster.node_at(&host, port)?;
                    self.cluster.moved(slot, &node);
                }
                Next::Ask => {
                    let Some((_, host, port)) = redirect(&error, &node.host) else { return Err(error) };
                    node = self.cluster.node_at(&host, port)?;
                    asks = true;
                }
                Next::Wait => {
                    self.cluster.doubt();
                    tries += 1;
                    if tries == TRIES {
                        return Err(error);
                    }
                    sleep(PAUSE * tries).await;
                    node = self.cluster.owner(slot)?;
                }
            }
        }
        let lost = "the nodes of the cluster send a command on and on".to_owned();
        Err(redis::make_extension_error("TRYAGAIN".into(), Some(lost)))
    }

    /// Sends what has no key: to where the command before it went, else to whoever answers.
    async fn send_to_any(&mut self, command: &Cmd) -> RedisResult<Value> {
        let nodes = match self.last.take() {
            Some(node) => vec![node],
            None => self.cluster.nodes_in_turn(),
        };
        let mut refused = None;
        for node in nodes {
            let answer = tell(&node, command).await;
            match answer {
                Err(error) if error.is_io_error() => {
                    self.note(&error);
                    refused = Some(error);
                }
                answer => return answer,
            }
        }
        let nobody =
            || redis::make_extension_error("CLUSTERDOWN".into(), Some("no node is known".to_owned()));
        Err(refused.unwrap_or_else(nobody))
    }
}

fn shard(node: &Arc<Node>) -> Shard {
    Shard {
        address: node.address(),
        link: Link::Single(node.connection.clone()),
        clock: Some(Arc::clone(&node.clock)),
    }
}

async fn tell(node: &Node, command: &Cmd) -> RedisResult<Value> {
    node.connection.clone().req_packed_command(command).await.and_then(Value::extract_error)
}

/// Asks a node that is about to take over a slot. Both commands must arrive one after the other.
async fn ask(node: &Node, command: &Cmd) -> RedisResult<Value> {
    let mut pipe = Pipeline::with_capacity(2);
    pipe.cmd("ASKING").add_command(command.clone());
    let answers = node.connection.clone().req_packed_commands(&pipe, 1, 1).await?;
    answers.into_iter().next().unwrap_or(Value::Nil).extract_error()
}

/// What to do about an error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Another node holds the slot.
    Moved,
    /// Another node is about to hold the slot and holds this key.
    Ask,
    /// The node could not run the command for now, and has not.
    Wait,
    /// Nothing: the caller decides.
    Tell,
}

impl Next {
    fn after(error: &RedisError) -> Self {
        let ErrorKind::Server(kind) = error.kind() else { return Self::Tell };
        match kind {
            ServerErrorKind::Moved => Self::Moved,
            ServerErrorKind::Ask => Self::Ask,
            ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ReadOnly
            | ServerErrorKind::BusyLoading => Self::Wait,
            _ => Self::Tell,
        }
    }
}

/// A script's call with one key more, which never exists. Scripts touch keys that are known at run time only,
/// and of a slot on its way some are here and some are there. For a call that names a key which is not there,
/// Redis says `TRYAGAIN` until the slot has arrived: so no script runs on half a queue.
fn whole_slot(command: &Cmd) -> Option<Cmd> {
    let mut words = command.args_iter().map(|word| match word {
        Arg::Simple(bytes) => bytes,
        _ => b"",
    });
    let name = words.next().filter(|name| is_script(name))?;
    let script = words.next()?;
    let count: usize = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
    let mut whole = Cmd::with_capacity(command.args_iter().len() + 1, script.len());
    whole.arg(name).arg(script).arg(count + 1);
    let mut tag = None;
    for (place, word) in words.enumerate() {
        if place == 0 {
            tag = tag_of(word).and_then(|tag| std::str::from_utf8(tag).ok());
        }
        if place == count {
            whole.arg(keys::never(tag?));
        }
        whole.arg(word);
    }
    if command.args_iter().len() == count + 3 {
        whole.arg(keys::never(tag?));
    }
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(command: &Cmd) -> String {
        String::from_utf8_lossy(&command.get_packed_command()).replace("\r\n", " ")
    }

    #[test]
    fn a_script_names_a_key_that_never_exists() {
        let mut call = redis::cmd("EVALSHA");
        call.arg("hash").arg(2).arg("asynq:{a b}:pending").arg("asynq:{a b}:active").arg("x");
        let whole = whole_slot(&call).expect("a script");
        let mut expected = redis::cmd("EVALSHA");
        expected.arg("hash").arg(3).arg("asynq:{a b}:pending").arg("asynq:{a b}:active");
        expected.arg("cronmill:{a b}:never").arg("x");
        assert_eq!(packed(&whole), packed(&expected));

        let mut call = redis::cmd("EVALSHA");
        call.arg("hash").arg(1).arg("asynq:{q}:lease");
        let mut expected = redis::cmd("EVALSHA");
        expected.arg("hash").arg(2).arg("asynq:{q}:lease").arg("cronmill:{q}:never");
        assert_eq!(packed(&whole_slot(&call).expect("a script")), packed(&expected));
        assert!(whole_slot(redis::cmd("GET").arg("{a}")).is_none());
    }
}
