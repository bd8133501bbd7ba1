//! The flags of `cronmill-worker`, and what they mean once checked.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use secrecy::{ExposeSecret as _, SecretString};

use crate::broker::{ArchiveLimits, Endpoint};
use crate::cli::args::config::refused;
use crate::cli::args::duration::parse_positive_duration;
use crate::cli::args::redis::secret;
use crate::cli::args::{FileNotes, Given, Listen, LogArgs, PathArg, RedisArgs, parse_duration, parse_switch};
use crate::cli::exit::Failure;
use crate::config::{Idle, RpcClient, WorkerFile, read_text, read_worker};
use crate::handlers::exec::{ExecConfig, ExecConfigError, ExecGuard, ExecHandler, ExecPrograms};
use crate::handlers::http::{HttpConfig, HttpConfigError, HttpHandler, HttpHosts, HttpTargets};
use crate::handlers::{ServiceTarget, ShopClient, ShopTarget, ShopTargetError};
use crate::task::QueueWeights;

/// Runs the bundled task handlers: check-order-status, delete-expire-order, exec, hello, http, update-user-earn.
///
/// SIGTERM or SIGINT drains: nothing new is taken, what runs gets the shutdown timeout, the rest goes back to
/// the front of its queue without an attempt spent. A second signal ends that time now, a third leaves at once.
///
/// Exit codes: 0 drained, 2 wrong flag, URL, password or Redis, 3 failure.
#[derive(Parser, Debug)]
#[command(name = "cronmill-worker", version)]
pub(super) struct WorkerArgs {
    /// A service's file as go-zero has it, such as etc/mq.yaml: Redis, Concurrency, Queues, StrictPriority, Log, Prometheus.
    ///
    /// A flag wins over its variable, a variable over this file, and this file over defaults. A key that nobody knows is an
    /// error; one that does nothing here is named in a warning.
    #[arg(
        short = 'f',
        long,
        env = "CRONMILL_CONFIG",
        value_name = "FILE",
        default_value = "",
        hide_default_value = true
    )]
    config: PathArg,
    #[command(flatten)]
    redis: RedisArgs,
    /// The queues to serve and their weights, as in critical=6,default=3; a name alone has weight 1.
    #[arg(long, env = "CRONMILL_QUEUES", value_name = "NAME=WEIGHT,…", default_value = "default=1")]
    queues: QueueWeights,
    /// Serve a queue only while every queue of a greater weight is empty.
    #[arg(long, env = "CRONMILL_STRICT", value_parser = parse_switch)]
    strict: bool,
    /// How many tasks run at once, 1 to 10000.
    #[arg(long, env = "CRONMILL_CONCURRENCY", value_name = "N", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=10_000))]
    concurrency: u16,
    /// How long a claimed task stays this worker's unless extended; another takes it over that long after a
    /// crash. As in 90s 5m 2h.
    #[arg(long, env = "CRONMILL_LEASE", value_name = "DURATION", default_value = "30s")]
    #[arg(value_parser = parse_positive_duration)]
    lease: Duration,
    /// How many archived tasks of each queue are kept, the newest; 0 for none.
    #[arg(long, env = "CRONMILL_ARCHIVE_MAX_TASKS", value_name = "N", default_value_t = 10_000)]
    archive_max_tasks: u64,
    /// How long an archived task is kept. As in 90s 5m 2h 7d.
    #[arg(long, env = "CRONMILL_ARCHIVE_MAX_AGE", value_name = "DURATION", default_value = "90d")]
    #[arg(value_parser = parse_positive_duration)]
    archive_max_age: Duration,
    /// How long running tasks get to end after a signal. As in 90s 5m 2h.
    #[arg(long, env = "CRONMILL_SHUTDOWN_TIMEOUT", value_name = "DURATION", default_value = "8s")]
    #[arg(value_parser = parse_duration)]
    shutdown_timeout: Duration,
    /// Where to serve /metrics, /livez and /readyz: ip:port or :port; nowhere when absent or empty.
    #[arg(
        long,
        env = "CRONMILL_LISTEN",
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    listen: Listen,
    /// The shop's services for update-user-earn, check-order-status and delete-expire-order, as
    /// `cronmill shop serve` serves them: http://host:port, or https:// for TLS; without it, this worker has none of
    /// these handlers.
    #[arg(
        long,
        env = "CRONMILL_SHOP_TARGET",
        value_name = "URL",
        default_value = "",
        hide_default_value = true
    )]
    shop_target: String,
    /// PEM file of certificate authorities to trust for a shop's https:// instead of the public ones.
    #[arg(
        long,
        env = "CRONMILL_SHOP_CA",
        value_name = "FILE",
        default_value = "",
        hide_default_value = true
    )]
    shop_ca: PathArg,
    /// Where tasks of the type http:NAME go, as in orders=https://orders.internal/tasks; may be given several times.
    ///
    /// User and password of a URL are sent as basic authentication; put such a URL into the environment.
    #[arg(long = "http-target", env = "CRONMILL_HTTP_TARGETS", value_name = "NAME=URL,…")]
    #[arg(hide_env_values = true, value_parser = secret)]
    http_targets: Vec<SecretString>,
    /// Hosts that tasks of the type http may name in their header http-url, as in api.example.com,*.internal:8080;
    /// none when absent.
    #[arg(long = "http-host", env = "CRONMILL_HTTP_HOSTS", value_name = "HOST[:PORT],…")]
    http_hosts: Vec<HttpHosts>,
    /// PEM file of certificate authorities to trust for https:// besides the public ones.
    #[arg(
        long,
        env = "CRONMILL_HTTP_CA",
        value_name = "FILE",
        default_value = "",
        hide_default_value = true
    )]
    http_ca: PathArg,
    /// Programs that tasks of the type exec:NAME start, as in backup=/opt/backup --full; may be given several times,
    /// in the environment one on each line; none when absent.
    ///
    /// No shell reads them. Arguments with blanks or special characters are written as in
    /// backup=["/opt/backup","--to","a b"].
    #[arg(long = "exec", env = "CRONMILL_EXEC", value_name = "NAME=PROGRAM ARG…")]
    #[arg(hide_env_values = true, value_parser = secret)]
    exec: Vec<SecretString>,
    /// Variables of the worker's environment that those programs get besides PATH, as in TZ,DATABASE_URL.
    #[arg(long = "exec-env", env = "CRONMILL_EXEC_ENV", value_name = "NAME,…")]
    exec_env: Vec<Variables>,
    #[command(flatten)]
    log: LogArgs,
}

/// Why a block of an RPC client does nothing.
const NO_CLIENT: &str = "no handler calls it";
const OTHER_TARGET: &str = "--shop-target is given";

/// The one word with which the worker's program is the guard of another worker's programs.
pub(super) const EXEC_GUARD: &str = "guard-programs";

/// Names of environment variables.
#[derive(Clone, Debug)]
struct Variables(Vec<String>);

impl FromStr for Variables {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let checked = names.map(|name| match name {
            name if name.contains(['=', '\0']) => {
                Err(format!("{name:?} is no name of a variable (allowed: NAME,…)"))
            }
            name if name.starts_with("CRONMILL_") => Err(format!(
                "{name} is for the worker alone: programs get variables with such names from their task"
            )),
            name => Ok(name.to_owned()),
        });
        checked.collect::<Result<_, _>>().map(Self)
    }
}

/// A worker's configuration, checked.
pub(super) struct Config {
    pub(super) endpoint: Endpoint,
    pub(super) queues: QueueWeights,
    pub(super) strict: bool,
    pub(super) concurrency: usize,
    pub(super) lease: Duration,
    pub(super) archive: ArchiveLimits,
    pub(super) shutdown_timeout: Duration,
    pub(super) listen: Option<SocketAddr>,
    pub(super) shop: Option<ShopClient>,
    pub(super) http: HttpHandler,
    pub(super) exec: Option<ExecHandler>,
}

/// What a worker goes by: how to log, which is wanted before the rest, what to say of its file, and all else.
pub(super) struct Checked {
    pub(super) log: LogArgs,
    pub(super) notes: Option<FileNotes>,
    pub(super) config: Config,
}

impl WorkerArgs {
    /// What was typed and what stands in the file, checked.
    pub(super) fn check(self, given: Given<'_>) -> Result<Checked, Failure> {
        let file = self.config.0.as_deref().map(worker_file).transpose()?;
        let shop = shop_client(&self.shop_target, self.shop_ca.0.as_deref(), file.as_ref())?;
        let is_given = !self.shop_target.is_empty();
        let notes = self.config.0.zip(file.as_ref()).map(|(path, file)| notes(path, file, is_given));
        let service = file.as_ref().map(|file| file.service.clone());
        let log = match &service {
            Some(service) => self.log.or(given, service),
            None => self.log,
        };
        let (redis, queues, concurrency, strict) = match file {
            Some(file) => (file.redis, file.queues, file.concurrency, file.strict),
            None => (None, None, None, None),
        };
        let config = Config {
            endpoint: self.redis.endpoint_or(given, redis)?,
            http: http_handler(&self.http_targets, self.http_hosts, self.http_ca.0.as_deref())?,
            exec: exec_handler(&self.exec, &self.exec_env)?,
            shop,
            queues: given.or("queues", self.queues, queues),
            strict: given.or("strict", self.strict, strict),
            concurrency: given.or("concurrency", self.concurrency, concurrency).into(),
            lease: self.lease,
            archive: ArchiveLimits { tasks_max: self.archive_max_tasks, age_max: self.archive_max_age },
            shutdown_timeout: self.shutdown_timeout,
            listen: given.listen(self.listen, service.as_ref()).0,
        };
        Ok(Checked { log, notes, config })
    }
}

fn worker_file(path: &Path) -> Result<WorkerFile, Failure> {
    let (text, _) = read_text(path).map_err(refused)?;
    read_worker(path, &text).map_err(refused)
}

/// What is to be said of a worker's file.
fn notes(path: PathBuf, file: &WorkerFile, has_target: bool) -> FileNotes {
    let why = |client: &RpcClient| match client.service().as_str() {
        "order" | "trade" => has_target.then_some(OTHER_TARGET),
        _ => Some(NO_CLIENT),
    };
    let clients = file
        .rpc
        .iter()
        .filter_map(|client| Some(Idle { key: client.key.clone(), line: client.line, why: why(client)? }));
    let mut idle: Vec<_> = file.idle.iter().cloned().chain(clients).collect();
    idle.sort_by_key(|idle| idle.line);
    let name = file.service.told_name().map(str::to_owned);
    FileNotes { path, name, idle: idle.iter().map(ToString::to_string).collect() }
}

fn http_handler(
    targets: &[SecretString],
    hosts: Vec<HttpHosts>,
    authorities: Option<&Path>,
) -> Result<HttpHandler, Failure> {
    let mut config = HttpConfig::default();
    let wrong =
        |error: HttpConfigError| Failure::usage(error).context("--http-target or CRONMILL_HTTP_TARGETS");
    for list in targets {
        let list: HttpTargets = list.expose_secret().parse().map_err(wrong)?;
        config.targets.extend(list).map_err(wrong)?;
    }
    hosts.into_iter().for_each(|list| config.hosts.extend(list));
    let source = "--http-ca or CRONMILL_HTTP_CA";
    config.authorities = read_authorities(authorities, source)?;
    HttpHandler::new(config).map_err(|error| Failure::usage(error).context(source))
}

fn read_authorities(file: Option<&Path>, source: &'static str) -> Result<Option<Vec<u8>>, Failure> {
    let read = |file: &Path| {
        let failed =
            |error| Failure::usage(error).context(format!("read {}", file.display())).context(source);
        std::fs::read(file).map_err(failed)
    };
    file.map(read).transpose()
}

fn shop_client(
    url: &str,
    authorities: Option<&Path>,
    file: Option<&WorkerFile>,
) -> Result<Option<ShopClient>, Failure> {
    let (ca, target) = ("--shop-ca or CRONMILL_SHOP_CA", "--shop-target or CRONMILL_SHOP_TARGET");
    let authorities = read_authorities(authorities, ca)?;
    let shop = match file {
        _ if !url.is_empty() => Some(ShopTarget::at(url)),
        Some(file) => filed_shop(&file.rpc)?,
        None => None,
    };
    let Some(shop) = shop else {
        return match authorities {
            None => Ok(None),
            Some(_) => Err(Failure::usage(ShopTargetError::NoTls).context(ca)),
        };
    };
    let source = |error: &ShopTargetError| if matches!(error, ShopTargetError::Url) { target } else { ca };
    let client = ShopClient::new(ShopTarget { authorities, ..shop });
    client.map(Some).map_err(|error| {
        let source = source(&error);
        Failure::usage(error).context(source)
    })
}

/// Where a file says that the shop's services are.
fn filed_shop(clients: &[RpcClient]) -> Result<Option<ShopTarget>, Failure> {
    let service = |name: &str| {
        let client = clients.iter().find(|client| client.service() == name);
        let target = |client: &RpcClient| {
            let urls = client.urls().ok_or_else(|| {
                let (key, line) = (&client.key, client.line);
                Failure::usage(anyhow::anyhow!(
                    "{key} (line {line}) does not say where the service is (allowed: Endpoints, or a Target of \
                     dns:///HOST:PORT)"
                ))
            })?;
            Ok::<_, Failure>(ServiceTarget { urls, timeout: client.timeout })
        };
        client.map(target).transpose()
    };
    match (service("order")?, service("trade")?) {
        (None, None) => Ok(None),
        (Some(orders), Some(trade)) => Ok(Some(ShopTarget { orders, trade, authorities: None })),
        (Some(_), None) | (None, Some(_)) => Err(Failure::usage(anyhow::anyhow!(
            "of OrderRpcConf and TradeRpcConf only one is there; the handlers of orders call both"
        ))),
    }
}

fn exec_handler(lists: &[SecretString], variables: &[Variables]) -> Result<Option<ExecHandler>, Failure> {
    let wrong = |error: ExecConfigError| Failure::usage(error).context("--exec or CRONMILL_EXEC");
    let mut programs = ExecPrograms::default();
    for list in lists {
        let list: ExecPrograms = list.expose_secret().parse().map_err(wrong)?;
        programs.extend(list).map_err(wrong)?;
    }
    if programs.is_empty() {
        return Ok(None);
    }
    let names = variables.iter().flat_map(|list| &list.0).map(String::as_str).chain(["PATH"]);
    let environment = names.filter_map(|name| Some((name.into(), std::env::var_os(name)?))).collect();
    let program = std::env::current_exe();
    let program = program.map_err(|error| Failure::failed(error).context("find this program's own file"))?;
    let guard = Some(ExecGuard { program, words: vec![EXEC_GUARD.into()] });
    ExecHandler::new(ExecConfig { programs, environment, guard }).map(Some).map_err(wrong)
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("redis", &self.endpoint)
            .field("queues", &self.queues)
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use clap::{ArgMatches, CommandFactory, FromArgMatches};

    use super::*;

    fn read(flags: &[&str]) -> Result<(WorkerArgs, ArgMatches), String> {
        let flags = std::iter::once("cronmill-worker").chain(flags.iter().copied());
        let matches = WorkerArgs::command().try_get_matches_from(flags).map_err(|error| error.to_string())?;
        Ok((WorkerArgs::from_arg_matches(&matches).unwrap(), matches))
    }

    fn checked(flags: &[&str]) -> Result<Config, Failure> {
        let (args, matches) = read(flags).unwrap();
        args.check(Given::of(&matches)).map(|checked| checked.config)
    }

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        WorkerArgs::command().debug_assert();
    }

    #[test]
    fn every_flag_has_an_environment_variable() {
        for flag in WorkerArgs::command().get_arguments() {
            assert!(
                matches!(flag.get_id().as_str(), "help" | "version") || flag.get_env().is_some(),
                "{flag}"
            );
        }
    }

    #[test]
    fn a_password_in_a_broken_url_is_not_told() {
        let flags = ["--redis-url", "http://ann:s3cret@host"];
        assert!(!format!("{:?}", read(&flags).unwrap().0).contains("s3cret"));
        let failure = format!("{:?}", checked(&flags).unwrap_err());
        assert!(failure.contains("--redis-url") && failure.contains("redis://"), "{failure}");
        assert!(!failure.contains("s3cret"), "{failure}");
    }

    #[test]
    fn flags_become_a_configuration() {
        let flags = [
            "--queues=critical=6,default=3",
            "--strict",
            "--concurrency=5",
            "--lease=2m",
            "--archive-max-tasks=7",
            "--archive-max-age=2h",
            "--shutdown-timeout=0s",
            "--listen=127.0.0.1:9090",
        ];
        let config = checked(&flags).unwrap();
        assert_eq!(config.queues.to_string(), "critical=6,default=3");
        assert!(config.strict);
        assert_eq!(config.concurrency, 5);
        assert_eq!((config.lease, config.shutdown_timeout), (Duration::from_secs(120), Duration::ZERO));
        let archive = ArchiveLimits { tasks_max: 7, age_max: Duration::from_secs(7200) };
        assert_eq!(config.archive, archive);
        assert_eq!(config.listen, Some("127.0.0.1:9090".parse().unwrap()));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_is_allowed() {
        for (flag, part) in [
            ("--concurrency=0", "1..=10000"),
            ("--lease=0s", "90s 5m 2h 7d"),
            ("--lease=30", "90s 5m 2h 7d"),
            ("--archive-max-age=0s", "90s 5m 2h 7d"),
            ("--queues=a=0", "1 to 1000"),
            ("--listen=9090", "ip:port"),
            ("--strict=perhaps", "unexpected value"),
            ("--log-format=xml", "text, json"),
            ("--exec-env=A=b", "no name of a variable"),
            ("--exec-env=CRONMILL_REDIS_URL", "is for the worker alone"),
            ("--nothing", "unexpected argument"),
        ] {
            let error = read(&[flag]).unwrap_err();
            assert!(error.contains(part), "{flag}: {error}");
        }
    }
}
