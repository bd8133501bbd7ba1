//! A private Redis server, and `redis-cli` as the judge from outside.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use cronmill::broker::Endpoint;
use tempfile::TempDir;

use super::process::{self, Process};
use super::redis_cluster::{self, Cluster};
use super::redis_sentinel::Sentinel;
use super::redis_variant::{self, Variant};
use super::tls::Certificates;
use super::wait::until_blocking;

/// How long a server may take to accept connections.
const START_LIMIT: Duration = Duration::from_secs(20);

/// What a server is started with. [`RedisServer::start`] takes none of it.
#[derive(Clone)]
pub struct Options {
    variant: Variant,
    password: Option<String>,
    users: Vec<String>,
    config: Vec<(String, String)>,
    tls: bool,
    certificates: Option<Arc<Certificates>>,
    durable: bool,
    clock_off_s: i64,
}

impl Options {
    /// One Redis of the installed version, whatever sort this run of the tests is about.
    pub fn plain() -> Self {
        let variant = Variant::Plain;
        Self {
            variant,
            password: None,
            users: Vec::new(),
            config: Vec::new(),
            tls: false,
            certificates: None,
            durable: false,
            clock_off_s: 0,
        }
    }

    /// Demands this password of the default user.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Adds a user with a password and ACL rules, such as `~* &* +@all`.
    pub fn user(mut self, name: &str, password: &str, rules: &str) -> Self {
        self.users.push(format!("{name} on >{password} {rules}"));
        self
    }

    /// Sets a directive, such as `maxmemory-policy` to `allkeys-lru`.
    pub fn config(mut self, directive: &str, value: &str) -> Self {
        self.config.push((directive.to_owned(), value.to_owned()));
        self
    }

    /// Listens for TLS too, with certificates of its own.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Listens for TLS too, with certificates that it shares with others.
    pub fn tls_with(mut self, certificates: &Arc<Certificates>) -> Self {
        self.certificates = Some(Arc::clone(certificates));
        self.tls()
    }

    /// A Valkey whose clock is that many seconds ahead. The installed Redis does not start with such a clock.
    pub fn clock_off(mut self, seconds: i64) -> Self {
        (self.variant, self.clock_off_s) = (Variant::Valkey, seconds);
        self
    }

    /// Keeps its data through a kill and a new start: every write is on disk before its reply.
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// Starts the server, with what this run's variant puts around it, and waits until it accepts connections.
    pub fn start(self) -> RedisServer {
        match self.variant {
            Variant::Plain | Variant::Valkey => self.start_one(),
            Variant::Tls => self.tls().start_one(),
            Variant::Acl => {
                let (name, password, rules) = redis_variant::least_user();
                self.user(&name, &password, &rules).start_one()
            }
            Variant::Cluster => Cluster::of(&self, 3).into_one(),
            Variant::Sentinel => {
                let mut server = self.start_one();
                server.with = With::Sentinel(Sentinel::of(&[&server], 1));
                server
            }
        }
    }

    fn start_one(self) -> RedisServer {
        let mut server = self.prepare();
        // Between finding a free port and taking it somebody else may take it.
        for _ in 0..20 {
            server.choose_ports();
            if server.launch() {
                return server;
            }
        }
        panic!("redis-server found no port to listen on");
    }

    /// A server that does not run yet and has no port.
    pub(super) fn prepare(self) -> RedisServer {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let shared = self.certificates.clone();
        let own = || Arc::new(Certificates::create(dir.path()));
        let certificates = self.tls.then(|| shared.unwrap_or_else(own));
        let with = With::Nothing;
        RedisServer { options: self, dir, certificates, port: 0, tls_port: 0, process: None, with }
    }
}

/// A Redis server for one test, on a port and in a folder of its own. Dropping it kills it.
pub struct RedisServer {
    options: Options,
    dir: TempDir,
    certificates: Option<Arc<Certificates>>,
    port: u16,
    tls_port: u16,
    process: Option<Process>,
    with: With,
}

/// What is started around a server.
pub(super) enum With {
    Nothing,
    /// The other masters of a cluster.
    Nodes(Vec<RedisServer>),
    /// A Sentinel that names it.
    Sentinel(Sentinel),
}

impl RedisServer {
    /// A server as this run's variant says: plain, with no password and nothing on disk, if it says nothing.
    pub fn start() -> Self {
        Self::options().start()
    }

    /// Options to start another sort of server with.
    pub fn options() -> Options {
        Options { variant: Variant::of_this_run(), ..Options::plain() }
    }

    /// Whether it is one master of several.
    pub fn is_cluster(&self) -> bool {
        matches!(self.with, With::Nodes(_))
    }

    /// Its port for plain connections.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its port for TLS, 0 without.
    pub fn tls_port(&self) -> u16 {
        self.tls_port
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pid(&self) -> u32 {
        self.running().pid()
    }

    /// The URL for it: `redis://127.0.0.1:PORT/0`, with the default user's password if there is one, or what the
    /// variant takes.
    pub fn url(&self) -> String {
        match (&self.with, self.options.variant) {
            (With::Nodes(others), _) => Cluster::url_of([self].into_iter().chain(others)),
            (With::Sentinel(sentinel), _) => sentinel.url(),
            (With::Nothing, Variant::Tls) => self.tls_url(),
            (With::Nothing, Variant::Acl) => {
                let (name, password, _) = redis_variant::least_user();
                self.url_as(&name, &password)
            }
            (With::Nothing, _) => self.plain_url(),
        }
    }

    /// The URL for it alone, in any variant.
    pub fn plain_url(&self) -> String {
        let password = self.options.password.as_ref().map(|text| format!(":{text}@")).unwrap_or_default();
        format!("redis://{password}127.0.0.1:{}/0", self.port)
    }

    /// [`RedisServer::url`] as our broker takes it.
    pub fn endpoint(&self) -> Endpoint {
        let endpoint: Endpoint = self.url().parse().expect("a valid URL");
        match endpoint.is_tls() {
            true => endpoint.with_authority(self.authority()).expect("a readable file"),
            false => endpoint,
        }
    }

    /// The URL for a named user.
    pub fn url_as(&self, user: &str, password: &str) -> String {
        format!("redis://{user}:{password}@127.0.0.1:{}/0", self.port)
    }

    /// The URL for its Unix socket.
    pub fn socket_url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// The URL for TLS. The certificate is for `localhost` and `127.0.0.1`; see [`RedisServer::authority`].
    pub fn tls_url(&self) -> String {
        assert_ne!(self.tls_port, 0, "started without TLS");
        format!("rediss://localhost:{}/0", self.tls_port)
    }

    /// PEM file of the authority that signed its certificate.
    pub fn authority(&self) -> &Path {
        &self.certificates.as_ref().expect("started with TLS").authority
    }

    /// Runs `redis-cli` with these arguments and returns what it printed, without the last line end.
    ///
    /// # Panics
    /// When Redis answers with an error.
    pub fn cli<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> String {
        String::from_utf8(self.cli_bytes(arguments)).expect("text; use cli_bytes for anything else")
    }

    /// [`RedisServer::cli`] for answers that are not text.
    pub fn cli_bytes<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Vec<u8> {
        let arguments: Vec<_> = arguments.into_iter().collect();
        if !matches!(self.with, With::Nodes(_)) {
            return self.ask(&self.here(), &arguments);
        }
        let first = arguments[0].as_ref().to_string_lossy().to_uppercase();
        let is_keyless_script =
            first == "EVAL" && arguments.get(2).is_some_and(|count| count.as_ref() == "0");
        if !is_keyless_script && !redis_cluster::OF_EACH_NODE.contains(&first.as_str()) {
            return self.ask(&["-c".to_owned(), "-p".to_owned(), self.port.to_string()], &arguments);
        }
        let answers = self.nodes().map(|node| node.ask(&node.here(), &arguments));
        redis_cluster::one_of(answers.collect())
    }

    /// [`RedisServer::cli`] on this very node, also where it has others around it.
    pub fn cli_here<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> String {
        let arguments: Vec<_> = arguments.into_iter().collect();
        // The slow log quotes what calls carried, which may be no text.
        String::from_utf8_lossy(&self.ask(&self.here(), &arguments)).into_owned()
    }

    /// It, and the other masters of its cluster.
    pub fn nodes(&self) -> impl Iterator<Item = &Self> {
        let others = if let With::Nodes(others) = &self.with { others.as_slice() } else { &[] };
        [self].into_iter().chain(others)
    }

    /// The way to this node.
    fn here(&self) -> [String; 2] {
        ["-s".to_owned(), self.socket().to_str().expect("a path of ours").to_owned()]
    }

    /// [`RedisServer::cli`] on this very node, unless it cuts the connection or refuses.
    pub fn cli_if_it_answers<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Option<String> {
        let arguments: Vec<_> = arguments.into_iter().collect();
        let answer = self.question(&self.here(), &arguments).output().expect("redis-cli is installed");
        answer.status.success().then(|| String::from_utf8_lossy(&answer.stdout).into_owned())
    }

    fn question<A: AsRef<OsStr>>(&self, to: &[String], arguments: &[A]) -> Command {
        let mut command = Command::new("redis-cli");
        command.arg("-e").args(to).args(arguments);
        if let Some(password) = &self.options.password {
            command.env("REDISCLI_AUTH", password);
        }
        command
    }

    fn ask<A: AsRef<OsStr>>(&self, to: &[String], arguments: &[A]) -> Vec<u8> {
        let mut command = self.question(to, arguments);
        let answer = command.output().expect("redis-cli is installed");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(answer.status.success(), "{command:?}: {}{}", text(&answer.stdout), text(&answer.stderr));
        let mut bytes = answer.stdout;
        bytes.pop_if(|last| *last == b'\n');
        bytes
    }

    /// The lines of an answer, none for an empty one.
    pub fn cli_lines<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Vec<String> {
        self.cli(arguments).lines().map(str::to_owned).filter(|line| !line.is_empty()).collect()
    }

    /// All keys that match a pattern, sorted.
    pub fn keys(&self, pattern: &str) -> Vec<String> {
        let mut keys = self.cli_lines(["--scan", "--pattern", pattern]);
        keys.sort();
        keys
    }

    /// How often a command has been called, as Redis counts it.
    ///
    /// Of several servers, their sum.
    pub fn calls(&self, command: &str) -> u64 {
        let start = format!("cmdstat_{command}:calls=");
        let of = |line: &String| line.strip_prefix(&start)?.split(',').next()?.parse::<u64>().ok();
        self.cli_lines(["INFO", "commandstats"]).iter().filter_map(of).sum()
    }

    /// A number from `INFO`, such as `total_commands_processed`.
    ///
    /// Of several servers, their sum.
    pub fn info(&self, field: &str) -> u64 {
        let prefix = format!("{field}:");
        let lines = self.cli_lines(["INFO", "everything"]);
        let number = |line: &String| {
            let text = line.strip_prefix(&prefix)?.trim();
            Some(text.parse::<u64>().unwrap_or_else(|cause| panic!("{line}: {cause}")))
        };
        let numbers: Vec<u64> = lines.iter().filter_map(number).collect();
        assert!(!numbers.is_empty(), "INFO has no field {field}");
        numbers.iter().sum()
    }

    /// Kills it without warning. Only a durable server still has its data when it starts again.
    pub fn kill9(&mut self) {
        self.process.take().expect("it runs").kill9();
    }

    /// Starts it again on the same ports, after [`RedisServer::kill9`].
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it still runs");
        // The kernel may keep the port for a moment.
        until_blocking(START_LIMIT, "redis-server starts on its old port", || self.launch());
    }

    /// Stops it from answering, with all connections left open.
    pub fn freeze(&self) {
        self.running().freeze();
    }

    /// Lets a frozen server answer again.
    pub fn thaw(&self) {
        self.running().thaw();
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    pub(super) fn folder(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn surround(&mut self, with: With) {
        self.with = with;
    }

    pub(super) fn choose_ports(&mut self) {
        self.port = free_port();
        self.tls_port = if self.certificates.is_some() { free_port() } else { 0 };
    }

    pub(super) fn set_config(&mut self, directive: &str, value: &str) {
        self.options.config.retain(|(name, _)| name != directive);
        self.options.config.push((directive.to_owned(), value.to_owned()));
    }

    /// Starts the process; false when it could not listen.
    pub(super) fn launch(&mut self) -> bool {
        let mut process = Process::start("redis-server", &mut self.command());
        let mut ready = false;
        until_blocking(START_LIMIT, "redis-server is ready", || {
            ready = process.stdout().iter().any(|line| line.contains("Ready to accept connections"));
            ready || process.ended().is_some()
        });
        let wrong = process.stdout().into_iter().chain(process.stderr()).find(|line| line.contains("FATAL"));
        assert!(wrong.is_none(), "redis-server refuses its configuration: {process:#?}");
        self.process = ready.then_some(process);
        ready
    }

    fn command(&self) -> Command {
        let mut command = Command::new(redis_variant::program(self.options.variant));
        if self.options.clock_off_s != 0 {
            command
                .env("LD_PRELOAD", process::faketime())
                .env("FAKETIME", format!("{:+}s", self.options.clock_off_s));
        }
        let mut set = |directive: &str, value: &str| {
            command.arg(format!("--{directive}")).args(value.split(' '));
        };
        set("bind", "127.0.0.1");
        set("port", &self.port.to_string());
        set("save", "");
        set("appendonly", if self.options.durable { "yes" } else { "no" });
        set("appendfsync", "always");
        for (directive, value) in &self.options.config {
            set(directive, value);
        }
        for user in &self.options.users {
            set("user", user);
        }
        if let Some(password) = &self.options.password {
            set("requirepass", password);
        }
        command.arg("--dir").arg(self.dir.path()).arg("--unixsocket").arg(self.socket());
        if let Some(certificates) = &self.certificates {
            command.args(["--tls-port", &self.tls_port.to_string(), "--tls-auth-clients", "no"]);
            for (directive, file) in certificates.directives() {
                command.arg(format!("--{directive}")).arg(file);
            }
        }
        command
    }
}

/// A port nobody listens on at this moment.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("bound above").port()
}
