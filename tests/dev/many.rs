//! Many manifests in one folder.

use std::time::{Duration, Instant};

use cronmill::schedule::local_uid;

use crate::field::{Dev, Folder, queue, task};
use crate::support::{RedisServer, full_size, until};

/// A debug build on a busy machine is several times slower than what people run.
const IN_FORCE: Duration =
    if cfg!(debug_assertions) { Duration::from_secs(30) } else { Duration::from_secs(5) };
const EDITED: Duration = if cfg!(debug_assertions) { Duration::from_secs(5) } else { Duration::from_secs(1) };

#[tokio::test]
async fn a_folder_of_many_manifests_is_soon_in_force_and_so_is_an_edit() {
    let number = full_size(2_000, 10_000);
    let redis = RedisServer::start();
    let folder = Folder::with(&[("q.yaml", queue(""))]);
    let text = |n: usize, hour: usize| task(&format!("t{n}"), &format!("{} {hour} 1 1 *", n % 60), "");
    for n in 0..number {
        std::fs::write(folder.file(&format!("t{n}.yaml")), text(n, 3)).unwrap();
    }
    let began = Instant::now();
    let mut dev = Dev::on(&redis, &folder, &[]);
    let limit = IN_FORCE * 2;
    until(limit, "all entries are there", async || {
        redis.cli(["ZCARD", "cronmill:{q}:due"]) == number.to_string()
    })
    .await;
    let took = began.elapsed();
    println!("{number} manifests were in force after {:.2} s", took.as_secs_f64());
    assert!(took < IN_FORCE, "{took:?}");
    dev.in_force(number).await;
    let mut slowest = Duration::ZERO;
    for n in [number / 2, 0, number - 1] {
        folder.write(&format!("t{n}.yaml"), &text(n, 4));
        let written = Instant::now();
        let uid = local_uid("CronTask", "default", &format!("t{n}")).to_string();
        let edited = || redis.cli(["HGET", &entry(&uid), "body"]).contains(&format!("{} 4 1 1 *", n % 60));
        until(limit, "the edit is there", async || edited()).await;
        slowest = slowest.max(written.elapsed());
    }
    println!("an edit among {number} manifests was in force after {} ms at most", slowest.as_millis());
    assert!(slowest < EDITED, "{slowest:?}");
    for n in 0..number {
        folder.remove(&format!("t{n}.yaml"));
    }
    let began = Instant::now();
    until(limit, "all entries are gone", async || redis.cli(["ZCARD", "cronmill:{q}:due"]) == "0").await;
    println!("{number} deletions were in force after {:.2} s", began.elapsed().as_secs_f64());
    assert_eq!(dev.ended().await, Some(0));
}

fn entry(uid: &str) -> String {
    format!("cronmill:{{q}}:entry:{uid}")
}
