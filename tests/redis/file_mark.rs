//! Which file of schedules is in force under a name.

use cronmill::broker::FileMark;

use crate::field::Field;

fn mark(hash: &str) -> FileMark {
    let read = "2026-11-23T12:00:00Z".parse().expect("valid");
    FileMark::new(hash.into(), "etc/scheduler.yaml".into(), "h".into(), read)
}

#[tokio::test]
async fn the_file_that_was_read_last_is_in_force_under_its_name_and_no_other() {
    let field = Field::new().await;
    assert_eq!(field.broker.file_mark("scheduler/a").await.expect("read"), None);
    for hash in ["1", "2", "2"] {
        field.broker.put_file_mark("scheduler/a", &mark(hash)).await.expect("written");
    }
    assert_eq!(field.broker.file_mark("scheduler/a").await.expect("read"), Some(mark("2")));
    assert_eq!(field.broker.file_mark("scheduler/b").await.expect("read"), None);
}

#[tokio::test]
async fn the_mark_of_a_newer_version_is_nobodys_and_noise_is_none() {
    let field = Field::new().await;
    let key = "cronmill:schedulers:{scheduler/a}:file";
    field.server.cli(["SET", key, r#"{"format": 2, "hash": "1", "new": true}"#]);
    let newer = field.broker.file_mark("scheduler/a").await.expect("read").expect("it is there");
    assert_eq!((newer.hash.as_str(), newer.file.as_str()), ("", ""));
    field.server.cli(["SET", key, "noise"]);
    assert_eq!(field.broker.file_mark("scheduler/a").await.expect("read"), None);
}
