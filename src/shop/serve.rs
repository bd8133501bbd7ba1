//! The services put together: tables made, health told, tasks relayed, calls answered, and all of it ended.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::order::Orders;
use super::outbox::Relay;
use super::resources::Resources;
use super::store::{Store, StoreError};
use super::trade::Trade;
use crate::causes;
use crate::producer::Client;
use crate::rpc::DESCRIPTORS;
use crate::rpc::order::v1::order_service_server::{self, OrderServiceServer};
use crate::rpc::resources::v1::resources_service_server::{self, ResourcesServiceServer};
use crate::rpc::trade::v1::trade_service_server::{self, TradeServiceServer};
use crate::telemetry::Metrics;

/// The largest request: the totals of the largest batch.
const REQUEST_BYTES_MAX: usize = 16 << 20;
/// Calls on one connection at once; its client has the others wait. Very many unread small messages would be taken for an
/// attack, and the connection cut.
const CALLS_PER_CONNECTION: u32 = 200;
/// How long calls under way get when the process is told to end.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);
/// How often the database is asked for a sign of life, and how long it has for it.
const PROBE: Duration = Duration::from_secs(1);
const PROBE_LIMIT: Duration = Duration::from_secs(3);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The names under which health is asked for; the empty one means all.
const NAMES: [&str; 4] = [
    "",
    order_service_server::SERVICE_NAME,
    resources_service_server::SERVICE_NAME,
    trade_service_server::SERVICE_NAME,
];

/// What the services are made of.
pub struct Options {
    /// Where orders, payments and earnings are.
    pub store: Store,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The certificate to show; plain text when absent.
    pub tls: Option<TlsFiles>,
    /// The queue of the tasks that close orders.
    pub queue: String,
    /// What is told of the outbox.
    pub metrics: Metrics,
    /// Set while calls are answered: what readiness tells.
    pub serving: Arc<AtomicBool>,
}

/// A certificate with its chain, and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate, then those that lead to its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why the services do not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is not to be had.
    #[error("listen on {addr}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The certificate or its key cannot be read.
    #[error("read {}", path.display())]
    TlsFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The certificate and its key cannot be used.
    #[error(
        "serve TLS with the certificate and key given; both must be PEM, and the key that of the certificate"
    )]
    Tls(#[source] tonic::transport::Error),
    /// The database cannot be used as it is.
    #[error("prepare the database")]
    Prepare(#[source] StoreError),
    /// The server ended by itself.
    #[error("answer calls")]
    Serve(#[source] tonic::transport::Error),
    /// The descriptors of the services cannot be served.
    #[error("describe the services")]
    Describe(#[source] tonic_reflection::server::Error),
}

impl ServeError {
    /// A short fixed word for logs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Listen { .. } => "ListenFailed",
            Self::TlsFile { .. } | Self::Tls(_) => "InvalidCertificate",
            Self::Prepare(error) => error.reason(),
            Self::Serve(_) => "ServeFailed",
            Self::Describe(_) => "DescribeFailed",
        }
    }

    /// Whether the same may go well later with nothing changed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Listen { .. } | Self::Serve(_) => true,
            Self::Prepare(error) => error.is_retryable(),
            Self::TlsFile { .. } | Self::Tls(_) | Self::Describe(_) => false,
        }
    }
}

/// Serves until `drain`, then lets calls under way end.
///
/// `client` gives the way to Redis once there is one; until then, and while Redis is away, orders are taken and their
/// tasks wait in the database. A database that is away is waited for, and health says so meanwhile.
///
/// # Errors
///
/// [`ServeError`]: what waiting does not mend.
pub async fn serve(
    options: Options,
    client: impl Future<Output = Option<Client>> + Send + 'static,
    drain: CancellationToken,
) -> Result<(), ServeError> {
    let Options { store, listen, tls, queue, metrics, serving } = options;
    let mut server = Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .max_concurrent_streams(CALLS_PER_CONNECTION);
    if let Some(files) = &tls {
        server =
            server.tls_config(ServerTlsConfig::new().identity(identity(files)?)).map_err(ServeError::Tls)?;
    }
    let describing = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(ServeError::Describe)?;
    let listener =
        TcpListener::bind(listen).await.map_err(|source| ServeError::Listen { addr: listen, source })?;
    let addr = listener.local_addr().unwrap_or(listen);

    let (health, health_service) = tonic_health::server::health_reporter();
    tell(&health, &serving, false).await;
    let placed = Arc::new(Notify::new());
    // Tasks are relayed until no call is under way any more.
    let ended = CancellationToken::new();
    let relay = Relay { store: store.clone(), queue, placed: placed.clone(), metrics };
    let relaying = tokio::spawn({
        let ended = ended.clone();
        async move {
            let client = tokio::select! {
                client = client => client,
                () = ended.cancelled() => None,
            };
            if let Some(client) = client {
                relay.run(client, ended).await;
            }
        }
    });
    let watching = AbortOnDropHandle::new(tokio::spawn(watch(
        store.clone(),
        health.clone(),
        serving.clone(),
        drain.clone(),
    )));

    let trade =
        TradeServiceServer::new(Trade { store: store.clone() }).max_decoding_message_size(REQUEST_BYTES_MAX);
    let router = server
        .add_service(health_service)
        .add_service(describing)
        .add_service(OrderServiceServer::new(Orders { store: store.clone(), placed }))
        .add_service(ResourcesServiceServer::new(Resources { store: store.clone() }))
        .add_service(trade);
    tracing::info!(%addr, "serves the shop at {addr}");
    let answering =
        router.serve_with_incoming_shutdown(TcpIncoming::from(listener), drain.clone().cancelled_owned());
    let overdue = async {
        drain.cancelled().await;
        tokio::time::sleep(DRAIN_LIMIT).await;
    };
    let ran = tokio::select! {
        ran = answering => ran.map_err(ServeError::Serve),
        () = overdue => {
            tracing::warn!("calls were cut off: they did not end within {} s", DRAIN_LIMIT.as_secs());
            Ok(())
        }
        failed = watching => match failed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(ServeError::Prepare(error)),
            Err(error) => {
                tracing::error!(%error, "who watches the database ended by itself");
                Ok(())
            }
        },
    };
    serving.store(false, Ordering::Release);
    ended.cancel();
    if let Err(error) = relaying.await {
        tracing::error!(%error, "the relay of tasks ended by itself");
    }
    store.close().await;
    ran
}

fn identity(files: &TlsFiles) -> Result<Identity, ServeError> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|source| ServeError::TlsFile { path: path.clone(), source })
    };
    Ok(Identity::from_pem(read(&files.certificate)?, read(&files.key)?))
}

/// Makes the tables, then watches the database and tells of it. Ends only where waiting does not help.
async fn watch(
    store: Store,
    health: HealthReporter,
    serving: Arc<AtomicBool>,
    drain: CancellationToken,
) -> Result<(), StoreError> {
    let mut pause = PAUSE_MIN;
    while let Err(error) = store.prepare().await {
        if !error.is_retryable() {
            return Err(error);
        }
        if pause == PAUSE_MIN {
            let causes = causes::on_one_line(&error);
            tracing::warn!(reason = error.reason(), "waiting for the database: {causes}");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    tracing::info!("the database is ready");
    let mut is_up = false;
    while !drain.is_cancelled() {
        let answered = store.probe(PROBE_LIMIT).await;
        let is_up_now = answered.is_ok();
        if is_up_now != is_up {
            tell(&health, &serving, is_up_now).await;
            match answered {
                Ok(()) => tracing::info!("the database answers"),
                Err(error) => tracing::warn!(reason = error.reason(), "{}", causes::on_one_line(&error)),
            }
            is_up = is_up_now;
        }
        tokio::select! {
            () = drain.cancelled() => {}
            () = tokio::time::sleep(PROBE) => {}
        }
    }
    tell(&health, &serving, false).await;
    // The server ends, not this.
    std::future::pending().await
}

async fn tell(health: &HealthReporter, serving: &AtomicBool, is_serving: bool) {
    serving.store(is_serving, Ordering::Release);
    let status = if is_serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    for name in NAMES {
        health.set_service_status(name, status).await;
    }
}
