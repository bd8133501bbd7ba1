//! Runs the examples of one document, in their order, as a reader would: in one folder, on one Redis.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::markdown::Block;
use crate::printed::{Likeness, fits, line_fits};
use crate::root;
use crate::support::{Process, RedisServer, until_blocking};

/// How long one step may take. The machine may be busy with other tests.
const LIMIT: Duration = Duration::from_secs(90);
/// Commands that only read: what they show may need a moment to come about.
const READS: &[&str] = &["cron ls", "cron ticks", "queue ls", "server ls", "stats", "task ls", "task show"];
/// The Redis of a reader, as the documents write it.
const READERS_REDIS: &str = "127.0.0.1:6379";

/// Where a reader's service serves its metrics, as the documents write it.
const READERS_PORT: &str = "Port: 4010";

/// A reader at work.
pub(crate) struct Session {
    folder: TempDir,
    redis: RedisServer,
    exported: Vec<(String, String)>,
    background: Vec<Process>,
    last_code: i32,
}

/// A command and what it is shown to print.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    command: String,
    shown: Vec<String>,
    is_stopped: bool,
}

impl Session {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("target")).expect("a writable folder");
        // Documents build for development; the tests may have been built otherwise.
        std::os::unix::fs::symlink(programs(), folder.path().join("target/debug")).expect("a fresh folder");
        let redis = RedisServer::start();
        Self { folder, redis, exported: Vec::new(), background: Vec::new(), last_code: 0 }
    }

    /// Takes one block in.
    pub(crate) fn take(&mut self, block: &Block) {
        match (block.language.as_str(), block.about.as_str()) {
            ("console", about) => {
                let likeness = if about == "sample" { Likeness::Sample } else { Likeness::Exact };
                for step in steps(&block.text) {
                    self.run(&step, likeness, block.line);
                }
            }
            ("yaml", name) if !name.is_empty() => {
                let path = self.path(name);
                fs::create_dir_all(path.parent().expect("it lies in the folder")).expect("a writable folder");
                fs::write(path, self.at_home(&block.text)).expect("a writable folder")
            }
            ("rust", "examples/enqueue.rs") => self.expect("target/debug/examples/enqueue", block.line),
            ("go", _) => self.run_go(block),
            _ => {}
        }
    }

    /// A file of the session's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A text with the session's Redis in place of the reader's, and a free port in place of the one it listens on.
    fn at_home(&self, text: &str) -> String {
        let text = text.replace(READERS_REDIS, &format!("127.0.0.1:{}", self.redis.port()));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        text.replace(READERS_PORT, &format!("Port: {port}"))
    }

    fn run(&mut self, step: &Step, likeness: Likeness, line: usize) {
        let Step { command, shown, is_stopped } = step;
        if let Some((name, value)) = command.strip_prefix("export ").and_then(|rest| rest.split_once('=')) {
            let value = self.at_home(value);
            self.exported.push((name.to_owned(), value));
        } else if command == "echo $?" {
            assert_eq!(shown, &[self.last_code.to_string()], "block of line {line}: {command}");
        } else if let Some(command) = command.strip_suffix(" &") {
            let mut shell = self.shell(&format!("exec {command}"));
            self.background.push(Process::start(command, &mut shell));
        } else if *is_stopped {
            self.run_until_stopped(command, shown, likeness, line);
        } else {
            self.run_to_its_end(command, shown, likeness, line);
        }
    }

    fn run_to_its_end(&mut self, command: &str, shown: &[String], likeness: Likeness, line: usize) {
        let is_read = command
            .strip_prefix("cronmill ")
            .is_some_and(|rest| READS.iter().any(|read| rest.starts_with(read)));
        let end = Instant::now() + LIMIT;
        loop {
            let output = self.shell(&format!("{{ {command}\n}} 2>&1")).output().expect("a shell");
            let printed: Vec<String> =
                String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
            self.last_code = output.status.code().unwrap_or(-1);
            if fits(shown, &printed, likeness) {
                // A command that fails is shown with its exit code.
                assert!(output.status.success(), "block of line {line}: {command}: {}", output.status);
                return;
            }
            assert!(
                is_read && Instant::now() < end,
                "block of line {line}: {command}\nshown:\n{}\nprinted:\n{}",
                shown.join("\n"),
                printed.join("\n")
            );
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }

    /// Runs a command until it has printed every line shown, in any order, and ends it as Ctrl-C does.
    fn run_until_stopped(&mut self, command: &str, shown: &[String], likeness: Likeness, line: usize) {
        let mut process = Process::start(command, &mut self.shell(&format!("exec {command} 2>&1")));
        let end = Instant::now() + LIMIT;
        let missing = |process: &Process| {
            let printed = process.stdout();
            let is_missing = |wanted: &&String| !printed.iter().any(|got| line_fits(wanted, got, likeness));
            shown.iter().filter(is_missing).cloned().collect::<Vec<_>>()
        };
        while !missing(&process).is_empty() {
            let left = missing(&process);
            assert!(
                Instant::now() < end && process.ended().is_none(),
                "block of line {line}: {command}\nnot printed: {left:#?}\n{process:#?}\n{}",
                self.schedules()
            );
            std::thread::park_timeout(Duration::from_millis(20));
        }
        let pid = Pid::from_raw(process.pid().cast_signed()).expect("a child's id is positive");
        kill_process(pid, Signal::INT).expect("it runs");
        self.last_code = process.exit_blocking(LIMIT).code().unwrap_or(-1);
    }

    /// What is in force on the session's Redis, and who is connected: for whoever has to find out why nothing fires.
    fn schedules(&self) -> String {
        // Not all of it is text.
        let ask = |words: &[&str]| {
            format!("{words:?}\n{}\n", String::from_utf8_lossy(&self.redis.cli_bytes(words)))
        };
        let mut told = ask(&["TIME"]) + &ask(&["ZRANGE", "cronmill:replicas", "0", "-1", "WITHSCORES"]);
        for queue in self.redis.cli(["SMEMBERS", "cronmill:schedules"]).lines() {
            told += &ask(&["ZRANGE", &format!("cronmill:{{{queue}}}:due"), "0", "-1", "WITHSCORES"]);
        }
        for entry in self.redis.keys("cronmill:*:entry:*") {
            told += &ask(&["HGETALL", &entry]);
        }
        told + &ask(&["CLIENT", "LIST"])
    }

    fn run_go(&self, block: &Block) {
        let file = self.path("main.go");
        fs::write(&file, self.at_home(&block.text)).expect("a writable folder");
        let mut go = Command::new("go");
        go.arg("run").arg(&file).current_dir(root().join("tests/peers")).env("CGO_ENABLED", "0");
        let output = go.output().expect("Go is installed");
        assert_success(&output, &format!("block of line {}", block.line));
    }

    fn expect(&self, command: &str, line: usize) {
        let output = self.shell(command).output().expect("a shell");
        assert_success(&output, &format!("block of line {line}: {command}"));
    }

    fn shell(&self, script: &str) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).current_dir(self.folder.path());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CRONMILL_")) {
            shell.env_remove(name);
        }
        let path = std::env::var("PATH").unwrap_or_default();
        shell.env("PATH", format!("{}:{path}", programs().display())).env("NO_COLOR", "1").env("USER", "ann");
        shell.envs(self.exported.iter().map(|(name, value)| (name, value)));
        shell
    }
}

impl Drop for Session {
    /// Ends what runs in the background in order, while its Redis is still there.
    fn drop(&mut self) {
        self.background.iter().for_each(Process::terminate);
        if !std::thread::panicking() {
            for process in &mut self.background {
                until_blocking(LIMIT, "a background command ends", || process.ended().is_some());
            }
        }
    }
}

fn assert_success(output: &Output, what: &str) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{what}: {}{}", text(&output.stdout), text(&output.stderr));
}

/// The folder of the built programs, the examples among them.
fn programs() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_BIN_EXE_cronmill")).parent().expect("a program lies in a folder");
        // Cargo builds examples for a test target only when all targets are tested.
        let mut cargo = Command::new(std::env::var_os("CARGO").expect("tests are run by Cargo"));
        cargo.args(["build", "--locked", "--quiet", "--examples"]).current_dir(root());
        // What Cargo says to tests would have a build script of a dependency run again, and much with it.
        let told =
            ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_EXE_", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"];
        for (name, _) in
            std::env::vars().filter(|(name, _)| told.iter().any(|prefix| name.starts_with(prefix)))
        {
            cargo.env_remove(name);
        }
        if folder.ends_with("release") {
            cargo.arg("--release");
        }
        assert_success(&cargo.output().expect("Cargo runs"), "build the examples");
        folder.to_owned()
    })
}

/// The commands of a console block.
fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => {
                steps.push(Step { command: command.to_owned(), shown: Vec::new(), is_stopped: false })
            }
            (None, Some(step)) if line == "^C" => step.is_stopped = true,
            (None, Some(step)) => step.shown.push(line.to_owned()),
            (None, None) => panic!("a console block begins with a command: {line}"),
        }
    }
    steps
}

#[test]
fn a_console_block_is_commands_with_what_they_print() {
    let step = |command: &str, shown: &[&str], is_stopped| Step {
        command: command.to_owned(),
        shown: shown.iter().map(|&line| line.to_owned()).collect(),
        is_stopped,
    };
    let expected = [step("a b", &["c", "", "d"], false), step("e", &["f"], true), step("g", &[], false)];
    assert_eq!(steps("$ a b\nc\n\nd\n$ e\nf\n^C\n$ g\n"), expected);
}
