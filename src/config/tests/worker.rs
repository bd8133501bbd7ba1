//! The file of a worker.

use std::path::Path;
use std::time::Duration;

use crate::config::{ConfigFault, LogEncoding, RpcClient, WorkerFile, read_worker};

/// The tutorial's file, in its shape.
const TUTORIAL: &str = r#"Name: mq
Mode: dev

Prometheus:
  Host: 0.0.0.0
  Port: 4010
  Path: /metrics

Telemetry:
  Name: mq
  Endpoint: http://jaeger:14268/api/traces
  Sampler: 1.0
  Batcher: jaeger

Log:
  ServiceName: mq-job
  Level: info
  Mode: console
  Encoding: plain

Redis:
  Host: redis:6379
  Type: node
  Pass: s3cret

OrderRpcConf:
  Endpoints:
    - order-rpc:2001
  NonBlock: true
ResourcesRpcConf:
  Endpoints: [resources-rpc:2002]
TradeRpcConf:
  Target: dns:///trade-rpc:2003
  Timeout: 500

Concurrency: 20
"#;

fn read(text: &str) -> WorkerFile {
    read_worker(Path::new("mq.yaml"), text).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

/// What is wrong with a text, in one line each, without the file's name.
fn wrong(text: &str) -> Vec<String> {
    let errors = read_worker(Path::new("mq.yaml"), text).expect_err(text);
    let line = |error: &crate::config::ConfigError| error.to_string().replace("mq.yaml:", "");
    errors.iter().map(line).collect()
}

fn address(text: &str) -> String {
    read(text).redis.map(|redis| redis.to_string()).unwrap_or_default()
}

#[test]
fn the_tutorials_file_is_read_as_it_stands() {
    let file = read(TUTORIAL);
    let service = &file.service;
    assert_eq!((service.name.as_deref(), service.told_name()), (Some("mq"), Some("mq-job")));
    assert_eq!((service.log_level, service.log_encoding), (Some("info"), Some(LogEncoding::Plain)));
    assert_eq!(service.listen, "0.0.0.0:4010".parse().ok());
    assert_eq!(file.redis.as_ref().map(ToString::to_string).as_deref(), Some("redis:6379"));
    assert_eq!((file.concurrency, file.strict), (Some(20), None));
    let idle: Vec<_> = file.idle.iter().map(ToString::to_string).collect();
    assert_eq!(idle, ["Mode (line 2)", "Telemetry (line 9)"]);
    let order = RpcClient {
        key: "OrderRpcConf".into(),
        line: 26,
        endpoints: vec!["order-rpc:2001".into()],
        target: None,
        non_block: true,
        timeout: Some(Duration::from_secs(2)),
    };
    assert_eq!((file.rpc.len(), &file.rpc[0]), (3, &order));
    let trade = &file.rpc[2];
    assert_eq!(
        (trade.target.as_deref(), trade.timeout),
        (Some("dns:///trade-rpc:2003"), Some(Duration::from_millis(500)))
    );
    assert!(!format!("{file:?}").contains("s3cret"));
}

#[test]
fn a_client_says_whose_it_is_and_where_that_is() {
    for (block, service, urls) in [
        ("OrderRpcConf: {Endpoints: ['a:1', 'b:2']}", "order", Some(vec!["http://a:1", "http://b:2"])),
        ("trade_rpc: {Target: 'dns:///trade:3'}", "trade", Some(vec!["http://trade:3"])),
        ("TradeRpc: {Target: 'direct:///a:1,b:2'}", "trade", Some(vec!["http://a:1", "http://b:2"])),
        ("TradeRpc: {Target: 'trade:3'}", "trade", Some(vec!["http://trade:3"])),
        ("TradeRpc: {Target: 'etcd://etcd:2379/trade'}", "trade", None),
        ("TradeRpc: {Etcd: {Hosts: ['etcd:2379'], Key: trade}}", "trade", None),
    ] {
        let file = read(block);
        let client = &file.rpc[0];
        let urls = urls.map(|urls| urls.into_iter().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!((client.service().as_str(), client.urls()), (service, urls), "{block}");
    }
}

#[test]
fn keys_are_alike_in_upper_and_lower_case_and_json_is_read_too() {
    let file =
        read("concurrency: 3\nREDIS: {host: h}\nqueues: {Critical: 6, low: 1}\nstrictpriority: true\n");
    assert_eq!((file.concurrency, file.strict), (Some(3), Some(true)));
    // Names of queues are as they are written.
    assert_eq!(file.queues.map(|queues| queues.to_string()).as_deref(), Some("Critical=6,low=1"));
    assert_eq!(file.redis.map(|redis| redis.to_string()).as_deref(), Some("h:6379"));
    let json = read_worker(Path::new("mq.json"), r#"{"Concurrency": 7}"#).expect("sound");
    assert_eq!(json.concurrency, Some(7));
    assert_eq!(wrong("Concurrency: 1\nconcurrency: 2\n").len(), 1);
}

#[test]
fn a_redis_is_one_server_or_a_cluster_with_or_without_tls_and_login() {
    for (redis, expected) in [
        ("{Host: 'h:7000'}", "h:7000"),
        ("{Host: 'h:7000', Type: node, Pass: ''}", "h:7000"),
        ("{Host: 'h:7000', Tls: true}", "h:7000 (TLS)"),
        ("{Host: 'a:1,b:2', Type: cluster}", "a:1,b:2 (cluster)"),
        ("{Host: '[::1]:7000'}", "::1:7000"),
    ] {
        assert_eq!(address(&format!("Redis: {redis}")), expected, "{redis}");
    }
    let redis = read("Redis: {Host: h, User: ann, Pass: 'p@s:/?#%ü'}").redis.expect("it is there");
    assert_eq!(redis.user(), "ann");
    assert_eq!(read("Redis: {Host: h, Pass: x}").redis.expect("it is there").user(), "default");
}

#[test]
fn what_does_nothing_here_is_named_with_its_line() {
    let text = "Mode: pro\nLog:\n  Mode: file\n  Path: logs\n  KeepDays: 7\n  Stat: true\nPrometheus: {Host: localhost, Path: /m}\n\
                DevServer: {Enabled: true}\nRedis: {Host: h, NonBlock: false}\n";
    let file = read(text);
    let idle: Vec<_> = file.idle.iter().map(ToString::to_string).collect();
    assert_eq!(
        idle,
        [
            "Mode (line 1)",
            "Log.Mode (line 3: logs go to stderr)",
            "Log.Path (line 4: logs go to stderr)",
            "Log.KeepDays (line 5: logs go to stderr)",
            "Log.Stat (line 6)",
            "Prometheus.Path (line 7: metrics are at /metrics)",
            "DevServer (line 8)",
            "Redis.NonBlock (line 9: a Redis that is away is waited for)",
        ]
    );
    assert_eq!(file.service.listen, "127.0.0.1:9101".parse().ok(), "go-zero's port");
    let idle = read("Prometheus: {Port: 4010}\nRedis: {Host: h, NonBlock: true}\n").idle;
    assert_eq!(
        idle.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["Prometheus (line 1: without a Host nothing listens)"]
    );
    assert_eq!(read("Log: {Level: severe, Encoding: json}").service.log_level, Some("error"));
}

#[test]
fn what_is_wrong_is_told_with_line_key_and_what_is_allowed() {
    for (text, expected) in [
        ("Nmae: x", "1: Nmae: unknown key, did you mean Name?; allowed: Name, Mode, Log,"),
        ("Tasks: []", "1: Tasks: is a key of cronmill scheduler, not of this program"),
        ("Concurrency: 0", "1: Concurrency: 0 is not allowed; allowed: a whole number from 1 to 10000"),
        ("\nConcurrency: many", "2: Concurrency: is a text; allowed: a whole number"),
        ("StrictPriority: 'yes'", "1: StrictPriority: is a text; allowed: true or false"),
        ("Queues: [a]", "1: Queues: is a list; allowed: queues with their weights"),
        ("Queues: {}", "1: Queues: names no queue; allowed: at least one"),
        ("Queues:\n  a: 1\n  b: 0", "3: Queues.b: 0 is not allowed; allowed: a whole number from 1 to 1000"),
        (
            "Mode: deev",
            "1: Mode: \"deev\" is not allowed, did you mean dev?; allowed: dev, test, rt, pre, pro",
        ),
        ("Log: {Level: warn}", "1: Log.Level: \"warn\" is not allowed; allowed: debug, info, error, severe"),
        ("Log:\n  Encoding: xml", "2: Log.Encoding: \"xml\" is not allowed; allowed: json, plain"),
        ("Log: loud", "1: Log: is a text; allowed: an object of keys"),
        (
            "Prometheus: {Host: prom, Port: 1}",
            "1: Prometheus.Host: \"prom\" is no address; allowed: an IP address",
        ),
        (
            "Prometheus: {Host: 0.0.0.0, Port: 70000}",
            "1: Prometheus.Port: 70000 is not allowed; allowed: a whole",
        ),
        ("Redis: {Type: node}", "1: Redis.Host: is missing; allowed: host:port"),
        (
            "Redis: {Host: h, Type: nod}",
            "1: Redis.Type: \"nod\" is not allowed, did you mean node?; allowed: node, cluster",
        ),
        (
            "Redis: {Host: 'a:1,b:2'}",
            "1: Redis.Host: names several servers; those of a cluster need Type: cluster",
        ),
        ("Redis: {Host: 'h:port'}", "1: Redis.Host: is no address of a server; allowed: host:port"),
        ("Redis: {Host: h, User: ann}", "1: Redis.User: stands there without a Pass"),
        ("ARpc: {Endpoints: [order]}", "1: ARpc.Endpoints[0]: is no address of a server; allowed: host:port"),
        ("ARpcConf: {NonBlock: true}", "1: ARpcConf: names no server; allowed: Endpoints, Target or Etcd"),
        ("Concurrency: 1\nconcurrency: 2\n", "2: concurrency: stands there twice, as Concurrency too"),
    ] {
        let told = wrong(text);
        assert!(told.len() == 1 && told[0].starts_with(expected), "{text}: {told:#?}");
    }
    assert_eq!(wrong("Nmae: x\nConcurrency: 0\nRedis: {Hots: a}\n").len(), 4, "all of it at once");
}

#[test]
fn what_is_no_file_of_keys_is_told_with_its_line() {
    for (text, expected) in [
        ("", " holds nothing; allowed: one object of keys"),
        ("- a", "1: is a list; allowed: one object of keys"),
        ("Name: a\n---\nName: b\n", "2: a second document begins here; allowed: one object of keys"),
        ("Name: a\nName: b\n", "2: "),
        ("Name: [a\n", ""),
    ] {
        let told = wrong(text);
        assert!(told.len() == 1 && told[0].starts_with(expected), "{text}: {told:#?}");
        let error = &read_worker(Path::new("mq.yaml"), text).expect_err("as above")[0];
        assert_eq!((error.fault, error.is_retryable()), (ConfigFault::Syntax, false));
    }
}

#[test]
fn no_message_shows_a_password() {
    for text in [
        "Redis: {Host: 'redis://:s3cret@h:1', Pass: s3cret}",
        "Redis: {Host: ':s3cret@h:1'}",
        "Redis: {Host: h, Pass: [s3cret]}",
        "Redis: {Host: h, Pass: {s3cret: s3cret}}",
        "Redis:\n  Host: h\n  Pass: \"s3cret\n",
        "Redis:\n  Host: h\n  Pass: 's3cret\n",
        "Redis:\n  Host: h\n  Pass: \"s3cret\\q\"\n",
        "Redis:\n  Host: h\n  Pass: *s3cret\n",
        "Redis:\n  Host: h\n  Pass: s3cret: s3cret\n",
        "Redis:\n  Host: h\n  Pass: @s3cret\n",
        "Redis:\n  Host: h\n  Pass: %s3cret\n",
        "Redis:\n  Host: h\n  Pass: !s3cret x\n",
        "ARpc: {Endpoints: ['h:1'], Token: s3cret, NonBlock: s3cret}",
    ] {
        let told = match read_worker(Path::new("mq.yaml"), text) {
            Ok(file) => format!("{file:?}"),
            Err(errors) => errors.iter().map(ToString::to_string).collect(),
        };
        assert!(!told.contains("s3cret"), "{text}: {told}");
    }
}
