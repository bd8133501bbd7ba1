//! `cronmill operator`: objects of a cluster in force.

mod retire;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Error;
use clap::{Args, Subcommand};
use secrecy::{ExposeSecret as _, SecretString};

use super::args::redis::secret;
use super::args::{Listen, LogArgs};
use super::exit::Failure;
use super::probes::Probes;
use crate::operator::{Operator, OperatorError, Options};
use crate::shutdown;
use crate::telemetry::{Health, Metrics};

/// How long the rest may take after it was told to stop.
const END_LIMIT: Duration = Duration::from_secs(20);

/// Run the operator: put the CronTasks and TaskQueues of a cluster into force.
///
/// Any number of replicas may run. Each fires schedules and keeps queues; one of them, by a Lease, also writes schedules
/// to Redis, makes and scales workers, and tells in the objects' status how they are. Objects, definitions or a Redis
/// that are missing or wrong end nothing: a condition of the object, /readyz and the log say what to do.
///
/// The API server is found by KUBECONFIG, or as in every pod.
///
/// Exit codes: 0 ended as asked, 2 a flag or URL is wrong or there is no cluster, 3 failure.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct OperatorArgs {
    #[command(subcommand)]
    command: Option<OperatorCommand>,
    /// Look after the objects of this namespace only; may be given several times. [default: all namespaces]
    #[arg(
        long = "watch-namespace",
        env = "CRONMILL_WATCH_NAMESPACE",
        value_name = "NAMESPACE",
        value_delimiter = ','
    )]
    watch_namespaces: Vec<String>,
    /// Image of the bundled worker, for TaskQueues without a pod template. [default: none, each needs a template]
    #[arg(
        long,
        env = "CRONMILL_WORKER_IMAGE",
        value_name = "IMAGE",
        default_value = "",
        hide_default_value = true
    )]
    worker_image: String,
    /// A Redis that namespaces share: redis://, rediss://, redis-sentinel:// or redis-cluster://. Everybody can read
    /// a program's flags, so put a URL with a password into the environment. [default: none]
    #[arg(
        long,
        env = "CRONMILL_SHARED_REDIS_URL",
        value_name = "URL",
        hide_env_values = true,
        value_parser = secret
    )]
    shared_redis_url: Option<SecretString>,
    /// A namespace whose TaskQueues may use the shared Redis; may be given several times. [default: none]
    #[arg(
        long = "shared-redis-namespace",
        env = "CRONMILL_SHARED_REDIS_NAMESPACE",
        value_name = "NAMESPACE",
        value_delimiter = ','
    )]
    shared_redis_namespaces: Vec<String>,
    /// A host of Redis that a TaskQueue's Secret may name; may be given several times. What Sentinels and clusters name
    /// themselves is not checked. [default: any]
    #[arg(
        long = "allowed-redis-host",
        env = "CRONMILL_ALLOWED_REDIS_HOST",
        value_name = "HOST",
        value_delimiter = ','
    )]
    allowed_redis_hosts: Vec<String>,
    /// What tells this cluster from others that use the same Redis. [default: the uid of namespace kube-system]
    #[arg(
        long,
        env = "CRONMILL_CLUSTER_ID",
        value_name = "ID",
        default_value = "",
        hide_default_value = true
    )]
    cluster_id: String,
    /// The namespace of the Lease, and of what is left to be finished. [default: that of the pod (POD_NAMESPACE) or
    /// kubeconfig]
    #[arg(
        long,
        env = "CRONMILL_LEASE_NAMESPACE",
        value_name = "NAMESPACE",
        default_value = "",
        hide_default_value = true
    )]
    lease_namespace: String,
    /// Who this replica is; no two may have the same. [default: the pod's name (POD_NAME), else host and a random id]
    #[arg(
        long,
        env = "CRONMILL_IDENTITY",
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    identity: String,
    /// Where to serve /metrics, /livez and /readyz: ip:port or :port; nowhere when empty.
    #[arg(long, env = "CRONMILL_LISTEN", value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    listen: Listen,
    /// How many writes a second may refresh what changes all the time in status, over the whole cluster.
    #[arg(
        long,
        env = "CRONMILL_STATUS_WRITES_PER_SECOND",
        value_name = "NUMBER",
        default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    status_writes_per_second: u32,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Subcommand, Debug)]
enum OperatorCommand {
    Retire(retire::RetireArgs),
}

impl OperatorArgs {
    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// [`Failure::Usage`] when a flag is wrong or nothing says where the cluster is, [`Failure::Failed`] otherwise.
    pub fn run(self) -> Result<(), Failure> {
        if let Some(OperatorCommand::Retire(args)) = self.command {
            return args.run();
        }
        self.log.init()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| Failure::failed(error).context("start the runtime"))?;
        let ran = runtime.block_on(self.serve());
        // What still hangs on a Redis or an API server that is silent does not hold us up.
        runtime.shutdown_timeout(Duration::from_secs(1));
        ran
    }

    async fn serve(self) -> Result<(), Failure> {
        let signals = shutdown::signals();
        let signals = signals.map_err(|error| Failure::failed(error).context("listen for signals"))?;
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
        let listen = self.listen.0;
        let operator = Operator::new(self.options(metrics.clone())).await.map_err(refused)?;
        let drain = signals.drain().clone();
        let health = Health::new(operator.readiness());
        let probes = Probes::start(listen, &metrics, health.clone()).await?;
        if let Some(addr) = probes.address() {
            tracing::info!(%addr, "serves /metrics, /livez and /readyz at {addr}");
        }
        let overdue = async {
            drain.cancelled().await;
            tokio::select! {
                () = signals.hurry().cancelled() => {}
                () = tokio::time::sleep(END_LIMIT) => {}
            }
        };
        let ran = tokio::select! {
            ran = operator.run(drain.clone()) => ran.map_err(refused),
            () = overdue => Err(Failure::Failed(Error::msg("left before everything had ended; that is made up for by others"))),
        };
        if let Err(Failure::Failed(error)) = &ran {
            health.declare_dead(error.to_string());
        }
        probes.end().await;
        ran
    }

    fn options(self, metrics: Metrics) -> Options {
        Options {
            watch_namespaces: list(self.watch_namespaces),
            worker_image: given(self.worker_image),
            shared_redis: self.shared_redis_url.filter(|url| !url.expose_secret().trim().is_empty()),
            shared_redis_namespaces: list(self.shared_redis_namespaces),
            allowed_redis_hosts: list(self.allowed_redis_hosts),
            cluster_id: given(self.cluster_id),
            lease_namespace: given(self.lease_namespace).or_else(|| pod("POD_NAMESPACE")),
            identity: given(self.identity).or_else(|| pod("POD_NAME")).unwrap_or_else(anybody),
            status_writes_per_second: self.status_writes_per_second,
            metrics,
        }
    }
}

/// A value; an empty one is how a shell or a chart leaves it out.
fn given(text: String) -> Option<String> {
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn list(texts: Vec<String>) -> BTreeSet<String> {
    texts.into_iter().filter_map(given).collect()
}

/// What a pod is told of itself.
fn pod(name: &str) -> Option<String> {
    std::env::var(name).ok().and_then(given)
}

/// A name that no other replica has.
fn anybody() -> String {
    format!("{}_{}", super::host::name(), uuid::Uuid::new_v4())
}

fn refused(error: OperatorError) -> Failure {
    match error.is_retryable() {
        true => Failure::failed(error),
        false => Failure::usage(error),
    }
}
