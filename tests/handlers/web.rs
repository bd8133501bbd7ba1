//! A web server of one test, and a worker of ours that hands it tasks.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::Response;
use cronmill::broker::{Broker, TaskView};
use cronmill::handlers::http::{HttpConfig, HttpHandler};
use cronmill::handlers::{HandlersConfig, register_all};
use cronmill::producer::{Client, Task};
use cronmill::task::{QueueName, State};
use cronmill::worker::{Mux, Server, WorkerStats};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::support::tls::Certificates;
use crate::support::{RedisServer, eventually};

pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A real web server on a port of its own. Dropping it closes the port.
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    serving: JoinHandle<()>,
}

impl Web {
    /// Serves these answers to whatever is asked.
    pub(crate) async fn start(answer: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, router) = router(answer);
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, seen, serving }
    }

    /// The same over TLS.
    pub(crate) async fn tls(
        certificates: &Certificates,
        answer: impl Fn(&Seen) -> Response + Send + Sync + 'static,
    ) -> Self {
        let chain = CertificateDer::pem_file_iter(&certificates.certificate).unwrap();
        let key = PrivateKeyDer::from_pem_file(&certificates.key).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth();
        let config = config.with_single_cert(chain.map(Result::unwrap).collect(), key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = TlsListener { listener, acceptor: TlsAcceptor::from(Arc::new(config)) };
        let (seen, router) = router(answer);
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, seen, serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

type Log = Arc<Mutex<Vec<Seen>>>;

fn router(answer: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> (Log, Router) {
    let seen = Log::default();
    let (log, answer) = (Arc::clone(&seen), Arc::new(answer));
    let router = Router::new().fallback(move |request: Request| {
        let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
        async move {
            let (head, body) = request.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap();
            let seen = Seen { line: format!("{} {}", head.method, head.uri), headers: head.headers, body };
            log.lock().unwrap().push(seen.clone());
            answer(&seen)
        }
    });
    (seen, router)
}

struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            // A client that does not trust us ends here.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// An answer with a status, headers and a body.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body.into()).unwrap()
}

/// A Redis and a worker of ours on it that hands tasks to web servers.
pub(crate) struct Field {
    _redis: RedisServer,
    pub(crate) broker: Broker,
    pub(crate) stats: Arc<WorkerStats>,
    queue: QueueName,
    token: CancellationToken,
}

impl Field {
    /// With a target `web` at this URL.
    pub(crate) async fn to(url: &str) -> Self {
        let targets = format!("web={url}").parse().unwrap();
        Self::with(HttpConfig { targets, ..HttpConfig::default() }).await
    }

    pub(crate) async fn with(config: HttpConfig) -> Self {
        let redis = RedisServer::start();
        let broker = Broker::connect(&redis.endpoint()).await.unwrap();
        let mut mux = Mux::new();
        let http = Some(HttpHandler::new(config).unwrap());
        register_all(&mut mux, HandlersConfig { http, ..HandlersConfig::default() }).unwrap();
        let server =
            Server::builder(broker.clone()).concurrency(8).retry_delay(|_, _, _| Duration::from_secs(600));
        let server = server.build().unwrap();
        let (stats, token) = (server.stats(), CancellationToken::new());
        let stop = token.clone();
        tokio::spawn(async move { server.run(mux, stop).await.unwrap() });
        Self { _redis: redis, broker, stats, queue: QueueName::new("default").unwrap(), token }
    }

    /// The file of a CA, as the worker would read it.
    pub(crate) fn pem(file: &Path) -> Option<Vec<u8>> {
        Some(std::fs::read(file).unwrap())
    }

    pub(crate) async fn send(&self, task: Task) {
        Client::new(self.broker.clone()).enqueue(task.retention(Duration::from_secs(600))).await.unwrap();
    }

    /// Sends a task of the type `http:web` under this id.
    pub(crate) async fn post(&self, id: &str) {
        self.send(Task::new("http:web", Bytes::from_static(b"{}")).id(id)).await;
    }

    pub(crate) async fn look(&self, id: &str) -> TaskView {
        self.broker.task(&self.queue, id).await.unwrap().expect("it is kept")
    }

    /// Waits until a task is in this state.
    pub(crate) async fn reaches(&self, id: &str, state: State) -> TaskView {
        eventually(LIMIT, &format!("task {id} is {state}"), async || {
            Some(self.look(id).await).filter(|view| view.state == state)
        })
        .await
    }

    pub(crate) fn queue(&self) -> &QueueName {
        &self.queue
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        self.token.cancel();
    }
}
