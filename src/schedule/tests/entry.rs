//! What stands in Redis.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::{
    CatchUp, Concurrency, Entry, EntryError, Gap, Overlap, Revision, Template, TickOutcome, TimingSource,
    local_uid,
};
use super::{at, source};
use crate::task::Message;

/// An entry as a manifest without options makes it.
pub(crate) fn plain_entry() -> Entry {
    Entry {
        format: 1,
        uid: "0b6f2e0c-5d3c-4a77-9d38-1d0f6c1a7e55".to_owned(),
        namespace: "shop".to_owned(),
        name: "update-user-earn".to_owned(),
        cluster: "c1".to_owned(),
        revision: Revision { epoch: 2, generation: 7, hash: "00ff".to_owned() },
        timing: source(&["*/20 * * * *"]),
        concurrency: Concurrency::Allow,
        suspend: false,
        starting_deadline_s: None,
        catch_up: CatchUp::Latest,
        template: Template {
            kind: "update-user-earn".to_owned(),
            queue: "default".to_owned(),
            payload: Bytes::from_static(br#"{"a":1}"#),
            headers: BTreeMap::new(),
            max_retry: 3,
            timeout_s: None,
            deadline_s: None,
            retention_s: 0,
            unique_s: None,
            group: String::new(),
        },
    }
}

/// The same with every option, as far as one entry can have them.
pub(super) fn entry() -> Entry {
    let plain = plain_entry();
    Entry {
        timing: TimingSource {
            time_zone: Some("Asia/Shanghai".to_owned()),
            gap: Gap::Skip,
            overlap: Overlap::Both,
            anchor: at("2026-11-01T00:00:00Z"),
            hash_key: "shop/update-user-earn".to_owned(),
            jitter_s: 30,
            ..source(&["*/20 * * * *", "@every 90s"])
        },
        concurrency: Concurrency::Forbid,
        suspend: true,
        starting_deadline_s: Some(300),
        catch_up: CatchUp::None,
        template: Template {
            headers: BTreeMap::from([("trace".to_owned(), "x".to_owned())]),
            timeout_s: Some(60),
            deadline_s: Some(3_600),
            retention_s: 86_400,
            ..plain.template
        },
        ..plain
    }
}

#[test]
fn an_entry_reads_as_it_was_written() {
    let json = entry().to_json();
    assert_eq!(Entry::from_json(json.as_bytes()).expect("an entry"), entry());
    assert_eq!(
        json,
        r#"{"format":1,"uid":"0b6f2e0c-5d3c-4a77-9d38-1d0f6c1a7e55","namespace":"shop","name":"update-user-earn","cluster":"c1","revision":"2.7.00ff","timing":{"schedules":["*/20 * * * *","@every 90s"],"time_zone":"Asia/Shanghai","gap":"Skip","overlap":"Both","anchor":"2026-11-01T00:00:00Z","hash_key":"shop/update-user-earn","jitter_s":30},"concurrency":"Forbid","suspend":true,"starting_deadline_s":300,"catch_up":"None","template":{"kind":"update-user-earn","queue":"default","payload":{"text":"{\"a\":1}"},"headers":{"trace":"x"},"max_retry":3,"timeout_s":60,"deadline_s":3600,"retention_s":86400}}"#
    );
}

#[test]
fn unknown_fields_are_ignored_and_absent_ones_have_defaults() {
    let json = r#"{"format":1,"uid":"u","namespace":"n","name":"m","cluster":"c","revision":"1.2.3","later":[1],
        "timing":{"schedules":["@daily"],"later":true},
        "template":{"kind":"k","queue":"q","payload":{"base64":"/w=="},"max_retry":0,"later":{}}}"#;
    let read = Entry::from_json(json.as_bytes()).expect("an entry");
    assert_eq!(read.timing, source(&["@daily"]));
    assert_eq!((read.concurrency, read.catch_up, read.suspend), (Concurrency::Allow, CatchUp::Latest, false));
    assert_eq!(read.template.payload.as_ref(), [0xff]);
    assert_eq!((read.timing.gap, read.timing.overlap), (Gap::After, Overlap::First));
}

/// An older version would fire such an entry without its lock or its group.
#[test]
fn only_what_an_older_version_would_fire_wrongly_has_the_newer_format() {
    let plain = entry();
    assert_eq!(plain.lowest_format(), 1);
    for change in [
        |template: &mut Template| template.unique_s = Some(60),
        |template: &mut Template| template.group = "g".into(),
    ] {
        let mut entry = entry();
        change(&mut entry.template);
        entry.format = entry.lowest_format();
        assert_eq!(entry.format, 2);
        assert_eq!(Entry::from_json(entry.to_json().as_bytes()).expect("an entry"), entry);
        assert_ne!(entry.content_hash(), plain.content_hash());
    }
}

#[test]
fn a_newer_format_is_told_from_a_broken_entry() {
    let newer = Entry::from_json(br#"{"format":3,"uid":{"changed":true}}"#).expect_err("format 3");
    assert!(matches!(newer, EntryError::Format { found: 3 }), "{newer}");
    for broken in ["", "{}", "[]", r#"{"format":1}"#, r#"{"format":-1}"#] {
        let error = Entry::from_json(broken.as_bytes()).expect_err(broken);
        assert!(matches!(error, EntryError::Json(_)), "{broken}: {error}");
    }
}

#[test]
fn a_ticks_message_carries_everything() {
    let message = entry().message(at("2026-11-23T00:20:00Z"));
    let mut expected = Message {
        kind: "update-user-earn".to_owned(),
        payload: Bytes::from_static(br#"{"a":1}"#),
        id: "0b6f2e0c-5d3c-4a77-9d38-1d0f6c1a7e55-1795393200".to_owned(),
        queue: "default".to_owned(),
        max_retry: 3,
        timeout_s: 60,
        deadline_s: 1_795_393_200 + 3_600,
        retention_s: 86_400,
        ..Message::default()
    };
    expected.set_headers(BTreeMap::from([
        ("cronmill-nominal-time".to_owned(), "2026-11-23T00:20:00Z".to_owned()),
        ("cronmill-schedule".to_owned(), "shop/update-user-earn".to_owned()),
        ("trace".to_owned(), "x".to_owned()),
    ]));
    assert_eq!(message, expected);
}

#[test]
fn a_task_without_any_limit_gets_asynqs_timeout() {
    let limits = |timeout_s, deadline_s| {
        let mut entry = entry();
        (entry.template.timeout_s, entry.template.deadline_s) = (timeout_s, deadline_s);
        let message = entry.message(at("1970-01-01T01:00:00Z"));
        (message.timeout_s, message.deadline_s)
    };
    assert_eq!(limits(None, None), (1_800, 0));
    assert_eq!(limits(None, Some(60)), (0, 3_660));
    assert_eq!(limits(Some(5), None), (5, 0));
    assert_eq!(limits(None, Some(i64::MAX)), (0, i64::MAX));
}

#[test]
fn hashes_follow_what_they_are_about() {
    let base = entry();
    let changed = |change: fn(&mut Entry)| {
        let mut entry = entry();
        change(&mut entry);
        (entry.timing_hash() != base.timing_hash(), entry.content_hash() != base.content_hash())
    };
    assert_eq!(changed(|_| {}), (false, false));
    assert_eq!(changed(|entry| entry.revision.generation += 1), (false, false));
    assert_eq!(changed(|entry| entry.template.max_retry += 1), (false, true));
    assert_eq!(changed(|entry| entry.suspend = false), (false, true));
    assert_eq!(changed(|entry| entry.timing.schedules[0].push(' ')), (true, true));
    assert_eq!(changed(|entry| entry.timing.time_zone = None), (true, true));
    assert_eq!(changed(|entry| entry.timing.gap = Gap::After), (true, true));
    assert_eq!(changed(|entry| entry.timing.overlap = Overlap::First), (true, true));
    assert_eq!(changed(|entry| entry.timing.anchor = at("2026-11-01T00:00:01Z")), (true, true));
    assert_eq!(changed(|entry| entry.timing.jitter_s = 31), (true, true));
    assert_eq!(base.content_hash().len(), 16);
}

#[test]
fn revisions_are_ordered_by_epoch_then_generation() {
    let revision = |text: &str| text.parse::<Revision>().expect("a revision");
    assert!(revision("1.9.a") < revision("2.1.a"));
    assert!(revision("2.1.b") < revision("2.2.a"));
    assert_eq!(revision("2.2.a"), revision("2.2.a"));
    assert_eq!(revision("2.2.a").partial_cmp(&revision("2.2.b")), None);
    assert_eq!(revision("12.34.00ff").to_string(), "12.34.00ff");
    for broken in ["", "1", "1.2", "a.2.c", "1.-2.c", "+1.2.c", "1..c", "99999999999999999999.1.c"] {
        let error = broken.parse::<Revision>().expect_err(broken);
        assert_eq!(error.to_string(), format!("read revision {broken:?}: expected epoch.generation.hash"));
    }
}

#[test]
fn a_local_uid_stays_the_same() {
    assert_eq!(
        local_uid("CronTask", "shop", "update-user-earn").to_string(),
        "848748ae-913c-58e1-b3ce-f0f5028ea2d5"
    );
    assert_ne!(local_uid("CronTask", "a", "b"), local_uid("TaskQueue", "a", "b"));
}

#[test]
fn outcomes_are_spelled_alike_everywhere() {
    for outcome in TickOutcome::ALL {
        assert_eq!(outcome.as_str().parse(), Ok(outcome));
        assert_eq!(serde_json::to_value(outcome).expect("text"), outcome.as_str());
    }
    assert!("Enqueued".parse::<TickOutcome>().is_err());
}

proptest! {
    #[test]
    fn any_payload_survives(payload in prop::collection::vec(any::<u8>(), 0..64), text in ".*") {
        for payload in [Bytes::from(payload), Bytes::from(text)] {
            let mut entry = entry();
            entry.template.payload = payload;
            prop_assert_eq!(Entry::from_json(entry.to_json().as_bytes()).expect("an entry"), entry);
        }
    }
}

#[test]
fn the_entry_of_a_program_is_the_same_at_each_start_and_changes_with_its_schedule() {
    let entry = |schedule| Entry::periodic("my-program", schedule, "hello", "default");
    let first = entry("@every 2s");
    assert_eq!(entry("@every 2s"), first);
    assert_eq!((first.key().as_str(), first.lowest_format()), ("my-program/hello", first.format));
    assert_eq!(first.revision.hash, first.content_hash());
    let edited = entry("@every 3s");
    assert_eq!(edited.uid, first.uid);
    assert_ne!(edited.revision, first.revision);
    let message = first.message(at("2026-11-26T16:40:02Z"));
    let told = (message.kind.as_str(), message.queue.as_str(), message.max_retry, message.payload.len());
    assert_eq!(told, ("hello", "default", 25, 0));
}
