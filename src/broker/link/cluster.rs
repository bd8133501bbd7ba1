//! The nodes of a cluster and the slots they hold, kept up to date.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::future::select_ok;
use redis::aio::{ConnectionLike, ConnectionManager};
use redis::{Client, ConnectionAddr, ConnectionInfo, RedisError, RedisResult, Value, make_extension_error};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::super::clock::Clock;
use super::super::endpoint::Endpoint;
use super::slot::SLOTS;
use super::{CONNECT_TIMEOUT, manager_config, within};

/// How long one node may take to say who holds what.
const ASK_LIMIT: Duration = Duration::from_secs(1);
/// Least time between two looks at the slots.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A node that holds slots, or has held some.
pub(super) struct Node {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) connection: ConnectionManager,
    pub(super) client: Client,
    pub(super) clock: Arc<Clock>,
}

impl Node {
    pub(super) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// Who holds which slot, at one moment.
#[derive(Clone)]
struct Map {
    nodes: Vec<Arc<Node>>,
    /// For each slot the place of its node among `nodes`.
    owners: Box<[Option<u16>]>,
}

/// What is known of a cluster.
pub(super) struct Cluster {
    endpoint: Endpoint,
    seeds: Vec<ConnectionInfo>,
    map: RwLock<Arc<Map>>,
    /// The map may be out of date.
    stale: Notify,
    /// Counts the maps in which masters changed.
    pub(super) moves: watch::Sender<u64>,
    /// Where to begin when any node will do.
    turn: AtomicUsize,
}

impl Cluster {
    /// Learns who holds what from whoever of the seeds answers first.
    pub(super) async fn open(endpoint: &Endpoint, seeds: &[ConnectionInfo]) -> RedisResult<Arc<Self>> {
        let empty = Map { nodes: Vec::new(), owners: vec![None; SLOTS].into() };
        let cluster = Self {
            endpoint: endpoint.clone(),
            seeds: seeds.to_vec(),
            map: RwLock::new(Arc::new(empty)),
            stale: Notify::new(),
            moves: watch::Sender::new(0),
            turn: AtomicUsize::new(0),
        };
        cluster.look().await?;
        Ok(Arc::new(cluster))
    }

    /// Keeps the map up to date.
    pub(super) async fn follow(&self) {
        let mut pause = LOOK_AGAIN;
        loop {
            self.stale.notified().await;
            while let Err(error) = self.look().await {
                tracing::debug!("cannot read the slots of the cluster: {error}");
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            pause = LOOK_AGAIN;
            sleep(LOOK_AGAIN).await;
        }
    }

    /// The map is to be read again.
    pub(super) fn doubt(&self) {
        self.stale.notify_one();
    }

    /// All nodes that hold slots.
    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        self.map().nodes.clone()
    }

    /// The nodes, beginning with another one each time a node was [passed over](Self::pass_over).
    pub(super) fn nodes_in_turn(&self) -> Vec<Arc<Node>> {
        let mut nodes = self.nodes();
        if !nodes.is_empty() {
            let first = self.turn.load(Ordering::Relaxed) % nodes.len();
            nodes.rotate_left(first);
        }
        nodes
    }

    pub(super) fn pass_over(&self) {
        self.turn.fetch_add(1, Ordering::Relaxed);
    }

    /// The node that holds a slot.
    pub(super) fn owner(&self, slot: u16) -> RedisResult<Arc<Node>> {
        let map = self.map();
        let owner = map.owners[usize::from(slot)].and_then(|place| map.nodes.get(usize::from(place)));
        owner.cloned().ok_or_else(|| {
            self.doubt();
            make_extension_error(
                "CLUSTERDOWN".into(),
                Some(format!("no node of the cluster holds slot {slot}")),
            )
        })
    }

    /// The node at an address that another node named.
    pub(super) fn node_at(&self, host: &str, port: u16) -> RedisResult<Arc<Node>> {
        let known = self.map().nodes.iter().find(|node| node.host == host && node.port == port).cloned();
        match known {
            Some(node) => Ok(node),
            None => self.new_node(host, port),
        }
    }

    /// Takes note that a slot has a new owner, until the map is read again.
    pub(super) fn moved(&self, slot: u16, owner: &Arc<Node>) {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let mut new = Map::clone(&map);
        let place = new.place_of(owner);
        new.owners[usize::from(slot)] = Some(place);
        *map = Arc::new(new);
        drop(map);
        self.doubt();
    }

    fn map(&self) -> Arc<Map> {
        Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn new_node(&self, host: &str, port: u16) -> RedisResult<Arc<Node>> {
        let client = self.endpoint.client(self.endpoint.server_at(host, port))?;
        let connection = client.get_connection_manager_lazy(manager_config(0))?;
        let clock = Arc::new(Clock::default());
        Ok(Arc::new(Node { host: host.to_owned(), port, connection, client, clock }))
    }

    /// Reads the map from the first node that can tell.
    async fn look(&self) -> RedisResult<()> {
        let known = self.nodes_in_turn();
        // Another one first next time: one that is cut off from the others knows old news only.
        self.pass_over();
        let mut refused = None;
        for node in known {
            let mut connection = node.connection.clone();
            match within(ASK_LIMIT, ask(&mut connection, &node.host)).await {
                Ok(ranges) => return self.learn(ranges),
                Err(error) => refused = Some(error),
            }
        }
        let asked = self.seeds.iter().map(|seed| Box::pin(self.ask_seed(seed)));
        match select_ok(asked).await {
            Ok((ranges, _)) => self.learn(ranges),
            Err(error) => Err(refused.unwrap_or(error)),
        }
    }

    async fn ask_seed(&self, seed: &ConnectionInfo) -> RedisResult<Vec<Range>> {
        let host = match seed.addr() {
            ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
            _ => String::new(),
        };
        let client = self.endpoint.client(seed.clone())?;
        let ask = async {
            let mut connection = client.get_multiplexed_async_connection().await?;
            ask(&mut connection, &host).await
        };
        within(CONNECT_TIMEOUT, ask).await
    }

    /// Puts a new map in the place of the old one; nodes that stay keep their connections.
    fn learn(&self, ranges: Vec<Range>) -> RedisResult<()> {
        let mut new = Map { nodes: Vec::new(), owners: vec![None; SLOTS].into() };
        for range in ranges {
            let node = self.node_at(&range.host, range.port)?;
            let place = new.place_of(&node);
            new.owners[usize::from(range.first)..=usize::from(range.last)].fill(Some(place));
        }
        let addresses = |map: &Map| {
            let mut addresses: Vec<_> = map.nodes.iter().map(|node| node.address()).collect();
            addresses.sort();
            addresses
        };
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let is_other = addresses(&map) != addresses(&new);
        *map = Arc::new(new);
        drop(map);
        if is_other {
            self.moves.send_modify(|moves| *moves += 1);
        }
        Ok(())
    }
}

impl Map {
    /// The place of a node among the nodes; it gets one if it has none.
    fn place_of(&mut self, node: &Arc<Node>) -> u16 {
        let is_it = |known: &Arc<Node>| known.host == node.host && known.port == node.port;
        let place = self.nodes.iter().position(is_it).unwrap_or_else(|| {
            self.nodes.push(Arc::clone(node));
            self.nodes.len() - 1
        });
        u16::try_from(place).expect("a cluster has fewer nodes than slots")
    }
}

/// Slots in a row that one master holds.
struct Range {
    first: u16,
    last: u16,
    host: String,
    port: u16,
}

/// Asks a node who holds what; `host` is where the node itself was reached.
async fn ask(connection: &mut impl ConnectionLike, host: &str) -> RedisResult<Vec<Range>> {
    let mut command = redis::cmd("CLUSTER");
    command.arg("SLOTS");
    let rows: Vec<Vec<Value>> = command.query_async(connection).await?;
    let ranges: Vec<Range> = rows.into_iter().filter_map(|row| range(row, host)).collect();
    match ranges.is_empty() {
        true => {
            Err(make_extension_error("CLUSTERDOWN".into(), Some("no node of the cluster holds slots".into())))
        }
        false => Ok(ranges),
    }
}

/// First slot, last slot, then the master and its replicas, each with host and port.
fn range(row: Vec<Value>, asked: &str) -> Option<Range> {
    let mut row = row.into_iter();
    let mut slot =
        || redis::from_redis_value::<u16>(row.next()?).ok().filter(|slot| usize::from(*slot) < SLOTS);
    let (first, last) = (slot()?, slot()?);
    let mut master: Vec<Value> = redis::from_redis_value(row.next()?).ok()?;
    if master.len() < 2 || first > last {
        return None;
    }
    let port: u16 = redis::from_redis_value(master.swap_remove(1)).ok()?;
    let host: Option<String> = redis::from_redis_value(master.swap_remove(0)).ok()?;
    let host = match host.as_deref() {
        // The node does not know by which name others reach it; we have reached it.
        None | Some("") => asked.to_owned(),
        Some("?") => return None,
        Some(host) => host.to_owned(),
    };
    Some(Range { first, last, host, port })
}

/// The node that an error sends us to: slot, host, port.
pub(super) fn redirect(error: &RedisError, asked: &str) -> Option<(u16, String, u16)> {
    let (address, slot) = error.redirect_node()?;
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = if host.is_empty() { asked } else { host };
    Some((slot, host.to_owned(), port.parse().ok()?)).filter(|(slot, ..)| usize::from(*slot) < SLOTS)
}
