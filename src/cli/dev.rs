//! `cronmill dev`: manifests in force on this machine, without a cluster.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Error;
use clap::{Args, ValueEnum};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use tokio::signal::unix::{SignalKind, signal};

use super::args::redis::{endpoint, secret};
use super::args::{Listen, LogArgs};
use super::exit::{Failure, is_users_to_mend};
use super::probes::{Probes, once_running};
use super::scrape;
use crate::local::{Dev, Event, GuardCommand, LocalError, Options, Redis};
use crate::shutdown::{self, Signals};
use crate::telemetry::Metrics;

mod show;

use show::Show;

/// The hidden command by which this program is started beside itself; see [`run_guard`].
pub const GUARD_WORD: &str = "guard-processes";

const EXAMPLES: &str = "\
Examples:
  cronmill dev -f deploy/samples/hello.yaml
  cronmill dev -f tasks.yaml queues.yaml --redis redis://127.0.0.1:6379/1
  cronmill dev -f manifests -o json | jq -c 'select(.event == \"tick\")'

Workers see the variables of this program's environment too, but for those that their template sets:
  CRONMILL_SHOP_TARGET=http://127.0.0.1:8081 cronmill dev -f queues.yaml";

/// Run manifests on this machine: fire their schedules, run their workers as processes.
///
/// Files are read again when they change: an edit is in force within a second. Without --redis a private Redis is
/// started that forgets everything at the end. Workers come and go with the work, from zero and back.
///
/// Ctrl-C or SIGTERM ends it: workers get 8 s to finish what they hold, then they put it back. A second signal
/// ends it at once, with exit code 3.
///
/// Exit codes: 0 ended as asked, 2 a manifest, a flag or Redis is wrong (also at the end, when the others ran), 3
/// failure.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct DevArgs {
    /// Manifests, or folders of them: every *.yaml, *.yml and *.json below.
    #[arg(short, long = "file", value_name = "PATH", required = true, num_args = 1..)]
    files: Vec<PathBuf>,
    /// A running Redis to use: redis://[user:password@]host[:port][/db], rediss:// for TLS, unix:///path,
    /// redis-sentinel://host:port,…?master=name, redis-cluster://host:port,….
    ///
    /// Everybody on this machine can read a program's flags, so put a URL with a password into the
    /// environment. [default: a private Redis is started]
    #[arg(long, env = "CRONMILL_REDIS_URL", value_name = "URL", hide_env_values = true, value_parser = secret)]
    redis: Option<SecretString>,
    /// PEM file of the certificate authorities to trust for a URL with TLS, instead of the public ones.
    #[arg(long, env = "CRONMILL_REDIS_CA", value_name = "FILE")]
    redis_ca: Option<PathBuf>,
    /// The server to start when no Redis is given: Redis 6.2 or newer, or Valkey.
    #[arg(long, env = "CRONMILL_REDIS_SERVER", value_name = "PROGRAM", default_value = "redis-server")]
    redis_server: PathBuf,
    /// The bundled worker, for TaskQueues without a template. [default: cronmill-worker beside this program]
    #[arg(long, env = "CRONMILL_WORKER", value_name = "PROGRAM")]
    worker: Option<PathBuf>,
    /// Where to serve /metrics, /livez and /readyz: ip:port or :port; nowhere when absent or empty.
    #[arg(
        long,
        env = "CRONMILL_LISTEN",
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    listen: Listen,
    /// Form of the events on stdout.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    log: LogArgs,
}

/// How events are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A line per event, for people; it may change.
    Text,
    /// A JSON object per line, for programs; fields stay.
    Json,
}

impl DevArgs {
    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// [`Failure::Usage`] when a manifest, a flag or Redis is wrong, also when others were in force meanwhile;
    /// [`Failure::Failed`] when Redis cannot be started or reached, or at a second signal.
    pub fn run(self) -> Result<(), Failure> {
        self.log.init()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| Failure::failed(error).context("start the runtime"))?;
        runtime.block_on(self.serve())
    }

    async fn serve(self) -> Result<(), Failure> {
        let signals = shutdown::signals();
        let signals = signals.map_err(|error| Failure::failed(error).context("listen for signals"))?;
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
        let is_running = Arc::new(AtomicBool::new(false));
        let health = once_running(&signals, &is_running, "the manifests are not in force yet");
        let probes = Probes::start(self.listen.0, &metrics, health).await?;
        let show = Arc::new(Show::start(self.output));
        let ran = tokio::select! {
            ran = self.start_and_run(metrics, &signals, &is_running, &show) => ran,
            () = signals.hurry().cancelled() => Err(Failure::Failed(Error::msg(
                "left at the second signal; the workers put back what they hold",
            ))),
        };
        show.flush();
        probes.end().await;
        ran
    }

    async fn start_and_run(
        self,
        metrics: Metrics,
        signals: &Signals,
        is_running: &AtomicBool,
        show: &Arc<Show>,
    ) -> Result<(), Failure> {
        let options = self.options(metrics.clone())?;
        // A bare name is looked for on the path when a worker is started.
        if options.bundled_worker.components().count() > 1 && !options.bundled_worker.exists() {
            show.event(&Event::Note(format!(
                "there is no {}: TaskQueues without a template cannot have workers; build it, or name it with --worker",
                options.bundled_worker.display()
            )));
        }
        let told = Arc::clone(show);
        let starting = Dev::start(options, move |event: Event| told.event(&event));
        let Some(started) = signals.drain().run_until_cancelled(starting).await else { return Ok(()) };
        let mut dev = started.map_err(refused)?;
        scrape::show(&metrics, dev.broker());
        is_running.store(true, Ordering::Relaxed);
        dev.run(signals.drain().clone()).await.map_err(refused)?;
        match dev.wrong() {
            0 => Ok(()),
            wrong => Err(Failure::Usage(Error::msg(super::check::wrong_in(wrong)))),
        }
    }

    /// What was typed, checked.
    fn options(self, metrics: Metrics) -> Result<Options, Failure> {
        let program = std::env::current_exe();
        let program = program.map_err(|error| Failure::failed(error).context("find this very program"))?;
        // An empty variable is how a shell leaves one out.
        let given = self.redis.filter(|url| !url.expose_secret().trim().is_empty());
        let redis = match given {
            None => Redis::Private { program: self.redis_server, within: std::env::temp_dir() },
            Some(url) => {
                let endpoint = endpoint(&url, self.redis_ca.as_deref(), "--redis or CRONMILL_REDIS_URL")?;
                let authority = self.redis_ca.map(|file| file.canonicalize().unwrap_or(file));
                Redis::Running {
                    endpoint: Box::new(endpoint),
                    url: SecretString::from(url.expose_secret().trim()),
                    authority,
                }
            }
        };
        Ok(Options {
            cluster: cluster(&self.files),
            manifests: self.files,
            redis,
            host: super::host::name(),
            bundled_worker: self.worker.unwrap_or_else(|| program.with_file_name("cronmill-worker")),
            guard: GuardCommand { program, words: vec![GUARD_WORD.into()] },
            metrics,
        })
    }
}

/// Ends what a [`Dev`] of another process of this program started, once that process is gone.
///
/// # Errors
/// [`Failure::Failed`] when signals cannot be caught.
pub fn run_guard() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(error).context("start the runtime"))?;
    let _entered = runtime.enter();
    // Whoever ends all processes of this name, or closes the terminal, gives the other one time to end well; it is
    // then needed all the more. Caught signals do nothing.
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
        let _caught = signal(kind).map_err(|error| Failure::failed(error).context("catch signals"))?;
    }
    crate::local::guard(std::io::stdin().lock());
    Ok(())
}

fn refused(error: LocalError) -> Failure {
    match error {
        LocalError::Broker(error) if is_users_to_mend(&error) => Failure::usage(error),
        LocalError::Broker(error) => Failure::failed(error),
        error if error.is_retryable() => Failure::failed(error),
        error => Failure::usage(error),
    }
}

/// Tells this set of manifests from others on the same Redis: what one deletes, another keeps.
fn cluster(files: &[PathBuf]) -> String {
    let canonical = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
    let mut paths: Vec<_> = files.iter().map(canonical).collect();
    paths.sort();
    paths.dedup();
    let mut digest = Sha256::new();
    for path in &paths {
        digest.update(path.as_os_str().as_encoded_bytes());
        digest.update([0]);
    }
    let hex: String = digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("local-{hex}")
}
