//! Calls that hold a Redis for long: what they take of it, without what the machine keeps it from its work.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::RedisServer;

/// Watches calls, and notes those that hold a server longer than a limit.
pub struct SlowCalls<'a> {
    nodes: Vec<&'a RedisServer>,
    limit: Duration,
    /// How many calls there were.
    pub calls: usize,
    /// What each slow one took of the server.
    pub slow: Vec<Duration>,
    /// How many were slow only by the clock: meanwhile the server waited for a processor that others had.
    pub kept_waiting: usize,
}

impl<'a> SlowCalls<'a> {
    /// Watches a server, or all nodes of a cluster.
    pub fn watch(server: &'a RedisServer, limit: Duration) -> Self {
        server.cli(["CONFIG", "SET", "slowlog-log-slower-than", &limit.as_micros().to_string()]);
        server.cli(["SLOWLOG", "RESET"]);
        Self { nodes: server.nodes().collect(), limit, calls: 0, slow: Vec::new(), kept_waiting: 0 }
    }

    /// Awaits one call and looks how long it held the server.
    pub async fn of<T>(&mut self, call: impl Future<Output = T>) -> T {
        let before: Vec<_> = self.nodes.iter().map(|node| waited(node)).collect();
        let start = Instant::now();
        let answer = call.await;
        self.calls += 1;
        // Nothing holds the server longer than its caller waits.
        if start.elapsed() >= self.limit {
            for (node, before) in self.nodes.clone().into_iter().zip(before) {
                self.note(node, waited(node) - before);
            }
        }
        answer
    }

    /// Looks how long each call of programs holds the server, which is one by itself: they get its address, by a way
    /// on which every call is seen.
    pub fn of_programs<T>(&mut self, run: impl FnOnce(&str) -> T) -> T {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("bound above");
        let (seen, is_over) = (Mutex::new(self), AtomicBool::new(false));
        let (seen, is_over) = (&seen, &is_over);
        thread::scope(|scope| {
            scope.spawn(move || {
                for client in listener.incoming() {
                    if is_over.load(Ordering::SeqCst) {
                        return;
                    }
                    let client = client.expect("a connection");
                    scope.spawn(move || relay(client, seen));
                }
            });
            let _end = End { is_over, address };
            run(&format!("redis://{address}/0"))
        })
    }

    /// Fails when more than one call in so many was slow. A virtual machine may stop now and then without a trace.
    pub fn assert_rare(&self, one_in: usize) {
        let Self { calls, slow, kept_waiting, limit, .. } = self;
        println!("{calls} calls, {} slow, {kept_waiting} kept waiting: {slow:?}", slow.len());
        assert!(*calls > 0, "there are calls to watch");
        let allowed = (calls / one_in).max(1);
        assert!(slow.len() <= allowed, "{} of {calls} calls took over {limit:?}: {slow:?}", slow.len());
    }

    /// Notes a slow call of a server that was kept waiting for so long meanwhile.
    fn note(&mut self, node: &RedisServer, kept: Duration) {
        let Some(took) = last_slow(node) else { return };
        node.cli_here(["SLOWLOG", "RESET"]);
        match took.saturating_sub(kept) {
            own if own > self.limit => self.slow.push(own),
            _ => self.kept_waiting += 1,
        }
    }
}

/// Ends the watching, also when what was watched has panicked.
struct End<'a> {
    is_over: &'a AtomicBool,
    address: SocketAddr,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Whoever takes connections looks at it when one comes.
        drop(TcpStream::connect(self.address));
    }
}

/// Since when a call may have held the server, and how long that had waited by then.
struct Since {
    at: Instant,
    waited: Duration,
    is_asked: bool,
}

/// Passes one program's calls on, and the answers back.
fn relay(client: TcpStream, seen: &Mutex<&mut SlowCalls<'_>>) {
    let node = seen.lock().expect("nobody panics while holding it").nodes[0];
    let server = TcpStream::connect(("127.0.0.1", node.port())).expect("it runs");
    for side in [&client, &server] {
        side.set_nodelay(true).expect("a socket takes it");
    }
    let since = Mutex::new(Since { at: Instant::now(), waited: waited(node), is_asked: false });
    thread::scope(|scope| {
        scope.spawn(|| {
            pass(&client, &server, || {
                let mut since = since.lock().expect("nobody panics while holding it");
                if !since.is_asked {
                    *since = Since { at: Instant::now(), waited: waited(node), is_asked: true };
                    seen.lock().expect("nobody panics while holding it").calls += 1;
                }
            })
        });
        pass(&server, &client, || {
            let mut since = since.lock().expect("nobody panics while holding it");
            let mut seen = seen.lock().expect("nobody panics while holding it");
            let kept = waited(node) - since.waited;
            if since.at.elapsed().saturating_sub(kept) >= seen.limit {
                seen.note(node, kept);
            }
            *since = Since { at: Instant::now(), waited: waited(node), is_asked: false };
        });
    });
}

/// Passes bytes on until either side ends, and calls `before` for each part.
fn pass(mut from: &TcpStream, mut to: &TcpStream, before: impl Fn()) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        before();
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    // Whoever still reads the other way is told that it is over. It may have ended already.
    for side in [from, to] {
        drop(side.shutdown(Shutdown::Both));
    }
}

/// How long a server was ready to run and had no processor, ever.
fn waited(server: &RedisServer) -> Duration {
    let pid = server.pid();
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat")).expect("a running process");
    let waited = text.split(' ').nth(1).and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(waited.expect("three numbers"))
}

/// What the last slow call of a server took by the clock.
fn last_slow(server: &RedisServer) -> Option<Duration> {
    let answer = server.cli_here(["SLOWLOG", "GET", "1"]);
    // Its number, when it began, and how long it took in µs, a line each.
    Some(Duration::from_micros(answer.lines().nth(2)?.parse().expect("a number")))
}
