//! What asynq's tools see of a folder of manifests.

use std::time::{Duration, Instant};

use cronmill::broker::{Broker, Page};

use crate::field::{Dev, Folder, queue, task};
use crate::support::RedisServer;

async fn specs(broker: &Broker) -> Vec<String> {
    let entries = broker.scheduler_entries().await.expect("Redis answers");
    entries.into_iter().map(|entry| entry.spec).collect()
}

#[tokio::test]
async fn asynqs_tools_see_manifests_edits_and_deletions_within_two_seconds_and_nothing_after_the_end() {
    let redis = RedisServer::start();
    let broker = Broker::connect(&redis.endpoint()).await.unwrap();
    let folder = Folder::with(&[
        ("q.yaml", queue("")),
        ("a.yaml", task("a", "* * * * * *", "")),
        ("b.yaml", task("b", "0 0 1 1 *", "timeZone: Asia/Shanghai")),
    ]);
    let mut dev = Dev::on(&redis, &folder, &[]);
    let second = "CRON_TZ=Asia/Shanghai 0 0 1 1 *";
    dev.until("both are listed", async || specs(&broker).await == ["* * * * * *", second]).await;
    let id = broker.scheduler_entries().await.unwrap()[0].id.clone();
    let page = Page { offset: 0, limit: 100 };
    let events = async || broker.scheduler_events(&id, page).await.unwrap();
    dev.until("what fires is told", async || events().await.len() >= 2).await;
    let changes: [(&dyn Fn(), Vec<&str>); 3] = [
        (&|| folder.write("a.yaml", &task("a", "0 5 1 1 *", "")), vec!["0 5 1 1 *", second]),
        (
            &|| folder.write("a.yaml", &task("a", "0 5 1 1 *", "suspend: true")),
            vec!["0 5 1 1 * (suspended)", second],
        ),
        (&|| folder.remove("a.yaml"), vec![second]),
    ];
    let mut slowest = Duration::ZERO;
    for (change, expected) in changes {
        change();
        let changed = Instant::now();
        dev.until("the change is listed", async || specs(&broker).await == expected).await;
        slowest = slowest.max(changed.elapsed());
    }
    println!("slowest of three changes: {} ms", slowest.as_millis());
    assert!(slowest < Duration::from_millis(2500), "{slowest:?}");
    assert_eq!(dev.ended().await, Some(0));
    assert_eq!(specs(&broker).await, Vec::<String>::new());
    assert_eq!(redis.keys("*schedulers*"), Vec::<String>::new());
    assert!(events().await.len() >= 2, "what was enqueued stays readable");
}

#[tokio::test]
async fn of_two_local_modes_one_lists_all_schedules_and_the_other_takes_over_when_it_is_killed() {
    let redis = RedisServer::start();
    let broker = Broker::connect(&redis.endpoint()).await.unwrap();
    let both = ["0 0 1 1 *", "0 0 2 1 *"];
    let folders = [Folder::of("one", both[0]), Folder::of("two", both[1])];
    let mut devs: Vec<_> = folders.iter().map(|folder| Dev::on(&redis, folder, &[])).collect();
    devs[0].until("one list has both", async || specs(&broker).await == both).await;
    assert_eq!(redis.cli(["ZCARD", "asynq:schedulers"]), "1");
    let holder = redis.cli(["GET", "cronmill:schedulers:{cronmill}:turn"]);
    let dead = devs.iter().position(|dev| holder.contains(&format!(":{}:", dev.0.pid()))).unwrap();
    devs[dead].0.kill9();
    let killed = Instant::now();
    let alive = 1 - dead;
    let name = ["one", "two"][alive];
    let edited = std::fs::read_to_string(folders[alive].file("all.yaml")).unwrap().replace("0 0 ", "0 9 ");
    folders[alive].write("all.yaml", &edited);
    let is_edited = |spec: &String| spec.starts_with("0 9");
    let what = format!("the edit of {name} is listed by the other");
    devs[alive].until(&what, async || specs(&broker).await.iter().any(is_edited)).await;
    println!("taken over after {} ms", killed.elapsed().as_millis());
    assert!(killed.elapsed() < Duration::from_secs(8), "{:?}", killed.elapsed());
    assert_eq!(specs(&broker).await.len(), 2, "schedules of a killed process are still in force");
}
