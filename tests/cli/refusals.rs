//! A Redis that cannot be used, and how that is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::stage::{Ran, program};
use crate::support::RedisServer;

fn stats(url: &str) -> Ran {
    Ran::of(program().arg("stats").env("CRONMILL_REDIS_URL", url), b"")
}

#[test]
fn a_wrong_password_is_told_with_user_and_address_but_not_shown() {
    let redis = RedisServer::options().password("sesame").user("alice", "secret", "~* &* +@all").start();
    let address = format!("127.0.0.1:{}", redis.port());
    let wrong = stats(&redis.url_as("alice", "op3n")).refused(2);
    assert!(wrong.starts_with(&format!("error: log in to Redis at {address} as alice: ")), "{wrong}");
    let flag = format!("--redis-url={}", redis.url_as("default", "op3n"));
    let by_flag = Ran::of(program().args(["queue", "ls", &flag]), b"").refused(2);
    assert!(by_flag.contains(&format!("{address} as default")), "{by_flag}");
    let missing = stats(&format!("redis://{address}")).refused(2);
    assert!(missing.contains(&format!("{address} as default")), "{missing}");
    for message in [wrong, by_flag, missing] {
        assert!(
            !message.contains("op3n") && !message.contains("sesame") && message.lines().count() == 1,
            "{message}"
        );
    }
    stats(&redis.url_as("alice", "secret")).done();
    stats(&redis.url()).done();
}

#[test]
fn an_unreachable_redis_is_a_failure_with_its_address() {
    let message = stats("redis://ann:s3cret@127.0.0.1:1/0").refused(3);
    assert_eq!(message, "error: connect to Redis at 127.0.0.1:1: Connection refused (os error 111)\n");
}

#[test]
fn a_malformed_url_is_refused_without_showing_it() {
    for url in ["", "nonsense", "http://ann:s3cret@host", "redis://:s3cret@host:port", "redis://:s3cret@h/x"]
    {
        let message = stats(url).refused(2);
        let is_named = message.contains("--redis-url or CRONMILL_REDIS_URL: read the Redis URL");
        assert!(is_named && message.contains("redis://[user:password@]host"), "{url}: {message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
}

#[test]
fn a_redis_that_evicts_is_refused() {
    let redis = RedisServer::options().config("maxmemory-policy", "allkeys-lru").start();
    let message = stats(&redis.url()).refused(2);
    assert!(message.contains("maxmemory-policy allkeys-lru") && message.contains("noeviction"), "{message}");
}

#[test]
fn a_redis_that_is_too_old_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound above").port();
    // Ends when the program has closed its connection.
    let server = std::thread::spawn(move || be_old(listener.accept().expect("it connects").0));
    let message = stats(&format!("redis://127.0.0.1:{port}")).refused(2);
    assert_eq!(
        message,
        format!("error: Redis at 127.0.0.1:{port} is version 5.0.14; at least 6.2 is needed\n")
    );
    server.join().expect("it does not panic");
}

/// Answers every command as a Redis would that is fine with all of them but says that it is old.
fn be_old(stream: TcpStream) {
    let mut writer = stream.try_clone().expect("a second handle");
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while matches!(reader.read_line(&mut line), Ok(1..)) {
        let arguments: usize = line[1..].trim_end().parse().expect("an array of arguments");
        let mut words = Vec::new();
        for _ in 0..arguments {
            line.clear();
            reader.read_line(&mut line).expect("the length of an argument");
            let length: usize = line[1..].trim_end().parse().expect("a length");
            let mut word = vec![0; length + 2];
            reader.read_exact(&mut word).expect("an argument");
            words.push(String::from_utf8_lossy(&word[..length]).into_owned());
        }
        line.clear();
        let info = "redis_version:5.0.14\r\nmaxmemory_policy:noeviction\r\n";
        let answer =
            if words[0] == "INFO" { format!("${}\r\n{info}\r\n", info.len()) } else { "+OK\r\n".into() };
        // A connection that is closed meanwhile ends the loop.
        let _ = writer.write_all(answer.as_bytes());
    }
}

#[test]
fn tls_needs_the_authority_that_signed_the_certificate() {
    let redis = RedisServer::options().tls().start();
    let url = redis.tls_url();
    let with = |file: &str| {
        Ran::of(program().args(["stats", "--redis-ca", file]).env("CRONMILL_REDIS_URL", &url), b"")
    };
    let authority = redis.authority().to_str().expect("UTF-8");
    assert!(with(authority).done().contains("(TLS)"));
    let by_environment = Ran::of(
        program().arg("stats").env("CRONMILL_REDIS_URL", &url).env("CRONMILL_REDIS_CA", authority),
        b"",
    );
    by_environment.done();
    let unknown = stats(&url).refused(3);
    assert!(unknown.contains("UnknownIssuer"), "{unknown}");
    let missing = with("/does/not/exist").refused(2);
    assert!(
        missing.contains("--redis-ca or CRONMILL_REDIS_CA: ") && missing.contains("/does/not/exist"),
        "{missing}"
    );
    let plain = Ran::of(program().args(["stats", "--redis-ca", authority]), b"").refused(2);
    assert!(plain.contains("needs a URL for TLS: rediss://"), "{plain}");
}
