//! A Redis server of our own, for as long as we run.

use std::io;
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::error::LocalError;
use super::group::Group;
use super::guard::Guard;
use crate::broker::{Broker, Endpoint};

/// How long the server may take to answer.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Between two tries to reach it.
const BETWEEN: Duration = Duration::from_millis(20);
/// Ports tried: between finding a free one and taking it, another program may take it.
const PORTS: usize = 5;
/// Names of its files within its folder.
const SOCKET: &str = "redis.sock";
const LOG: &str = "redis.log";
/// Longest path a socket may have everywhere.
const SOCKET_PATH_MAX: usize = 100;

/// A Redis server on a free port of the loopback interface, with its files in a folder only we may read. It
/// keeps nothing once it has ended, and it ends when this is dropped.
#[derive(Debug)]
pub(super) struct PrivateRedis {
    server: Child,
    group: Group,
    guard: Guard,
    folder: PathBuf,
    url: String,
}

impl PrivateRedis {
    /// Starts `program` with a folder of its own `within` that one, and waits until it answers.
    ///
    /// # Errors
    /// [`LocalError::NoServer`], [`LocalError::ServerRefuses`], [`LocalError::Prepare`], or what is wrong with
    /// its version.
    pub(super) async fn start(program: &Path, within: &Path, guard: &Guard) -> Result<Self, LocalError> {
        let mut tries = 1;
        loop {
            let mut redis = Self::launch(program, within, guard)?;
            match redis.wait_until_it_answers(program).await {
                Ok(()) => return Ok(redis),
                Err(LocalError::ServerRefuses { .. }) if tries < PORTS && redis.lacks_its_port() => {
                    tries += 1
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The URL under which it answers.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Waits for its end, which nobody asked for. Cancel-safe.
    pub(super) async fn ended(&mut self) -> ExitStatus {
        self.server.wait().await.expect("it is a child of ours and nobody else waits for it")
    }

    fn launch(program: &Path, within: &Path, guard: &Guard) -> Result<Self, LocalError> {
        let folder = within.join(format!("cronmill-{}-{:08x}", std::process::id(), fastrand::u32(..)));
        let prepare = |source| LocalError::Prepare { path: folder.clone(), source };
        std::fs::DirBuilder::new().mode(0o700).create(&folder).map_err(prepare)?;
        let port = free_port().map_err(prepare)?;
        let mut command = Command::new(program);
        command.args(["--bind", "127.0.0.1", "--port"]).arg(port.to_string());
        command.args(["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"]);
        command.args(["--daemonize", "no", "--dir"]).arg(&folder);
        command.args(["--unixsocket", SOCKET, "--logfile", LOG]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Not of the terminal's group: it must outlive the workers when somebody presses Ctrl-C.
        let started = command.process_group(0).spawn();
        let server = started.map_err(|source| {
            drop_folder(&folder);
            LocalError::NoServer { program: program.to_owned(), source }
        })?;
        let group = server.id().and_then(Group::of).expect("a process just started has an id");
        guard.watch_server(group, &folder);
        Ok(Self { server, group, guard: guard.clone(), folder, url: format!("redis://127.0.0.1:{port}/0") })
    }

    async fn wait_until_it_answers(&mut self, program: &Path) -> Result<(), LocalError> {
        let refuses = |what: String| LocalError::ServerRefuses { program: program.to_owned(), what };
        let endpoint: Endpoint = self.own_socket().as_ref().unwrap_or(&self.url).parse()?;
        let limit = Instant::now() + START_LIMIT;
        loop {
            match Broker::connect(&endpoint).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_retryable() => {}
                Err(error) => return Err(error.into()),
            }
            if let Ok(Some(status)) = self.server.try_wait() {
                let said = self.last_words().map_or(String::new(), |said| format!("; it said: {said}"));
                return Err(refuses(format!("ended at once ({status}){said}")));
            }
            if Instant::now() > limit {
                return Err(refuses(format!("does not answer within {} s", START_LIMIT.as_secs())));
            }
            tokio::time::sleep(BETWEEN).await;
        }
    }

    /// The URL of the socket in our folder, unless that is too deep for one. At the port, another server might
    /// answer should ours not get it.
    fn own_socket(&self) -> Option<String> {
        let path = self.folder.join(SOCKET);
        let url =
            url::Url::from_file_path(&path).ok().filter(|_| path.as_os_str().len() <= SOCKET_PATH_MAX)?;
        Some(url.as_str().replacen("file:", "unix:", 1))
    }

    /// Whether it ended because another program has its port.
    fn lacks_its_port(&self) -> bool {
        self.log().contains("Address already in use")
    }

    /// The last line of its log, without what stands before the text.
    fn last_words(&self) -> Option<String> {
        let log = self.log();
        let line = log.lines().rfind(|line| !line.trim().is_empty())?;
        Some(line.split_once(" # ").map_or(line, |(_, text)| text).trim().to_owned())
    }

    fn log(&self) -> String {
        std::fs::read(self.folder.join(LOG))
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }
}

impl Drop for PrivateRedis {
    fn drop(&mut self) {
        if let Ok(None) = self.server.try_wait() {
            self.group.signal_all(Signal::KILL);
        }
        self.guard.forget(self.group);
        drop_folder(&self.folder);
    }
}

fn drop_folder(folder: &Path) {
    // It holds nothing of worth; a leftover is no reason to fail.
    let _ = std::fs::remove_dir_all(folder);
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
