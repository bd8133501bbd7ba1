//! `cronmill shop serve`: the services until they are told to end.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Error;
use clap::Args;

use super::database::DatabaseArgs;
use crate::broker::Endpoint;
use crate::cli::args::{Listen, LogArgs, RedisArgs};
use crate::cli::connect;
use crate::cli::exit::Failure;
use crate::cli::probes::Probes;
use crate::producer::Client;
use crate::shop::{self, Options, ServeError, TlsFiles};
use crate::shutdown::{Signals, signals};
use crate::task::QueueName;
use crate::telemetry::{Health, Metrics, Readiness};

/// Serve orders, resources and payments over gRPC, with health and reflection.
///
/// Orders are taken while Redis is away; the tasks that close them wait in the database meanwhile. Any number of
/// replicas may share a PostgreSQL; a SQLite file belongs to one process.
///
/// SIGTERM or SIGINT drains: calls under way get 10 s to end.
///
/// Exit codes: 0 drained, 2 wrong flag, URL, password, certificate, Redis or tables, 3 failure.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct ServeArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Where to serve gRPC.
    #[arg(long, env = "CRONMILL_SHOP_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// PEM file of the certificate to show, with those that lead to its authority; plain text when absent.
    #[arg(long, env = "CRONMILL_SHOP_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file of the certificate's private key.
    #[arg(long, env = "CRONMILL_SHOP_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    #[command(flatten)]
    redis: RedisArgs,
    /// The queue of the tasks that close unpaid orders.
    #[arg(long, env = "CRONMILL_SHOP_QUEUE", value_name = "NAME", default_value = "default")]
    queue: String,
    /// Where to serve /metrics, /livez and /readyz: ip:port or :port; nowhere when absent or empty.
    #[arg(
        long,
        env = "CRONMILL_LISTEN",
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    metrics_listen: Listen,
    #[command(flatten)]
    log: LogArgs,
}

impl ServeArgs {
    /// Runs until it is told to end.
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let queue = QueueName::new(&self.queue);
        queue.map_err(|error| Failure::usage(error).context("--queue or CRONMILL_SHOP_QUEUE"))?;
        let endpoint = self.redis.endpoint()?;
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
        let serving = Arc::new(AtomicBool::new(false));
        self.log.init()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| Failure::failed(error).context("start the runtime"))?;
        let ran = runtime.block_on(async {
            // Opened here, since connections belong to a runtime.
            let options = Options {
                store: self.database.store()?,
                listen: self.listen,
                tls: self.tls_cert.zip(self.tls_key).map(|(certificate, key)| TlsFiles { certificate, key }),
                queue: self.queue,
                metrics: metrics.clone(),
                serving: Arc::clone(&serving),
            };
            run(options, endpoint, self.metrics_listen.0).await
        });
        // A statement of SQLite that would not stop does not hold us up.
        runtime.shutdown_timeout(Duration::from_secs(1));
        ran
    }
}

async fn run(options: Options, endpoint: Endpoint, listen: Option<SocketAddr>) -> Result<(), Failure> {
    let signals = signals().map_err(|error| Failure::failed(error).context("listen for signals"))?;
    let health = Health::new(readiness(&options.serving));
    let probes = Probes::start(listen, &options.metrics, health).await?;
    let ran = serve(options, endpoint, &signals).await;
    // Only now: while calls end, probes are answered.
    probes.end().await;
    ran
}

async fn serve(options: Options, endpoint: Endpoint, signals: &Signals) -> Result<(), Failure> {
    let refusal = Arc::new(std::sync::Mutex::new(None));
    let (stop, told) = (signals.drain().child_token(), Arc::clone(&refusal));
    let connecting = {
        let stop = stop.clone();
        async move {
            match connect::patiently(&endpoint, &stop).await {
                Ok(broker) => broker.map(Client::new),
                // A Redis that will never do: the shop could take orders and never close one.
                Err(failure) => {
                    *told.lock().expect("nobody panics while holding it") = Some(failure);
                    stop.cancel();
                    None
                }
            }
        }
    };
    let served = tokio::select! {
        served = shop::serve(options, connecting, stop) => served.map_err(failed),
        () = signals.leave().cancelled() => Err(Failure::failed(Error::msg(
            "left at the third signal; calls under way were cut off, and nothing is half done",
        ))),
    };
    let refused = refusal.lock().expect("nobody panics while holding it").take();
    refused.map_or(served, Err)
}

fn failed(error: ServeError) -> Failure {
    if error.is_retryable() { Failure::failed(error) } else { Failure::usage(error) }
}

fn readiness(serving: &Arc<AtomicBool>) -> impl Fn() -> Readiness + Send + Sync + 'static {
    let serving = Arc::clone(serving);
    move || {
        if serving.load(Ordering::Acquire) {
            Readiness::Ready
        } else {
            Readiness::NotReady(Cow::Borrowed("the database does not answer, or calls are no longer taken"))
        }
    }
}
