//! A proxy that cuts connections after Redis has done what it was asked, and before it can say so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Forwards to a Redis.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    cuts: Arc<AtomicUsize>,
}

impl Proxy {
    /// Swallows replies that contain `mark` and cuts their connections, at most `cuts` times.
    pub(crate) async fn start(redis_port: u16, mark: &'static str, cuts: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let left = Arc::new(AtomicUsize::new(cuts));
        let cuts = Arc::clone(&left);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", redis_port)).await.expect("redis answers");
                tokio::spawn(forward(client, server, mark, Arc::clone(&left)));
            }
        });
        Self { port, cuts }
    }

    /// How many cuts are still to come.
    pub(crate) fn left(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

async fn forward(client: TcpStream, server: TcpStream, mark: &'static str, cuts: Arc<AtomicUsize>) {
    client.set_nodelay(true).expect("a socket");
    server.set_nodelay(true).expect("a socket");
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let asking = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = match from_server.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => read,
        };
        let is_marked = buffer[..read].windows(mark.len()).any(|window| window == mark.as_bytes());
        let is_cut = |left: usize| left.checked_sub(1);
        if is_marked && cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, is_cut).is_ok() {
            break;
        }
        if to_client.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    asking.abort();
}
