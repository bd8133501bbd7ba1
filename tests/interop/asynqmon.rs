//! What asynqmon v0.7.2 shows of a Redis that we filled is what our commands print.

use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::full::{Full, QUEUES};
use crate::stage::SOON;
use crate::support::{Asynqmon, full_size, until};

/// The pages that [`asynqmons_pages_show_what_we_count`] looks at, and how wide and high `docs/` shows them.
const PAGES: [(&str, &str, &str); 4] = [
    ("queues", "/", "1280,800"),
    ("tasks", "/queues/orders?status=retry", "1280,640"),
    ("servers", "/servers", "1280,400"),
    ("schedulers", "/schedulers", "1840,800"),
];

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("a list, not {value}"))
}

/// Values of one field, in order.
fn column(rows: &Value, field: &str) -> Vec<Value> {
    list(rows).iter().map(|row| row[field].clone()).collect()
}

/// A row with some field.
fn row<'a>(rows: &'a Value, field: &str, value: &Value) -> &'a Value {
    list(rows)
        .iter()
        .find(|row| row[field] == *value)
        .unwrap_or_else(|| panic!("no {field} {value} in {rows}"))
}

/// Whole seconds of a time as either side writes it; none for never.
fn second(time: &Value) -> Option<i64> {
    let time: Timestamp = time.as_str().filter(|text| !text.is_empty())?.parse().expect("RFC 3339");
    Some(time.as_second()).filter(|second| *second > 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn asynqmon_counts_every_state_of_every_queue_as_we_do() {
    let full = Full::new().await;
    let asynqmon = Asynqmon::on(&full.redis.url()).await;
    let ours = full.cronmill(&["queue", "ls"]);
    let theirs = asynqmon.api("/queues").await["queues"].clone();
    assert_eq!(list(&theirs).len(), QUEUES.len());
    for name in QUEUES {
        let (ours, theirs) = (row(&ours, "name", &json!(name)), row(&theirs, "queue", &json!(name)));
        for (our, their) in [("processedToday", "processed"), ("failedToday", "failed")] {
            assert_eq!(ours[our], theirs[their], "{name}: {their}");
        }
        let same = "size groups pending active scheduled retry archived completed aggregating";
        for count in same.split(' ') {
            assert_eq!(ours[count], theirs[count], "{name}: {count}");
        }
        assert_eq!(!ours["paused"].is_null(), theirs["paused"], "{name}");
        assert_eq!(asynqmon.api(&format!("/queues/{name}")).await["current"]["size"], ours["size"]);
    }
    let orders = row(&theirs, "queue", &json!("orders"));
    let counts = ["scheduled", "active", "retry", "archived", "completed", "aggregating", "groups"];
    assert_eq!(counts.map(|count| orders[count].clone()), [3, 2, 2, 1, 2, 5, 2].map(Value::from));
    assert_eq!(list(&asynqmon.api("/queue_stats").await["stats"]["orders"]).len(), 90);
    asynqmon.api("/redis_info").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asynqmon_lists_the_tasks_of_each_state_and_group_as_we_do() {
    let full = Full::new().await;
    let asynqmon = Asynqmon::on(&full.redis.url()).await;
    for queue in QUEUES {
        for state in ["active", "pending", "scheduled", "retry", "archived", "completed"] {
            let ours = full.cronmill(&["task", "ls", "-q", queue, "--state", state, "--limit", "100"]);
            let path = format!("/queues/{queue}/{state}_tasks?size=100");
            let theirs = asynqmon.api(&path).await["tasks"].clone();
            assert_eq!(column(&ours, "id"), column(&theirs, "id"), "{queue} {state}");
            assert_eq!(column(&ours, "type"), column(&theirs, "type"), "{queue} {state}");
            for id in column(&ours, "id") {
                let id = id.as_str().expect("a text");
                assert_eq!(asynqmon.api(&format!("/queues/{queue}/tasks/{id}")).await["state"], state);
            }
        }
    }
    let ours = full.cronmill(&["queue", "groups", "orders"]);
    let theirs = asynqmon.api("/queues/orders/groups").await["groups"].clone();
    assert_eq!(list(&theirs).len(), 2);
    for group in list(&theirs) {
        assert_eq!(row(&ours, "name", &group["group"])["tasks"], group["size"]);
        let name = group["group"].as_str().expect("a text");
        let ours = full.cronmill(&["task", "ls", "-q", "orders", "--group", name]);
        let path = format!("/queues/orders/groups/{name}/aggregating_tasks?size=100");
        assert_eq!(column(&ours, "id"), column(&asynqmon.api(&path).await["tasks"], "id"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn asynqmon_shows_our_workers_and_what_they_run() {
    let full = Full::new().await;
    let asynqmon = Asynqmon::on(&full.redis.url()).await;
    let ours = full.cronmill(&["server", "ls"]);
    let theirs = asynqmon.api("/servers").await["servers"].clone();
    assert_eq!((list(&ours).len(), list(&theirs).len()), (1, 1));
    let (ours, theirs) = (&ours[0], &theirs[0]);
    for same in ["id", "host", "pid", "concurrency", "status"] {
        assert_eq!(ours[same], theirs[same], "{same}");
    }
    assert_eq!(theirs["queue_priorities"], json!({"reports": 3}));
    assert_eq!(second(&ours["started"]), second(&theirs["start_time"]));
    let mut running = [column(&ours["running"], "taskId"), column(&theirs["active_workers"], "task_id")];
    running.iter_mut().for_each(|ids| ids.sort_by_key(ToString::to_string));
    assert_eq!(running[0], running[1]);
    assert_eq!(running[0], ["again", "october"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn asynqmon_shows_our_schedules_and_what_they_enqueued() {
    let mut full = Full::new().await;
    let asynqmon = Asynqmon::on(&full.redis.url()).await;
    let ours = full.cronmill(&["cron", "ls"]);
    let settled = row(&ours, "name", &json!("settle-orders")).clone();
    let history = format!("/scheduler_entries/{}/enqueue_events?size=100", settled["uid"].as_str().unwrap());
    let ticks = full.cronmill(&["cron", "ticks", "shop/settle-orders", "--limit", "100"]);
    let enqueued: Vec<_> = list(&ticks).iter().filter(|tick| tick["outcome"] == "enqueued").collect();
    assert!(enqueued.len() >= 3, "{ticks}");
    until(SOON, "the mirror is up to date", async || {
        let entries = asynqmon.api("/scheduler_entries").await["entries"].clone();
        let is_edited = |entry: &&Value| entry["spec"] == "CRON_TZ=Asia/Shanghai 30 4 1 1 *";
        list(&entries).iter().any(|entry| is_edited(&entry))
            && list(&asynqmon.api(&history).await["events"]).len() == enqueued.len()
    })
    .await;
    let theirs = asynqmon.api("/scheduler_entries").await["entries"].clone();
    assert_eq!((list(&ours).len(), list(&theirs).len()), (4, 4));
    for ours in list(&ours) {
        let theirs = row(&theirs, "id", &ours["uid"]);
        assert_eq!(theirs["task_type"], ours["taskType"]);
        let queue = ours["queue"].as_str().unwrap();
        let options = [&format!("Queue({queue:?})"), "MaxRetry(3)", "Timeout(30m0s)", "Retention(1h0m0s)"];
        assert_eq!(theirs["options"], json!(options));
        let next = if ours["suspend"] == true { None } else { second(&ours["nextTime"]) };
        assert_eq!(second(&theirs["next_enqueue_at"]), next, "{theirs}");
        assert_eq!(second(&theirs["prev_enqueue_at"]), second(&ours["lastTime"]), "{theirs}");
    }
    let events = asynqmon.api(&history).await["events"].clone();
    let ours: Vec<_> = enqueued.iter().map(|tick| (tick["taskId"].clone(), second(&tick["at"]))).collect();
    let event = |event: &Value| (event["task_id"].clone(), second(&event["enqueued_at"]));
    assert_eq!(list(&events).iter().map(event).collect::<Vec<_>>(), ours);
    full.end().await;
    assert_eq!(
        asynqmon.api("/scheduler_entries").await["entries"],
        json!([]),
        "what has stopped is not shown"
    );
}

/// What must stand on a page, going by what our commands print.
fn expected(full: &Full, page: &str) -> Vec<String> {
    let told = match page {
        "queues" => full.cronmill(&["queue", "ls"]),
        "tasks" => full.cronmill(&["task", "ls", "-q", "orders", "--state", "retry"]),
        "servers" => full.cronmill(&["server", "ls"]),
        _ => full.cronmill(&["cron", "ls"]),
    };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let texts = |row: &Value| match page {
        "queues" => vec![text(&row["name"]), text(&row["size"])],
        "tasks" => vec![text(&row["type"]), text(&row["lastError"])],
        "servers" => vec![format!("{}:{}", text(&row["host"]), row["pid"])],
        _ => vec![text(&row["uid"]), text(&row["taskType"])],
    };
    list(&told).iter().flat_map(texts).collect()
}

/// A page as a browser shows it: what stands in it, or a picture of it in a file.
fn browse(url: &str, size: &str, picture: Option<&Path>) -> String {
    let profile = tempfile::tempdir().expect("a temporary folder");
    let mut browser = Command::new("chromium");
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    browser.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    browser.args(["--hide-scrollbars", "--virtual-time-budget=6000"]).arg(format!("--window-size={size}"));
    // Its fonts are on the web; without them it takes those of this machine.
    browser.arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1");
    browser.arg(format!("--user-data-dir={}", profile.path().display()));
    browser.arg(picture.map_or("--dump-dom".to_owned(), |file| format!("--screenshot={}", file.display())));
    let output =
        browser.arg(url).output().expect("chromium is installed: on Debian, apt-get install chromium");
    assert!(output.status.success(), "{browser:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a page is text")
}

#[tokio::test(flavor = "multi_thread")]
async fn asynqmons_pages_show_what_we_count() {
    let full = Full::new().await;
    let asynqmon = Asynqmon::on(&full.redis.url()).await;
    until(SOON, "the schedules are listed", async || {
        list(&asynqmon.api("/scheduler_entries").await["entries"]).len() == 4
    })
    .await;
    let with_a_browser = full_size(false, true);
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/asynqmon");
    for (name, path, size) in PAGES {
        assert!(asynqmon.page(path).await.contains("<title>Asynq - Monitoring</title>"), "{name}");
        if !with_a_browser {
            continue;
        }
        let dom = browse(&asynqmon.url(path), size, None);
        let expected = expected(&full, name);
        assert!(expected.len() > 1 || name == "servers", "{expected:?}");
        for text in expected {
            assert!(dom.contains(&format!(">{text}<")), "{name}: no {text} in {dom}");
        }
        browse(&asynqmon.url(path), size, Some(&docs.join(format!("{name}.png"))));
    }
}
