//! Bad input: one line says file, object, field and what is allowed; exit code 2; everything else goes on.

use std::time::{Duration, Instant};

use crate::field::{Dev, Folder, LIMIT, completed, cronmill, entries, queue, task};
use crate::support::{Process, RedisServer, until};

/// Runs `cronmill dev` until it ends by itself: its exit code and what it said on stderr.
async fn refused(words: &[&str], folder: &Folder) -> (Option<i32>, String) {
    let mut command = cronmill(&["dev"]);
    let mut dev = Process::start("cronmill dev", command.args(words).arg("-f").arg(folder.path()));
    let code = dev.exit(LIMIT).await.code();
    (code, dev.all_stderr(LIMIT).await.join("\n"))
}

fn good() -> Folder {
    Folder::with(&[("q.yaml", queue("")), ("t.yaml", task("a", "* * * * * *", ""))])
}

#[tokio::test]
async fn what_is_wrong_is_told_in_one_line_each_and_all_else_works() {
    let redis = RedisServer::start();
    let folder = good();
    folder.write("q.yaml", &queue("workers: {}"));
    let wrong: [(&str, String, &[&str]); 9] = [
        ("schedule.yaml", task("b", "61 * * * *", ""), &["CronTask default/b", "spec.schedule", "0-59"]),
        (
            "zone.yaml",
            task("c", "@daily", "timeZone: Mars/Base"),
            &["CronTask default/c", "spec.timeZone", "Mars/Base"],
        ),
        (
            "field.yaml",
            task("d", "@daily", "suspended: true"),
            &["CronTask default/d", "spec.suspended", "suspend"],
        ),
        (
            "type.yaml",
            task("e", "@daily", "suspend: perhaps"),
            &["CronTask default/e", "spec.suspend", "true"],
        ),
        (
            "ref.yaml",
            task("f", "@daily", "").replace("{name: main}", "{name: mian}"),
            &["CronTask default/f", "spec.queueRef.name", "main"],
        ),
        ("twice.yaml", task("a", "@daily", ""), &["CronTask default/a", "metadata.name", "t.yaml"]),
        (
            "half.yaml",
            "apiVersion: cronmill.dev/v1alpha1\nkind: CronTask\nmetadata: {name: [".to_owned(),
            &["half.yaml"],
        ),
        (
            "kind.yaml",
            "apiVersion: cronmill.dev/v1alpha1\nkind: CronTsak\nmetadata: {name: g}\n".to_owned(),
            &["CronTsak", "CronTask"],
        ),
        (
            "limit.yaml",
            queue("lease: 30").replace("name: main", "name: other"),
            &["TaskQueue default/other", "spec.lease", "90s"],
        ),
    ];
    for (name, text, _) in &wrong {
        folder.write(name, text);
    }
    let mut dev = Dev::on(&redis, &folder, &[]);
    completed(&redis, 2).await;
    assert_eq!(entries(&redis).len(), 1);
    for (name, _, parts) in &wrong {
        let said = dev.0.stderr();
        let lines: Vec<_> = said
            .iter()
            .filter(|line| line.starts_with("error: ") && line.contains(&format!("/{name}")))
            .collect();
        assert_eq!(lines.len(), 1, "{name}: {:#?}", dev.0);
        let missing: Vec<_> = parts.iter().filter(|part| !lines[0].contains(**part)).collect();
        assert_eq!(missing, Vec::<&&str>::new(), "{}", lines[0]);
    }
    assert_eq!(dev.ended().await, Some(2));
    dev.until("it says so at the end", async || {
        dev.0.stderr().iter().any(|line| line == "error: manifests are wrong in 9 places, see above")
    })
    .await;
}

#[tokio::test]
async fn with_nothing_valid_it_ends_at_once_and_starts_nothing() {
    let folder = Folder::with(&[("t.yaml", task("a", "61 * * * *", ""))]);
    let began = Instant::now();
    // A server that is not there would be told of, were it needed.
    let (code, said) = refused(&["--redis-server", "/no/such/server"], &folder).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].contains("t.yaml") && lines[0].contains("spec.schedule"), "{said}");
    assert_eq!(lines[1..], ["error: nothing to run: every manifest is wrong, see above"]);
    std::fs::remove_file(folder.file("t.yaml")).unwrap();
    let mut command = cronmill(&["dev", "-f", "/no/such/folder"]);
    let mut dev = Process::start("cronmill dev", &mut command);
    assert_eq!(dev.exit(LIMIT).await.code(), Some(2));
    until(LIMIT, "it names the folder", async || {
        dev.stderr().iter().any(|line| line.contains("/no/such/folder"))
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_cannot_be_used_is_named_with_2_and_its_password_is_not_shown() {
    let locked = RedisServer::options().password("right").start();
    let evicting = RedisServer::options().config("maxmemory-policy", "allkeys-lru").start();
    let address = format!("127.0.0.1:{}", locked.port());
    for (url, parts) in [
        (format!("redis://:wr0ng@{address}"), vec!["log in to Redis", &address, "password"]),
        (format!("redis://ann:wr0ng@{address}"), vec!["log in to Redis", "as ann"]),
        (format!("redis://{address}"), vec!["log in to Redis"]),
        (evicting.url(), vec!["allkeys-lru", "noeviction"]),
        ("http://ann:wr0ng@host".to_owned(), vec!["--redis", "rediss://"]),
        ("redis://ann:wr0ng@host:port".to_owned(), vec!["--redis", "redis://"]),
    ] {
        let (code, said) = refused(&["--redis", &url], &good()).await;
        assert_eq!(code, Some(2), "{said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{parts:?}: {said}");
        assert!(!said.contains("wr0ng"), "{said}");
    }
}

#[tokio::test]
async fn a_redis_that_is_not_there_is_a_failure_of_the_moment() {
    let mut redis = RedisServer::start();
    redis.kill9();
    let (code, said) = refused(&["--redis", &redis.url()], &good()).await;
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains(&redis.port().to_string()), "{said}");
}

#[tokio::test]
async fn without_a_server_to_start_it_says_what_to_do() {
    let (code, said) = refused(&["--redis-server", "/no/such/redis-server"], &good()).await;
    assert_eq!(code, Some(2), "{said}");
    for part in
        ["/no/such/redis-server", "install redis-server 6.2", "--redis-server", "--redis", "No such file"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    let folder = good();
    let server = folder.file("server");
    std::fs::write(&server, "#!/bin/sh\nexit 5\n").unwrap();
    std::fs::set_permissions(&server, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (code, said) = refused(&["--redis-server", server.to_str().unwrap()], &folder).await;
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("ended at once") && said.contains("exit status: 5"), "{said}");
}

#[tokio::test]
async fn flags_that_cannot_be_meant_are_refused() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = refused(&["--listen", &address], &good()).await;
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains(&address), "{said}");
    for (words, part) in [
        (["--listen", "9090"], "ip:port"),
        (["--output", "xml"], "text, json"),
        (["--log", "loud=loud"], "log filter"),
        (["--nothing", "x"], "--nothing"),
    ] {
        let (code, said) = refused(&words, &good()).await;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(part), "{part}: {said}");
    }
}
