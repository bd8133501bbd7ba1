//! `queue rm`, `history` and `top`, and the forms of what is printed.

use cronmill::broker::Owner;
use serde_json::{Value, json};

use crate::stage::{Stage, entry};

#[tokio::test]
async fn a_queue_is_deleted_when_nothing_uses_it_and_else_says_why_not() {
    let stage = Stage::new().await;
    stage.enqueue(&["-q", "shop", "--id", "a"]);
    stage.enqueue(&["-q", "shop", "--id", "b", "--in", "1h"]);
    let message = stage.run(&["queue", "rm", "shop"]).refused(1);
    assert_eq!(message, "queue shop was not deleted: it holds 2 tasks; --force deletes them as well\n");
    let message = stage.run(&["queue", "rm", "shop", "--force"]).refused(2);
    let expected = "\
queue shop holds 2 tasks: 1 pending, 1 scheduled
error: nothing was done: say --yes to delete queue shop with 2 tasks, or run it in a terminal to be asked
";
    assert_eq!(message, expected);
    assert_eq!(stage.run(&["queue", "ls", "-o", "json"]).json()[0]["size"], 2);

    let task = stage.claim("shop", &Owner::new("h", 1, "w")).await;
    let message = stage.run(&["queue", "rm", "shop", "--force", "--yes"]).refused(1);
    assert!(message.contains("queue shop was not deleted: workers run 1 task of it"), "{message}");
    stage.redis.cli(["DEL", "asynq:{shop}:active", "asynq:{shop}:lease"]);
    stage.redis.cli(["HSET", &format!("asynq:{{shop}}:t:{}", task.id), "state", "archived"]);
    stage.redis.cli(["ZADD", "asynq:{shop}:archived", "1", &task.id]);

    let ran = stage.run(&["queue", "rm", "shop", "--force", "--yes"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:#?}");
    assert!(ran.stderr.ends_with("deleted queue shop with 2 tasks\n"), "{ran:#?}");
    assert_eq!(stage.redis.keys("*"), Vec::<String>::new());
    assert_eq!(stage.run(&["queue", "rm", "shop"]).refused(1), "no queue named shop; known: none\n");
}

#[tokio::test]
async fn a_queue_that_schedules_use_is_kept_and_they_are_named() {
    let stage = Stage::new().await;
    stage.put(&entry("shop", "report", "@hourly")).await;
    stage.put(&entry("bill", "sum", "@hourly")).await;
    let message = stage.run(&["queue", "rm", "reports", "--force", "--yes"]).refused(1);
    let expected = "queue reports was not deleted: 2 schedules make tasks for it, delete or move them first: \
                    bill/sum, shop/report\n";
    assert_eq!(message, expected);
    assert_eq!(stage.redis.cli(["ZCARD", "cronmill:{reports}:due"]), "2");
}

#[tokio::test]
async fn the_last_days_of_a_queue_are_listed_today_first() {
    let stage = Stage::new().await;
    stage.enqueue(&["-q", "shop"]);
    let today = stage.broker.now().strftime("%Y-%m-%d").to_string();
    stage.redis.cli([
        "MSET",
        &format!("asynq:{{shop}}:processed:{today}"),
        "8",
        &format!("asynq:{{shop}}:failed:{today}"),
        "2",
    ]);
    let days = stage.run(&["queue", "history", "shop", "--days", "3", "-o", "json"]).json();
    assert_eq!(days.as_array().map(Vec::len), Some(3));
    assert_eq!(days[0], json!({"day": today, "processed": 8, "failed": 2}));
    assert_eq!((&days[1]["processed"], &days[2]["failed"]), (&json!(0), &json!(0)));
    let table = stage.run(&["queue", "history", "shop"]).done();
    assert_eq!(table.lines().count(), 11);
    let cells: Vec<_> = table.lines().nth(1).expect("today").split_whitespace().collect();
    assert_eq!(cells, [today.as_str(), "8", "2", "25.0", "%"]);
    stage.run(&["queue", "history", "shop", "--days", "91"]).refused(2);
    assert_eq!(stage.run(&["queue", "history", "x"]).refused(1), "no queue named x; known: shop\n");
}

#[tokio::test]
async fn the_busiest_queue_is_on_top_with_what_ends_each_second() {
    let stage = Stage::new().await;
    stage.enqueue(&["-q", "idle"]);
    stage.enqueue(&["-q", "busy"]);
    let broker = stage.broker.clone();
    let url = stage.redis.url();
    let ending = std::thread::spawn(move || {
        // Attempts that end while it looks.
        let client = std::process::Command::new("redis-cli")
            .args(["-u", &url, "-r", "60", "-i", "0.05", "INCRBY", "asynq:{busy}:processed", "5"])
            .output();
        client.expect("redis-cli is installed")
    });
    let top = stage.run(&["queue", "top", "--every", "1s", "-o", "json"]).json();
    ending.join().expect("it ends");
    drop(broker);
    assert_eq!((&top[0]["name"], &top[1]["name"]), (&json!("busy"), &json!("idle")));
    let rate = top[0]["processedPerSecond"].as_f64().expect("a number");
    assert!(rate > 10.0 && rate < 200.0, "{rate}");
    assert_eq!((&top[1]["processedPerSecond"], &top[1]["pending"]), (&json!(0.0), &json!(1)));
    let table = stage.run(&["queue", "top", "idle", "--every", "1s", "--once"]).done();
    assert!(table.starts_with("QUEUE  ENDED/S") && table.lines().count() == 2, "{table}");
    assert!(!table.contains('\u{1b}'), "no screen is drawn without a terminal: {table}");
    assert_eq!(stage.run(&["queue", "top", "x"]).refused(1), "no queue named x; known: busy, idle\n");
}

#[tokio::test]
async fn every_read_prints_the_same_as_json_and_as_yaml() {
    let stage = Stage::new().await;
    stage.enqueue(&["-q", "shop", "--id", "a", "--payload", r#"{"to": "ann\n", "yes": ["1", null]}"#]);
    stage.put(&entry("shop", "report", "@hourly")).await;
    for words in [
        &["task", "ls", "-q", "shop"][..],
        &["task", "show", "-q", "shop", "a"],
        &["queue", "ls"],
        &["queue", "history", "shop", "--days", "2"],
        &["cron", "ls"],
        &["cron", "ticks", "report"],
        &["cron", "next", "0 9 * * *", "--after", "2026-11-23T00:00:00Z"],
        &["server", "ls"],
        &["version"],
    ] {
        let json = stage.run(&[words, &["-o", "json"]].concat()).json();
        let yaml = stage.run(&[words, &["-o", "yaml"]].concat()).done();
        let mut read: Value = serde_saphyr::from_str(&yaml).expect(&yaml);
        let mut json = json;
        // It grows between the two.
        for value in [&mut read, &mut json] {
            if let Some(queue) = value.pointer_mut("/1/waitSeconds") {
                queue.take();
            }
        }
        assert_eq!(read, json, "{words:?}: {yaml}");
    }
}

#[tokio::test]
async fn the_wide_form_says_more() {
    let stage = Stage::new().await;
    stage.enqueue(&[
        "-q",
        "shop",
        "--id",
        "a",
        "--deadline",
        "2099-01-01T00:00:00Z",
        "--payload",
        &format!("\"{}\"", "x".repeat(100)),
    ]);
    stage.put(&entry("shop", "report", "@hourly")).await;
    for (words, heading) in [
        (&["task", "ls", "-q", "shop"][..], "DEADLINE"),
        (&["queue", "ls"], "MEMORY"),
        (&["cron", "ls"], "POLICY"),
    ] {
        let narrow = stage.run(words).done();
        let wide = stage.run(&[words, &["-o", "wide"]].concat()).done();
        assert!(!narrow.contains(heading) && wide.contains(heading), "{narrow}{wide}");
    }
    let wide = stage.run(&["task", "ls", "-q", "shop", "-o", "wide"]).done();
    assert!(wide.contains(&"x".repeat(100)), "{wide}");
    let queues = stage.run(&["queue", "ls", "-o", "wide"]).done();
    assert!(queues.lines().any(|line| line.starts_with("shop") && line.contains(" B")), "{queues}");
}

#[tokio::test]
async fn a_list_goes_on_after_the_place_it_printed() {
    let stage = Stage::new().await;
    for n in 0..5 {
        stage.enqueue(&[
            "-q",
            "shop",
            "--id",
            &format!("t{n}"),
            "--at",
            &format!("2099-01-0{}T00:00:00Z", n + 1),
        ]);
    }
    let list = |flags: &[&str]| {
        let ran = stage.run(
            &[&["task", "ls", "-q", "shop", "-s", "scheduled", "--limit", "2", "-o", "json"], flags].concat(),
        );
        assert_eq!(ran.code, 0, "{ran:#?}");
        let tasks: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        let ids: Vec<String> = tasks
            .as_array()
            .expect("a list")
            .iter()
            .map(|task| task["id"].as_str().expect("text").to_owned())
            .collect();
        (ids, ran.stderr.trim().strip_prefix("there may be more: --after ").map(str::to_owned))
    };
    let (ids, next) = list(&[]);
    assert_eq!(ids, ["t0", "t1"]);
    stage.run(&["task", "rm", "-q", "shop", "t0", "t1"]).done();
    let (ids, next) = list(&["--after", &next.expect("there is more")]);
    assert_eq!(ids, ["t2", "t3"]);
    let (ids, next) = list(&["--after", &next.expect("there is more")]);
    assert_eq!((ids, next), (vec!["t4".to_owned()], None));
    for flags in
        [&["-s", "pending", "--after", "1:a"][..], &["--after", "1:a"], &["-s", "retry", "--after", "a"]]
    {
        stage.run(&[&["task", "ls", "-q", "shop"], flags].concat()).refused(2);
    }
}

#[tokio::test]
async fn members_of_a_group_are_listed_by_its_name() {
    let stage = Stage::new().await;
    stage.enqueue(&["-q", "shop", "--id", "a"]);
    stage.redis.cli(["DEL", "asynq:{shop}:pending"]);
    stage.redis.cli(["ZADD", "asynq:{shop}:g:daily", "1700000000", "a"]);
    stage.redis.cli(["SADD", "asynq:{shop}:groups", "daily"]);
    stage.redis.cli(["HSET", "asynq:{shop}:t:a", "state", "aggregating", "group", "daily"]);
    let words = ["task", "ls", "-q", "shop", "-s", "aggregating"];
    let listed = stage.run(&[&words[..], &["-g", "daily", "-o", "json"]].concat()).json();
    assert_eq!((&listed[0]["id"], &listed[0]["state"]), (&json!("a"), &json!("aggregating")));
    let message = stage.run(&words).refused(2);
    assert!(message.contains("--state aggregating needs a --group"), "{message}");
    stage.run(&["task", "ls", "-q", "shop", "-s", "retry", "-g", "daily"]).refused(2);
}
