//! A child process that ends with its test, and whose output the test can wait for.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::wait::{eventually, until_blocking};

/// A running program. Dropping it kills it with SIGKILL and reaps it.
pub struct Process {
    name: String,
    child: Child,
    stdout: Arc<Mutex<Vec<String>>>,
    stderr: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts a program without input; `name` stands in messages.
    pub fn start(name: &str, command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|cause| panic!("start {name}: {cause}"));
        let stdout = collect(child.stdout.take().expect("piped above"));
        let stderr = collect(child.stderr.take().expect("piped above"));
        Self { name: name.to_owned(), child, stdout, stderr }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end (SIGTERM).
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Kills it without warning (SIGKILL) and reaps it.
    pub fn kill9(&mut self) {
        // Both fail only when it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops it from running, with its connections left open (SIGSTOP).
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a frozen one run on (SIGCONT).
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a child's id is positive");
        kill_process(pid, signal).unwrap_or_else(|cause| panic!("send {signal:?} to {}: {cause}", self.name));
    }

    /// How it ended, or none while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// Waits for its end. Panics with its error output when it still runs after `limit`.
    pub async fn exit(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        eventually(limit, &what, async || self.ended()).await
    }

    /// [`Process::exit`] for tests without a runtime.
    pub fn exit_blocking(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        until_blocking(limit, &what, || self.ended().is_some());
        self.ended().expect("awaited above")
    }

    /// The lines of its standard output so far.
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.lock().expect("readers do not panic").clone()
    }

    /// The lines of its standard error so far.
    pub fn stderr(&self) -> Vec<String> {
        self.stderr.lock().expect("readers do not panic").clone()
    }

    /// All lines of its standard error, once nobody has that open any more: neither it nor a program that it started.
    pub async fn all_stderr(&self, limit: Duration) -> Vec<String> {
        // Whoever reads has the other share of the lines until there is nothing more to read.
        let is_read = || Arc::strong_count(&self.stderr) == 1;
        let what = format!("the standard error of {} is closed", self.name);
        eventually(limit, &what, async || is_read().then(|| self.stderr())).await
    }

    /// The first line of standard output that fits, printed before or after the call. Panics after `limit`
    /// with all it has printed.
    pub async fn line(&self, limit: Duration, fits: impl Fn(&str) -> bool) -> String {
        let end = std::time::Instant::now() + limit;
        eventually(limit + Duration::from_secs(1), "a line", async || {
            let found = self.stdout().into_iter().find(|line| fits(line));
            assert!(found.is_some() || std::time::Instant::now() < end, "{self:#?} printed no such line");
            found
        })
        .await
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.name)
            .field("pid", &self.pid())
            .field("stdout", &self.stdout())
            .field("stderr", &self.stderr())
            .finish()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// The library that gives a program another clock.
pub fn faketime() -> PathBuf {
    let found = std::fs::read_dir("/usr/lib").expect("a system").flatten().find_map(|folder| {
        let library = folder.path().join("faketime/libfaketime.so.1");
        library.exists().then_some(library)
    });
    found.expect("the package libfaketime is installed")
}

/// Reads lines in the background until the pipe closes, so that the child never blocks on a full one.
fn collect(pipe: impl Read + Send + 'static) -> Arc<Mutex<Vec<String>>> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&lines);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
            into.lock().expect("nobody panics while holding it").push(text);
            line.clear();
        }
    });
    lines
}
