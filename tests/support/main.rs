//! The test support proves itself: a proxy that breaks nothing, or a server that keeps what it should lose,
//! would make every test that uses it pass for no reason.

#[path = "mod.rs"]
pub mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use support::proxy::contains;
use support::{Fault, Postgres, Process, Proxy, RedisServer, until, until_blocking};

const SOON: Duration = Duration::from_secs(10);

/// Sends one inline command and returns what comes back before the connection ends or pauses.
async fn ask(port: u16, command: &'static str) -> std::io::Result<String> {
    let talk = move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_millis(300)))?;
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        let (mut reply, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return Ok(format!("{} and closed", String::from_utf8_lossy(&reply))),
                Ok(length) => reply.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(String::from_utf8_lossy(&reply).into_owned())
    };
    tokio::task::spawn_blocking(talk).await.expect("it does not panic")
}

/// Whether the connection ended without a reply. Bytes that the proxy never read make the kernel reset it.
fn is_closed(answer: &std::io::Result<String>) -> bool {
    answer.as_ref().map_or(true, |text| text == " and closed")
}

#[test]
fn a_server_demands_its_password_and_knows_its_users() {
    let redis = RedisServer::options().password("sesame").user("alice", "secret", "~a:* +@all").start();
    assert_eq!(redis.cli(["ACL", "WHOAMI"]), "default");
    assert_eq!(redis.cli(["--user", "alice", "--pass", "secret", "ACL", "WHOAMI"]), "alice");
    let port = redis.port().to_string();
    let refused = Command::new("redis-cli").args(["-p", &port, "GET", "a"]).output().expect("redis-cli runs");
    assert!(String::from_utf8_lossy(&refused.stdout).contains("NOAUTH"), "{refused:?}");
    assert!(redis.url().contains(":sesame@"));
}

#[test]
fn a_postgres_keeps_what_was_committed_through_a_crash_and_is_gone_with_its_guard() {
    let mut server = Postgres::start();
    let port = server.port();
    server.judge("CREATE TABLE t (x INTEGER); INSERT INTO t VALUES (7)");
    let session = server.session("BEGIN; INSERT INTO t VALUES (8)");
    until_blocking(SOON, "the session is there", || session.stdout().iter().any(|line| line == "held"));
    server.stop();
    TcpStream::connect(("127.0.0.1", port)).expect_err("nobody listens any more");
    server.start_again();
    assert_eq!(server.judge("SELECT x FROM t"), ["7"]);
    assert_eq!(Postgres::start().judge("SELECT COUNT(*) FROM pg_tables WHERE tablename = 't'"), ["0"]);
    drop(server);
    TcpStream::connect(("127.0.0.1", port)).expect_err("nobody listens any more");
}

#[test]
fn a_server_is_gone_with_its_guard() {
    let redis = RedisServer::start();
    let port = redis.port();
    TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    drop(redis);
    TcpStream::connect(("127.0.0.1", port)).expect_err("nobody listens any more");
}

#[test]
fn only_a_durable_server_keeps_its_data_through_a_kill() {
    for (options, kept) in [(RedisServer::options(), ""), (RedisServer::options().durable(), "1")] {
        let mut redis = options.start();
        redis.cli(["SET", "a", "1"]);
        redis.kill9();
        redis.start_again();
        assert_eq!(redis.cli(["GET", "a"]), kept);
    }
}

#[test]
fn a_directive_reaches_the_server() {
    let redis = RedisServer::options().config("maxmemory-policy", "allkeys-lru").start();
    assert_eq!(redis.cli_lines(["CONFIG", "GET", "maxmemory-policy"])[1], "allkeys-lru");
}

#[test]
fn a_server_speaks_tls_with_a_certificate_its_authority_signed() {
    let redis = RedisServer::options().tls().start();
    let url = redis.tls_url();
    let port = url.split([':', '/']).rev().nth(1).expect("the URL has a port");
    let mut cli = Command::new("redis-cli");
    cli.args(["-h", "127.0.0.1", "-p", port, "--tls", "--cacert"]).arg(redis.authority()).arg("PING");
    let answer = cli.output().expect("redis-cli runs");
    assert_eq!(String::from_utf8_lossy(&answer.stdout).trim(), "PONG", "{answer:?}");
}

#[test]
fn bytes_that_are_no_text_pass_through_redis_cli() {
    let redis = RedisServer::start();
    redis.cli(["EVAL", r"return redis.call('SET', 'a', '\255\0\10')", "0"]);
    assert_eq!(redis.cli_bytes(["GET", "a"]), [255, 0, 10]);
    assert_eq!(redis.keys("*"), ["a"]);
    assert!(redis.info("total_commands_processed") > 0);
}

#[tokio::test]
async fn a_frozen_server_answers_again_when_thawed() {
    let redis = RedisServer::start();
    redis.freeze();
    assert_eq!(ask(redis.port(), "PING").await.expect("the kernel still accepts"), "");
    redis.thaw();
    assert_eq!(ask(redis.port(), "PING").await.expect("it answers"), "+PONG\r\n");
}

#[tokio::test]
async fn a_healthy_proxy_changes_nothing() {
    let redis = RedisServer::start();
    let proxy = Proxy::to(redis.port()).await;
    assert_eq!(ask(proxy.port(), "ECHO hello").await.expect("it passes"), "$5\r\nhello\r\n");
    assert_eq!((proxy.accepted(), proxy.cuts()), (1, 0));
}

#[tokio::test]
async fn a_cut_reply_means_that_redis_has_done_the_work() {
    let redis = RedisServer::start();
    let proxy = Proxy::to(redis.port()).await;
    proxy.inject(Fault::in_reply_to(|bytes| contains(bytes, "INCR"), 1).times(2));
    assert_eq!(ask(proxy.port(), "PING").await.expect("no fault here"), "+PONG\r\n");
    for _ in 0..2 {
        assert_eq!(ask(proxy.port(), "INCR n").await.expect("one byte passes"), ": and closed");
    }
    assert_eq!(ask(proxy.port(), "INCR n").await.expect("the fault is used up"), ":3\r\n");
    assert_eq!(proxy.cuts(), 2);
}

#[tokio::test]
async fn a_cut_request_never_reaches_redis() {
    let redis = RedisServer::start();
    let proxy = Proxy::to(redis.port()).await;
    proxy.inject(Fault::before_request(|bytes| contains(bytes, "INCR")));
    assert!(is_closed(&ask(proxy.port(), "INCR n").await));
    assert_eq!(redis.cli(["GET", "n"]), "");
    assert_eq!(proxy.cuts(), 1);
}

#[tokio::test]
async fn a_reply_that_fits_is_withheld() {
    let redis = RedisServer::start();
    let proxy = Proxy::to(redis.port()).await;
    proxy.inject(Fault::on_reply(|bytes| contains(bytes, "secret")));
    assert_eq!(ask(proxy.port(), "ECHO secret").await.expect("closed in order"), " and closed");
}

#[tokio::test]
async fn a_proxy_refuses_cuts_and_delays_until_healed() {
    let redis = RedisServer::start();
    let proxy = Proxy::to(redis.port()).await;
    let waiting = tokio::spawn(ask(proxy.port(), "BLPOP nothing 5"));
    until(SOON, "the connection is open", async || proxy.accepted() == 1).await;
    proxy.cut_all();
    assert_eq!(waiting.await.expect("no panic").expect("closed in order"), " and closed");

    proxy.refuse(true);
    assert!(is_closed(&ask(proxy.port(), "PING").await));

    proxy.heal();
    proxy.delay_replies(Duration::from_millis(100));
    let start = Instant::now();
    assert_eq!(ask(proxy.port(), "PING").await.expect("late, but it answers"), "+PONG\r\n");
    assert!(start.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn a_process_is_watched_frozen_and_ended() {
    let script = "trap 'kill $!; echo bye; exit 7' TERM; sleep 600 & echo up; echo no >&2; wait";
    let mut process = Process::start("shell", Command::new("bash").args(["-c", script]));
    process.line(SOON, |line| line == "up").await;
    until(SOON, "standard error is read", async || process.stderr() == ["no"]).await;
    process.freeze();
    process.terminate();
    assert_eq!(process.ended(), None);
    process.thaw();
    assert_eq!(process.exit(SOON).await.code(), Some(7));
    process.line(SOON, |line| line == "bye").await;
    assert_eq!(process.all_stderr(SOON).await, ["no"]);
}

#[test]
fn a_process_dies_with_its_guard() {
    let process = Process::start("sleep", Command::new("sleep").arg("600"));
    let entry = format!("/proc/{}", process.pid());
    drop(process);
    until_blocking(SOON, "the process is gone", || !std::path::Path::new(&entry).exists());

    let mut process = Process::start("sleep", Command::new("sleep").arg("600"));
    process.kill9();
    assert_eq!(process.exit_blocking(SOON).signal(), Some(9));
}

#[test]
#[should_panic(expected = "not within 20ms: pigs fly")]
fn waiting_for_what_never_comes_ends_at_the_deadline() {
    until_blocking(Duration::from_millis(20), "pigs fly", || false);
}
