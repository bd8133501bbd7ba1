//! A private PostgreSQL server, and `psql` as the judge from outside.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use super::wait::until_blocking;

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// PostgreSQL refuses to run as root; this is `nobody`.
const NOBODY: u32 = 65534;

/// A server for one test, on a port and in a folder of its own, with the database `shop` of the user `shop`. Dropping
/// it stops it.
pub struct Postgres {
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Postgres {
    /// Starts one and waits until it accepts connections.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        copy(template(), &folder.path().join("data"));
        give(folder.path());
        let mut server = Self { folder, port: 0, child: None };
        // Between finding a free port and taking it somebody else may take it.
        for _ in 0..20 {
            server.port = free_port();
            if server.launch() {
                server.psql("postgres", "CREATE DATABASE shop");
                return server;
            }
        }
        panic!("postgres found no port to listen on: {}", server.log());
    }

    /// The URL of its database.
    pub fn url(&self) -> String {
        url(self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs statements in its database; columns are joined by `|`.
    pub fn judge(&self, sql: &str) -> Vec<String> {
        self.psql("shop", sql)
    }

    fn psql(&self, database: &str, sql: &str) -> Vec<String> {
        let output = self.asked(database, sql);
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    /// A session of `psql` that runs these statements and then goes on as it is, with all it has locked, until it is
    /// dropped.
    pub fn session(&self, sql: &str) -> super::Process {
        let mut command = self.client("shop");
        command.args(["-c", sql, "-c", "SELECT 'held'", "-c", "SELECT pg_sleep(3600)"]);
        super::Process::start("psql", &mut command)
    }

    fn asked(&self, database: &str, sql: &str) -> std::process::Output {
        self.client(database).args(["-c", sql]).stdin(Stdio::null()).output().expect("psql is installed")
    }

    fn client(&self, database: &str) -> Command {
        let mut command = Command::new("psql");
        command.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            "127.0.0.1",
            "-U",
            "shop",
            "-d",
            database,
        ]);
        command.args(["-p", &self.port.to_string()]).env("PGCONNECT_TIMEOUT", "10");
        command
    }

    /// Stops it at once, as a crash of the machine would: what was not committed is gone.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let pid = Pid::from_raw(child.id().cast_signed()).expect("a child's id is positive");
        // It fails only when it has ended already, which is what is wanted.
        let _ = kill_process(pid, Signal::QUIT);
        let end = Instant::now() + STOP_LIMIT;
        while child.try_wait().expect("it is our child").is_none() {
            if Instant::now() > end {
                let _ = child.kill();
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Starts it again, on the same port and with its data.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none() && self.launch(), "postgres does not start again: {}", self.log());
    }

    fn launch(&mut self) -> bool {
        let log =
            fs::OpenOptions::new().create(true).append(true).open(self.log_path()).expect("our own folder");
        let mut command = program("postgres");
        command.arg("-D").arg(self.folder.path().join("data")).arg("-k").arg(self.folder.path());
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-c", "max_connections=60"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut child = command.spawn().expect("postgres is installed");
        let mut is_up = false;
        until_blocking(START_LIMIT, "postgres accepts connections or ends", || {
            is_up = self.asked("postgres", "SELECT 1").status.success();
            is_up || child.try_wait().expect("it is our child").is_some()
        });
        if is_up {
            self.child = Some(child);
        }
        is_up
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The URL of the database of a server, or of a proxy before it.
pub fn url(port: u16) -> String {
    format!("postgres://shop@127.0.0.1:{port}/shop?sslmode=disable")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound above").port()
}

/// A data folder to copy, since making one takes seconds; made once for each build.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("postgres-data");
        if kept.join("PG_VERSION").exists() {
            return kept;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        give(folder.path());
        let data = folder.path().join("data");
        let made = program("initdb")
            .args(["-A", "trust", "-U", "shop", "-E", "UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&data)
            .output()
            .expect("initdb is installed");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let partial =
            tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder of the build").keep();
        copy(&data, &partial.join("data"));
        // Another run may have come first; then there is one already.
        if fs::rename(partial.join("data"), &kept).is_err() {
            assert!(kept.join("PG_VERSION").exists(), "{} is whole", kept.display());
        }
        fs::remove_dir_all(partial).expect("our own folder");
        kept
    })
}

/// One of PostgreSQL's programs, run by somebody who is not root.
fn program(name: &str) -> Command {
    let mut command = Command::new(find(name));
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    // It looks at the folder it is started in.
    command.current_dir("/");
    command
}

/// From the path, else where Debian puts the newest.
fn find(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.exists());
    on_path.unwrap_or_else(|| {
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut files: Vec<_> = versions.map(|version| version.path().join("bin").join(name)).collect();
        files.sort();
        files.pop().unwrap_or_else(|| panic!("{name} is not installed"))
    })
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").arg(from).arg(to).status().expect("cp is installed");
    assert!(copied.success(), "copy {}", from.display());
    let private = Command::new("chmod").arg("0700").arg(to).status().expect("chmod is installed");
    assert!(private.success());
}

/// Hands a folder to whoever runs PostgreSQL.
fn give(folder: &Path) {
    if geteuid().is_root() {
        let owner = format!("{NOBODY}:{NOBODY}");
        let given =
            Command::new("chown").arg("-R").arg(owner).arg(folder).status().expect("chown is installed");
        assert!(given.success());
    }
}
