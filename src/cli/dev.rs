//! `cronmill dev`: manifests in force on this machine, without a cluster.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};

use super::args::LogArgs;
use super::exit::Failure;
use crate::broker::{BrokerError, Endpoint, Owner};
use crate::local::{Dev, Event, Leash, LocalError, Options, PrivateRedis};
use crate::shutdown;

mod show;

/// The hidden word after which this program becomes another one that ends with its parent.
pub const LEASH_WORD: &str = "run-with-parent";

/// Runs manifests on this machine: fires their schedules and runs their workers as processes.
///
/// Files are read again when they change. Without --redis a private Redis is started that forgets everything
/// at the end. Stop it with Ctrl-C: workers get a few seconds to finish what they hold.
///
/// Exit codes: 0 ended as asked, 2 a manifest or flag is wrong, 3 failure.
#[derive(Args, Debug)]
pub struct DevArgs {
    /// A manifest, or a folder of them. May be given several times.
    #[arg(short, long = "file", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,
    /// A running Redis to use: redis://[user:password@]host[:port][/db], rediss:// for TLS, unix:///path.
    #[arg(long = "redis", env = "CRONMILL_REDIS_URL", value_name = "URL", hide_env_values = true)]
    #[arg(value_parser = |text: &str| Ok::<_, std::convert::Infallible>(SecretString::from(text)))]
    redis: Option<SecretString>,
    /// The server to start where no Redis is given.
    #[arg(long, env = "CRONMILL_REDIS_SERVER", value_name = "PROGRAM", default_value = "redis-server")]
    redis_server: PathBuf,
    /// The bundled worker; by default cronmill-worker beside this program.
    #[arg(long, env = "CRONMILL_WORKER", value_name = "PROGRAM")]
    worker: Option<PathBuf>,
    /// How events are printed.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    log: LogArgs,
}

/// How events are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

impl DevArgs {
    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// [`Failure::Usage`] when a manifest or a flag is wrong, also when others were in force meanwhile;
    /// [`Failure::Failed`] when Redis cannot be started or reached.
    pub fn run(self) -> Result<(), Failure> {
        self.log.init()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.map_err(Failure::failed)?.block_on(self.serve())
    }

    async fn serve(self) -> Result<(), Failure> {
        let signals = shutdown::signals().map_err(Failure::failed)?;
        let program = std::env::current_exe().map_err(Failure::failed)?;
        let leash = Leash { program: program.clone(), words: vec![LEASH_WORD.into()] };
        let (private, url) = match &self.redis {
            Some(url) => (None, url.clone()),
            None => {
                let started = PrivateRedis::start(&self.redis_server, &std::env::temp_dir(), &leash).await;
                let private = started.map_err(refused)?;
                let url = SecretString::from(private.url());
                (Some(private), url)
            }
        };
        let endpoint: Endpoint = url
            .expose_secret()
            .trim()
            .parse()
            .map_err(|error: BrokerError| Failure::usage(error).context("--redis"))?;
        let show = Arc::new(show::Show::new(self.output));
        show.redis(&endpoint.to_string(), private.is_some());
        let options = Options {
            cluster: cluster(&self.files),
            manifests: self.files,
            endpoint,
            redis_url: url,
            owner: Owner::new(&host(), std::process::id(), &uuid::Uuid::new_v4().to_string()),
            bundled_worker: self.worker.unwrap_or_else(|| beside(&program)),
            leash,
        };
        let mut dev = Dev::start(options, move |event: Event| show.event(&event)).await.map_err(refused)?;
        if let (1.., 0) = dev.wrong_and_in_force() {
            return Err(Failure::usage(anyhow::Error::msg(
                "nothing to run: every manifest is wrong, see above",
            )));
        }
        let (stop, leave) = (signals.drain().clone(), signals.leave().clone());
        // A second signal leaves at once; what the workers held comes back when its leases end.
        let left_at_once = leave.run_until_cancelled(dev.run(stop)).await.is_none();
        drop(private);
        if left_at_once {
            return Err(Failure::failed(anyhow::Error::msg("left at once, as asked twice")));
        }
        match dev.wrong_and_in_force().0 {
            0 => Ok(()),
            wrong => Err(Failure::usage(anyhow::Error::msg(format!(
                "manifests are wrong in {wrong} places, see above"
            )))),
        }
    }
}

/// Becomes the program named in the words after [`LEASH_WORD`]: parent's process id, program, arguments.
///
/// # Errors
/// [`Failure`] when that is not possible; otherwise it does not return.
pub fn become_leashed(words: &[OsString]) -> Result<(), Failure> {
    let [parent, program, arguments @ ..] = words else {
        return Err(Failure::usage(anyhow::Error::msg("this word is for cronmill's own use")));
    };
    let parent = parent.to_string_lossy().parse().map_err(Failure::usage)?;
    let error = crate::local::run_leashed(parent, program, arguments);
    Err(Failure::failed(anyhow::Error::new(error).context(format!("run {}", program.display()))))
}

fn refused(error: LocalError) -> Failure {
    match error.is_retryable() || matches!(error, LocalError::ServerEnded { .. } | LocalError::Prepare { .. })
    {
        true => Failure::failed(error),
        false => Failure::usage(error),
    }
}

/// Tells this set of manifests from others on the same Redis: what one deletes, another keeps.
fn cluster(files: &[PathBuf]) -> String {
    let mut paths: Vec<_> =
        files.iter().map(|path| path.canonicalize().unwrap_or_else(|_| path.clone())).collect();
    paths.sort();
    let mut digest = Sha256::new();
    for path in &paths {
        digest.update(path.as_os_str().as_encoded_bytes());
        digest.update([0]);
    }
    let hex: String = digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("local-{hex}")
}

fn beside(program: &Path) -> PathBuf {
    program.with_file_name("cronmill-worker")
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "localhost".into(), |name| name.trim().into())
}
