//! A Redis server of our own, for as long as we run.

use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Child;

use super::error::LocalError;
use super::leash::Leash;
use crate::broker::{Broker, BrokerError, Endpoint};

/// How long the server may take to answer.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Between two tries to reach it.
const BETWEEN: Duration = Duration::from_millis(20);

/// A Redis server on a free port of the loopback interface, with its files in a folder only we may read. It
/// keeps nothing once it has ended.
#[derive(Debug)]
pub struct PrivateRedis {
    server: Child,
    folder: PathBuf,
    url: String,
}

impl PrivateRedis {
    /// Starts `program` with a folder of its own `within` that one, and waits until it answers.
    ///
    /// # Errors
    /// [`LocalError::NoServer`], [`LocalError::ServerEnded`], [`LocalError::Prepare`].
    pub async fn start(program: &Path, within: &Path, leash: &Leash) -> Result<Self, LocalError> {
        let folder = within.join(format!("cronmill-{}", std::process::id()));
        let prepare = |source| LocalError::Prepare { path: folder.clone(), source };
        std::fs::DirBuilder::new().mode(0o700).recursive(true).create(&folder).map_err(prepare)?;
        let port = free_port().map_err(prepare)?;
        let mut command = leash.command(&program.to_string_lossy());
        command.args(["--bind", "127.0.0.1", "--port"]).arg(port.to_string());
        command.args(["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"]);
        command.args(["--daemonize", "no", "--dir"]).arg(&folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        // Not of the terminal's group: it must outlive the workers when somebody presses Ctrl-C.
        command.process_group(0);
        let started = command.spawn();
        let server =
            started.map_err(|source| LocalError::NoServer { program: program.to_owned(), source })?;
        let mut redis = Self { server, folder, url: format!("redis://127.0.0.1:{port}/0") };
        redis.wait_until_it_answers(program).await?;
        Ok(redis)
    }

    /// The URL under which it answers.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    async fn wait_until_it_answers(&mut self, program: &Path) -> Result<(), LocalError> {
        let ended = |what: String| LocalError::ServerEnded { program: program.to_owned(), what };
        let endpoint: Endpoint = self.url.parse()?;
        let limit = tokio::time::Instant::now() + START_LIMIT;
        loop {
            match Broker::connect(&endpoint).await {
                Ok(_) => return Ok(()),
                Err(BrokerError::Connect { .. } | BrokerError::Command { .. }) => {}
                Err(other) => return Err(other.into()),
            }
            if let Ok(Some(status)) = self.server.try_wait() {
                return Err(ended(format!("ended at once ({status}); can it be run by hand?")));
            }
            if tokio::time::Instant::now() > limit {
                return Err(ended(format!("does not answer within {} s", START_LIMIT.as_secs())));
            }
            tokio::time::sleep(BETWEEN).await;
        }
    }
}

impl Drop for PrivateRedis {
    fn drop(&mut self) {
        // Its folder holds nothing of worth; a leftover is no reason to fail.
        let _ = self.server.start_kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
