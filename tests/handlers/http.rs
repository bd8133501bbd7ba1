//! The handler `http` against real servers: what it sends, what answers mean, and what happens to bad ones.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use cronmill::broker::CancelThen;
use cronmill::handlers::http::HttpConfig;
use cronmill::producer::Task;
use cronmill::task::State;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::support::tls::Certificates;
use crate::support::{Proxy, until};
use crate::web::{Field, LIMIT, Web, answer};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_becomes_a_post_with_its_metadata_and_the_answer_its_result() {
    let web = Web::start(|_| answer(201, &[], r#"{"sum":3}"#)).await;
    let field = Field::to(&format!("http://ann:s3cret@{}/tasks?x=1", web.address)).await;
    let task = Task::new("http:web:sum", Bytes::from_static(br#"{"of":[1,2]}"#)).id("sum 1").max_retry(7);
    let task = task.timeout(Duration::from_secs(90)).header("traceparent", "00-ab").header("Host", "evil");
    field.send(task.header("Cronmill-Queue", "other").header("http-url", "http://evil/")).await;
    let view = field.reaches("sum 1", State::Completed).await;
    assert_eq!(view.result.as_deref(), Some(&br#"{"sum":3}"#[..]));
    let [seen] = &web.seen()[..] else { panic!("one request: {:?}", web.seen()) };
    assert_eq!((seen.line.as_str(), &seen.body[..]), ("POST /tasks?x=1", &br#"{"of":[1,2]}"#[..]));
    let host = web.address.to_string();
    let expected = [
        ("host", host.as_str()),
        ("authorization", "Basic YW5uOnMzY3JldA=="),
        ("content-type", "application/json"),
        ("content-length", "12"),
        ("cronmill-task-id", "sum%201"),
        ("cronmill-task-type", "http:web:sum"),
        ("cronmill-queue", "default"),
        ("cronmill-attempt", "0"),
        ("cronmill-max-retry", "7"),
        ("traceparent", "00-ab"),
        ("http-url", ""),
    ];
    for (name, value) in expected {
        assert_eq!(seen.header(name), value, "{name}");
    }
    let deadline: Timestamp = seen.header("cronmill-deadline").parse().unwrap();
    let left = deadline.duration_since(field.broker.now()).as_secs();
    assert!((30..=90).contains(&left), "{left}");
    assert!(seen.header("user-agent").starts_with("cronmill-worker/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_may_be_any_bytes_or_none() {
    let web = Web::start(|_| answer(204, &[], "")).await;
    let field = Field::to(&web.url()).await;
    field.send(Task::new("http:web", Bytes::from_static(&[0, 255])).id("bytes")).await;
    let typed = Task::new("http:web", Bytes::from_static(b"<a/>")).header("Content-Type", "text/xml");
    field.send(typed.id("typed")).await;
    field.send(Task::new("http:web", None).id("none")).await;
    field.send(Task::new("http:web", None).header("a", "b\nc").id("forbidden")).await;
    for id in ["bytes", "typed", "none"] {
        assert_eq!(field.reaches(id, State::Completed).await.result, None, "an empty answer is none");
    }
    let view = field.reaches("forbidden", State::Archived).await;
    assert!(view.message.error.contains("header \"a\" of the task"), "{}", view.message.error);
    let mut sent: Vec<_> =
        web.seen().iter().map(|seen| (seen.body.to_vec(), seen.header("content-type").to_owned())).collect();
    sent.sort();
    let expected = [(&b""[..], ""), (&[0, 255], "application/octet-stream"), (b"<a/>", "text/xml")]
        .map(|(body, kind)| (body.to_vec(), kind.to_owned()));
    assert_eq!(sent, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_decides_what_becomes_of_the_task() {
    let web = Web::start(|seen| {
        let id = seen.header("cronmill-task-id");
        let (status, wait) = id.split_once('-').unwrap();
        let headers = [("retry-after", wait)];
        answer(
            status.parse().unwrap(),
            if wait.is_empty() { &[] } else { &headers },
            format!("said {status}"),
        )
    })
    .await;
    let field = Field::to(&web.url()).await;
    let cases = [
        ("200-", State::Completed),
        ("299-", State::Completed),
        ("400-", State::Archived),
        ("404-5", State::Archived),
        ("410-", State::Archived),
        ("408-", State::Retry),
        ("429-", State::Retry),
        ("429-500", State::Scheduled),
        ("429-soon", State::Retry),
        ("500-5", State::Retry),
        ("502-", State::Retry),
        ("503-", State::Retry),
        ("503-99999999", State::Scheduled),
        ("302-", State::Archived),
    ];
    for (id, _) in cases {
        field.post(id).await;
    }
    for (id, state) in cases {
        let view = field.reaches(id, state).await;
        let status = &id[..3];
        assert_eq!(view.result.as_deref(), Some(format!("said {status}").as_bytes()), "{id}");
        assert_eq!(view.message.retried, i32::from(state == State::Retry), "{id}");
        let error = view.message.error.as_str();
        match state {
            State::Completed | State::Scheduled => assert_eq!(error, "", "{id}"),
            _ => assert!(error.starts_with(&format!("POST {}/: answered {status} ", web.url())), "{error}"),
        }
        if state == State::Scheduled {
            let left = view.at.unwrap().duration_since(field.broker.now()).as_secs();
            let (least, most) = if id.starts_with("429") { (440, 501) } else { (3540, 3601) };
            assert!((least..=most).contains(&left), "{id}: {left}");
            let reason = field.broker.task_history(field.queue(), id).await.unwrap().snoozed.unwrap().1;
            assert!(reason.contains(&format!("answered {status} ")), "{reason}");
        }
    }
    assert_eq!(web.seen().len(), cases.len(), "each was asked once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_time_gets_it_at_no_attempt() {
    let calls = AtomicUsize::new(0);
    let web = Web::start(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => answer(429, &[("retry-after", "1")], ""),
        1 => {
            let soon = Timestamp::now() + Duration::from_secs(1);
            answer(503, &[("retry-after", &soon.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())], "")
        }
        _ => answer(200, &[], ""),
    })
    .await;
    let field = Field::to(&web.url()).await;
    field.send(Task::new("http:web", None).id("a").max_retry(0)).await;
    field.reaches("a", State::Completed).await;
    let attempts: Vec<String> =
        web.seen().iter().map(|seen| seen.header("cronmill-attempt").to_owned()).collect();
    assert_eq!(attempts, ["0", "0", "0"]);
    assert_eq!((field.stats.snoozed(), field.stats.failed()), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_another_host_is_never_followed() {
    let other = Web::start(|_| answer(200, &[], "stolen")).await;
    let elsewhere = format!("{}/x?token=s3cret", other.url());
    let web = Web::start(move |seen| {
        let status = seen.header("cronmill-task-id").parse().unwrap();
        answer(status, &[("location", &elsewhere)], "")
    })
    .await;
    let field = Field::to(&web.url()).await;
    for id in ["301", "302", "303", "307", "308"] {
        field.post(id).await;
        let error = field.reaches(id, State::Archived).await.message.error;
        assert!(
            error.contains(&format!("answered {id} ")) && error.contains(&other.address.to_string()),
            "{error}"
        );
        assert!(!error.contains("s3cret"), "{error}");
    }
    assert_eq!((web.seen().len(), other.seen().len()), (5, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_within_one_server_is_followed_with_the_payload_but_not_for_ever() {
    let web = Web::start(|seen| match seen.line.as_str() {
        "POST /" if seen.header("cronmill-task-id") == "once" => {
            answer(307, &[("location", "/there?x=1")], "")
        }
        "POST /there?x=1" => answer(200, &[], seen.body.clone()),
        _ => answer(308, &[("location", "/again")], ""),
    })
    .await;
    let field = Field::to(&web.url()).await;
    field.send(Task::new("http:web", Bytes::from_static(b"payload")).id("once")).await;
    assert_eq!(field.reaches("once", State::Completed).await.result.as_deref(), Some(&b"payload"[..]));
    field.post("round").await;
    let error = field.reaches("round", State::Archived).await.message.error;
    assert!(error.contains("redirected more than 5 times"), "{error}");
    assert_eq!(web.seen().len(), 2 + 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_answer_is_cut_and_the_rest_is_not_waited_for() {
    let endless =
        || futures::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 64 * 1024 - 1])));
    let web = Web::start(move |_| answer(200, &[], Body::from_stream(endless()))).await;
    let field = Field::to(&web.url()).await;
    let begun = Instant::now();
    field.post("a").await;
    let result = field.reaches("a", State::Completed).await.result.unwrap();
    assert!(result.len() == 64 * 1024 && result.iter().all(|byte| *byte == b'x'), "{}", result.len());
    assert!(begun.elapsed() < LIMIT);
}

/// A server that says these bytes to every request and then does as told; each connection's end is told.
async fn raw(said: &'static [u8], half_closes: bool) -> (String, mpsc::UnboundedReceiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (ends, ended) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let ends = ends.clone();
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                let _request = stream.read(&mut buffer).await;
                let _ = stream.write_all(said).await;
                if half_closes {
                    let _ = stream.shutdown().await;
                }
                // Until the other side closes: what it still says is of no interest.
                while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
                let _ = ends.send(());
            });
        }
    });
    (url, ended)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_retried() {
    let cases: [(&[u8], &str); 4] = [
        (b"", "no answer"),
        (b"HTTP/1.1 200 O", "no answer"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", "the answer broke off"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no answer"),
    ];
    for (said, error) in cases {
        let (url, mut ended) = raw(said, true).await;
        let field = Field::to(&url).await;
        field.post("a").await;
        let view = field.reaches("a", State::Retry).await;
        let text = &view.message.error;
        assert!(view.message.retried == 1 && text.starts_with(&format!("POST {url}/: {error}: ")), "{text}");
        tokio::time::timeout(LIMIT, ended.recv()).await.expect("a half-closed connection is closed").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_counts_by_its_status_however_its_text_ends() {
    let cases: [(&[u8], State, &str); 3] = [
        (b"HTTP/1.1 400 Bad Request\r\ncontent-length: 100\r\n\r\nhalf", State::Archived, "half"),
        (
            b"HTTP/1.1 429 Wait\r\nretry-after: 60\r\ncontent-length: 100\r\n\r\nwait",
            State::Scheduled,
            "wait",
        ),
        (b"HTTP/1.1 500 Oh\r\ntransfer-encoding: chunked\r\n\r\n2\r\noh\r\nnonsense", State::Retry, "oh"),
    ];
    for (said, state, text) in cases {
        for half_closes in [true, false] {
            let (url, _) = raw(said, half_closes).await;
            let field = Field::to(&url).await;
            field.post("a").await;
            let result = field.reaches("a", state).await.result;
            assert_eq!(result.as_deref(), Some(text.as_bytes()), "half-closes: {half_closes}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_used_again() {
    let web = Web::start(|_| answer(200, &[], "x")).await;
    let proxy = Proxy::to(web.address.port()).await;
    let field = Field::to(&format!("http://127.0.0.1:{}", proxy.port())).await;
    for id in 0..200 {
        field.send(Task::new("http:web", None).id(id.to_string())).await;
    }
    until(LIMIT, "all are done", async || field.stats.succeeded() == 200).await;
    assert_eq!(web.seen().len(), 200);
    assert!(proxy.accepted() <= 40, "{} connections for 200 tasks, 8 at once", proxy.accepted());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_a_large_payload_at_once_is_heard() {
    let (url, _) =
        raw(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig", true).await;
    let field = Field::to(&url).await;
    field.send(Task::new("http:web", Bytes::from(vec![b'x'; 20 << 20])).id("a")).await;
    let view = field.reaches("a", State::Archived).await;
    assert!(view.message.error.contains("answered 413"), "{}", view.message.error);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_retried() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let field = Field::to(&format!("http://{free}")).await;
    field.post("a").await;
    let error = field.reaches("a", State::Retry).await.message.error;
    assert!(error.contains("cannot connect") && error.contains("refused"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_ends_the_request_and_is_retried_and_a_deadline_archives() {
    for said in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"] {
        let (url, mut ended) = raw(said, false).await;
        let field = Field::to(&url).await;
        field.send(Task::new("http:web", None).id("timeout").timeout(Duration::from_secs(1))).await;
        // So far ahead that it is under way by then.
        let deadline = field.broker.now() + Duration::from_secs(4);
        field.send(Task::new("http:web", None).id("deadline").deadline(deadline)).await;
        let retried = field.reaches("timeout", State::Retry).await.message;
        let archived = field.reaches("deadline", State::Archived).await.message;
        for message in [retried, archived] {
            assert!(message.error.starts_with("context deadline exceeded: POST "), "{}", message.error);
        }
        for _ in 0..2 {
            tokio::time::timeout(LIMIT, ended.recv()).await.expect("the server can tell").unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_ends_the_request() {
    let (url, mut ended) = raw(b"", false).await;
    let proxy = Proxy::to(url.rsplit_once(':').unwrap().1.parse().unwrap()).await;
    let field = Field::to(&format!("http://127.0.0.1:{}", proxy.port())).await;
    field.post("a").await;
    until(LIMIT, "the server is asked", async || proxy.accepted() == 1).await;
    field.broker.cancel_task(field.queue(), "a", CancelThen::Stop).await.unwrap();
    tokio::time::timeout(LIMIT, ended.recv()).await.expect("the server can tell").unwrap();
    let error = field.reaches("a", State::Archived).await.message.error;
    assert!(error.starts_with("cancelled by request: POST "), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_only_a_trusted_certificate_for_that_host_will_do() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::create(folder.path());
    let web = Web::tls(&certificates, |_| answer(200, &[], "secure")).await;
    let port = web.address.port();
    // The certificate is for localhost and 127.0.0.1 only.
    let targets =
        format!("web=https://localhost:{port},ip=https://127.0.0.1:{port},other=https://127.0.0.2:{port}");
    let trusting = HttpConfig {
        targets: targets.parse().unwrap(),
        authorities: Field::pem(&certificates.authority),
        ..HttpConfig::default()
    };
    let field = Field::with(trusting).await;
    for (kind, state) in
        [("http:web", State::Completed), ("http:ip", State::Completed), ("http:other", State::Retry)]
    {
        field.send(Task::new(kind, None).id(kind)).await;
        field.reaches(kind, state).await;
    }
    assert_eq!(field.look("http:web").await.result.as_deref(), Some(&b"secure"[..]));
    let field = Field::to(&format!("https://localhost:{port}")).await;
    field.post("untrusted").await;
    let error = field.reaches("untrusted", State::Retry).await.message.error;
    assert!(error.contains("cannot connect") && error.contains("certificate"), "{error}");
    assert_eq!(web.seen().len(), 2, "nothing is sent to who is not trusted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_may_name_allowed_hosts_only_and_no_target_that_is_not_there() {
    let allowed = Web::start(|_| answer(200, &[], "")).await;
    let other = Web::start(|_| answer(200, &[], "")).await;
    let hosts = allowed.address.to_string().parse().unwrap();
    let targets = format!("web={}", other.url()).parse().unwrap();
    let field = Field::with(HttpConfig { targets, hosts, ..HttpConfig::default() }).await;
    let named = |id: &str, url: String| Task::new("http", None).id(id).header("http-url", url);
    field.send(named("allowed", format!("{}/path", allowed.url()))).await;
    field.send(named("port", format!("{}/path", other.url()))).await;
    field.send(named("user", format!("http://ann:s3cret@{}/", allowed.address))).await;
    field.send(named("scheme", "file:///etc/passwd".into())).await;
    field.send(Task::new("http", None).id("nothing")).await;
    field.send(Task::new("http:unknown", None).id("unknown")).await;
    field.send(Task::new("httpx", None).id("httpx")).await;
    field.reaches("allowed", State::Completed).await;
    for id in ["port", "user", "scheme", "nothing"] {
        let error = field.reaches(id, State::Archived).await.message.error;
        assert!(
            error.contains("http-url") || error.contains("is not among those that tasks may name"),
            "{error}"
        );
        assert!(!error.contains("s3cret"), "{error}");
    }
    let error = field.reaches("unknown", State::Retry).await.message.error;
    assert_eq!(error, "no HTTP target for task type \"http:unknown\"; this worker has: web");
    field.reaches("httpx", State::Scheduled).await;
    assert_eq!((allowed.seen().len(), other.seen().len()), (1, 0));
    assert_eq!(allowed.seen()[0].line, "POST /path");
}
