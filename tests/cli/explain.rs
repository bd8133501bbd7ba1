//! `queue explain`: the number of workers, and everything it comes from.

use std::time::Duration;

use cronmill::fleet::{FleetName, FleetWatch, Work, write_records};
use cronmill::scaling::Policy;
use cronmill::task::QueueName;
use serde_json::json;

use crate::stage::{Stage, entry};

const POLICY: Policy = Policy {
    fixed: None,
    min: 0,
    max: 10,
    concurrency: 2,
    target_wait: Duration::from_secs(10),
    stabilization: Duration::from_secs(60),
};

/// Writes down what whoever scales would, of a fleet that serves `shop` and `mail` and has so many workers.
async fn decided(stage: &Stage, current: u32) {
    let queues = ["shop", "mail"].map(|name| QueueName::new(name).expect("valid"));
    let name = FleetName { name: "default/main".into(), owner: "uid".into() };
    let mut watch = FleetWatch::new(name, queues.to_vec(), Duration::from_secs(8));
    let now = stage.broker.now();
    watch.recall(&[], &POLICY, current, now);
    watch.decide(&Work::default(), &POLICY, current, now);
    write_records(&stage.broker, [&mut watch], now).await.expect("written");
}

#[tokio::test]
async fn it_tells_the_number_the_reason_and_each_input_for_programs() {
    let stage = Stage::new().await;
    for (id, flags) in [("a", ["--in", "1s"]), ("b", ["--in", "1h"])] {
        stage.enqueue(&[["-q", "shop", "--id", id].as_slice(), flags.as_slice()].concat());
    }
    for id in ["c", "d", "e"] {
        stage.enqueue(&["-q", "shop", "--id", id]);
    }
    stage.enqueue(&["-q", "mail", "--id", "f"]);
    stage.run(&["queue", "pause", "mail"]).done();
    decided(&stage, 1).await;
    let told = stage.run(&["queue", "explain", "mail", "-o", "json"]).json();
    assert_eq!(told["fleet"], "default/main");
    assert_eq!([&told["replicas"], &told["current"], &told["slots"], &told["backlog"]], [2, 1, 4, 4]);
    assert_eq!(told["reason"], "Work");
    assert_eq!(told["message"], "3 tasks wait, 1 task is due soon; 4 should run at once");
    let inputs = json!({
        "active": 0, "pending": 3, "leaseExpired": 0, "scheduledSoon": 1, "retrySoon": 0, "ripeGroups": 0,
        "aggregating": 0, "waitingTicks": 0, "ticksSoon": 0, "heldBack": 1, "nextTickSeconds": null,
        "runTimeSeconds": null, "leadTimeSeconds": 8.0, "aheadSeconds": 11.0,
    });
    assert_eq!(told["inputs"], inputs);
    let policy = json!({
        "replicas": null, "minReplicas": 0, "maxReplicas": 10, "concurrency": 2, "targetWaitSeconds": 10.0,
        "stabilizationSeconds": 60.0,
    });
    assert_eq!(told["policy"], policy);
    assert_eq!([&told["decided"]["replicas"], &told["history"][0]["replicas"]], [1, 1]);
    let queue = |at: usize| (told["queues"][at]["name"].clone(), told["queues"][at]["paused"].clone());
    assert_eq!([queue(0), queue(1)], [(json!("shop"), json!(false)), (json!("mail"), json!(true))]);
    let yaml = stage.run(&["queue", "explain", "shop", "-o", "yaml"]).done();
    assert!(yaml.contains("\nreason: Work\n") && yaml.contains("\n  pending: 3\n"), "{yaml}");
}

#[tokio::test]
async fn for_people_it_is_a_sheet_and_a_row_for_each_queue() {
    let stage = Stage::new().await;
    stage.put(&entry("default", "shop", "@hourly")).await;
    decided(&stage, 0).await;
    let told = stage.run(&["queue", "explain", "shop"]).done();
    // However wide its columns are.
    let told = told.split(' ').filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    for expected in [
        "Fleet: default/main\n",
        "Workers wanted: 0\n",
        "Why: Idle: nothing to do\n",
        "A run takes: not known yet\n",
        "A start takes: 8.0s\n",
        "Limits: 0 to 10\n",
        "\nQUEUE PENDING",
        "\nshop 0",
        "\nmail 0",
    ] {
        assert!(told.contains(expected), "{expected:?} is not in\n{told}");
    }
}

#[tokio::test]
async fn of_a_queue_that_nobody_scales_workers_for_it_says_so() {
    let stage = Stage::new().await;
    stage.enqueue(&["-q", "shop"]);
    let message = stage.run(&["queue", "explain", "shop"]).refused(1);
    assert!(message.starts_with("nobody decides how many workers serve queue shop: "), "{message}");
    assert_eq!(stage.run(&["queue", "explain", "x"]).refused(1), "no queue named x; known: shop\n");
    // What cannot be read is as good as nothing.
    for text in ["", "{}", r#"{"format": 9}"#] {
        stage.redis.cli(["SET", "cronmill:{shop}:fleet", text]);
        let message = stage.run(&["queue", "explain", "shop"]).refused(1);
        assert!(message.starts_with("nobody decides"), "{message}");
    }
}
