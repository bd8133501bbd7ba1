//! A TCP proxy in front of Redis that breaks what passes through it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

type Predicate = Box<dyn FnMut(&[u8]) -> bool + Send>;

/// One thing to break. It happens once unless [`Fault::times`] says otherwise.
pub struct Fault {
    point: Point,
    when: Predicate,
    left: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Point {
    BeforeRequest,
    InReply(usize),
    OnReply,
}

impl Fault {
    /// Cuts the connection in place of a request: Redis never sees it.
    ///
    /// `when` looks at what arrives in one read, for a small command the whole of it.
    pub fn before_request(when: impl FnMut(&[u8]) -> bool + Send + 'static) -> Self {
        Self { point: Point::BeforeRequest, when: Box::new(when), left: 1 }
    }

    /// Passes a request on, then cuts the connection after `bytes` of what Redis answers next: Redis has done
    /// the work and the client does not know.
    pub fn in_reply_to(when: impl FnMut(&[u8]) -> bool + Send + 'static, bytes: usize) -> Self {
        Self { point: Point::InReply(bytes), when: Box::new(when), left: 1 }
    }

    /// Cuts the connection in place of a reply that fits.
    pub fn on_reply(when: impl FnMut(&[u8]) -> bool + Send + 'static) -> Self {
        Self { point: Point::OnReply, when: Box::new(when), left: 1 }
    }

    /// How often it happens in all.
    pub fn times(mut self, times: usize) -> Self {
        self.left = times;
        self
    }

    /// Whether it is to strike these bytes, which belong to a request or to a reply.
    fn fits(&mut self, bytes: &[u8], request: bool) -> bool {
        self.left > 0 && (self.point != Point::OnReply) == request && (self.when)(bytes)
    }
}

/// Whether bytes contain a text, for the predicates of faults.
pub fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[derive(Default)]
struct Rules {
    faults: Vec<Fault>,
    refusing: bool,
    delay: Duration,
}

struct Shared {
    rules: Mutex<Rules>,
    host: Ipv4Addr,
    /// Where new connections lead.
    target: AtomicU16,
    cuts: AtomicUsize,
    accepted: AtomicUsize,
    /// Changes when every open connection is to be cut.
    generation: watch::Sender<u64>,
}

impl Shared {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().expect("no predicate panics")
    }

    /// The fault that strikes now, if any; it is used up by that.
    fn strikes(&self, bytes: &[u8], request: bool) -> Option<Point> {
        let mut rules = self.rules();
        let fault = rules.faults.iter_mut().find_map(|fault| fault.fits(bytes, request).then_some(fault))?;
        fault.left -= 1;
        Some(fault.point)
    }
}

/// A proxy on a port of its own. Dropping it closes the port and every connection through it.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens, and passes everything on to a port of this machine.
    pub async fn to(port: u16) -> Self {
        Self::to_host(Ipv4Addr::LOCALHOST, port).await
    }

    /// Listens, and passes everything on to a port of another address.
    pub async fn to_host(host: Ipv4Addr, port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound above");
        let shared = Arc::new(Shared {
            rules: Mutex::default(),
            host,
            target: AtomicU16::new(port),
            cuts: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
            generation: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, accepting }
    }

    /// `redis://127.0.0.1:PORT/0`.
    pub fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Leads new connections to another port. Those there are go on as they do.
    pub fn lead_to(&self, port: u16) {
        self.shared.target.store(port, Ordering::SeqCst);
    }

    /// Adds a fault to those that wait to happen.
    pub fn inject(&self, fault: Fault) {
        self.shared.rules().faults.push(fault);
    }

    /// Holds every reply back for that long.
    pub fn delay_replies(&self, delay: Duration) {
        self.shared.rules().delay = delay;
    }

    /// Refuses new connections from now on, or takes them again.
    pub fn refuse(&self, refusing: bool) {
        self.shared.rules().refusing = refusing;
    }

    /// Cuts every open connection.
    pub fn cut_all(&self) {
        self.shared.generation.send_modify(|generation| *generation += 1);
    }

    /// Removes every fault, delay and refusal.
    pub fn heal(&self) {
        *self.shared.rules() = Rules::default();
    }

    /// How many connections faults have cut so far.
    pub fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::SeqCst)
    }

    /// How many connections were taken so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Takes connections until aborted; the set of their tasks dies with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        if shared.rules().refusing {
            continue;
        }
        // Before it is counted: whoever sees it may cut it.
        let generation = shared.generation.subscribe();
        shared.accepted.fetch_add(1, Ordering::SeqCst);
        let target = shared.target.load(Ordering::SeqCst);
        connections.spawn(serve(client, target, Arc::clone(&shared), generation));
        while connections.try_join_next().is_some() {}
    }
}

/// Passes bytes both ways until one side closes or a fault cuts both.
async fn serve(client: TcpStream, port: u16, shared: Arc<Shared>, mut generation: watch::Receiver<u64>) {
    let Ok(server) = TcpStream::connect((shared.host, port)).await else { return };
    // Without this the kernel would hold small writes back, as no real network in between would.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // How many bytes of replies may still pass; none while no fault is under way.
    let budget = Mutex::new(None);
    let cut = tokio::select! {
        cut = requests(from_client, to_server, &shared, &budget) => cut,
        cut = replies(from_server, to_client, &shared, &budget) => cut,
        _ = generation.changed() => false,
    };
    if cut {
        shared.cuts.fetch_add(1, Ordering::SeqCst);
    }
}

type Budget = Mutex<Option<usize>>;

/// Passes requests on; true when a fault ends the connection.
async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared, budget: &Budget) -> bool {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        match shared.strikes(&buffer[..length], true) {
            Some(Point::BeforeRequest) => return true,
            Some(Point::InReply(bytes)) => *budget.lock().expect("never poisoned") = Some(bytes),
            Some(Point::OnReply) | None => {}
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return false;
        }
    }
    false
}

/// Passes replies back; true when a fault ends the connection.
async fn replies(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared, budget: &Budget) -> bool {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let delay = shared.rules().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if shared.strikes(&buffer[..length], false).is_some() {
            return true;
        }
        let allowed = *budget.lock().expect("never poisoned");
        let passing = allowed.map_or(length, |bytes| bytes.min(length));
        if to.write_all(&buffer[..passing]).await.is_err() {
            return false;
        }
        if let Some(bytes) = allowed {
            if passing == bytes {
                return true;
            }
            *budget.lock().expect("never poisoned") = Some(bytes - passing);
        }
    }
    false
}
