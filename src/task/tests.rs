//! Golden bytes made by asynq itself, in both directions.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;

fn unhex(text: &str) -> Bytes {
    let digit = |c: u8| (c as char).to_digit(16).expect("hex digit") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn start() -> ProtoTimestamp {
    ProtoTimestamp { seconds: 1_700_000_000, nanos: 123_456_789 }
}

fn assert_golden<M: prost::Message + PartialEq + Default + std::fmt::Debug>(value: &M, hex: &str) {
    assert_eq!(Bytes::from(value.encode_to_vec()), unhex(hex), "encoding");
    assert_eq!(&M::decode(unhex(hex)).expect("golden bytes decode"), value, "decoding");
}

#[test]
fn a_plain_message_has_asynqs_bytes() {
    let message = Message {
        kind: "email:send".into(),
        payload: Bytes::from_static(br#"{"user_id":42}"#),
        id: "11111111-2222-4333-8444-555555555555".into(),
        queue: "default".into(),
        max_retry: 25,
        timeout_s: 1800,
        ..Message::default()
    };
    assert_golden(
        &message,
        "0a0a656d61696c3a73656e64120e7b22757365725f6964223a34327d1a2431313131313131312d323232322d343333332d383434342d353535353535353535353535220764656661756c74281940880e",
    );
}

#[test]
fn a_message_with_every_field_has_asynqs_bytes() {
    let mut message = Message {
        kind: "email:send".into(),
        payload: Bytes::from_static(br#"{"user_id":42}"#),
        id: "id-1".into(),
        queue: "critical".into(),
        max_retry: 3,
        retried: 1,
        error: "boom".into(),
        timeout_s: 30,
        deadline_s: 1_700_000_100,
        unique_key: "asynq:{critical}:unique:email:send:1181f89307fa271072c095747d5813cc".into(),
        last_failed_s: 1_700_000_000,
        retention_s: 3600,
        completed_s: 1_700_000_200,
        group: "g1".into(),
        headers: Vec::new(),
    };
    message.set_headers(BTreeMap::from([("trace".into(), "abc".into())]));
    assert_golden(
        &message,
        "0a0a656d61696c3a73656e64120e7b22757365725f6964223a34327d1a0469642d312208637269746963616c280330013a04626f6f6d401e48e4e2cfaa0652436173796e713a7b637269746963616c7d3a756e697175653a656d61696c3a73656e643a31313831663839333037666132373130373263303935373437643538313363635880e2cfaa0660901c68c8e3cfaa06720267317a0c0a0574726163651203616263",
    );
}

#[test]
fn server_info_has_asynqs_bytes() {
    let info = ServerInfo {
        host: "h".into(),
        pid: 7,
        server_id: "sid".into(),
        concurrency: 10,
        queues: vec![QueueWeight { queue: Some("default".into()), weight: Some(1) }],
        strict_priority: true,
        status: "active".into(),
        started: Some(start()),
        active_workers: 2,
    };
    assert_golden(
        &info,
        "0a016810071a03736964200a2a0b0a0764656661756c74100130013a06616374697665420b0880e2cfaa0610959aef3a4802",
    );
}

#[test]
fn worker_info_has_asynqs_bytes() {
    let info = WorkerInfo {
        host: "h".into(),
        pid: 7,
        server_id: "sid".into(),
        task_id: "id-1".into(),
        task_kind: "t".into(),
        task_payload: Bytes::from_static(b"p"),
        queue: "default".into(),
        started: Some(start()),
        deadline: Some(ProtoTimestamp { seconds: 1_700_001_800, nanos: 0 }),
    };
    assert_golden(
        &info,
        "0a016810071a03736964220469642d312a01743201703a0764656661756c74420b0880e2cfaa0610959aef3a4a060888f0cfaa06",
    );
}

#[test]
fn scheduler_records_have_asynqs_bytes() {
    let entry = SchedulerEntry {
        id: "e1".into(),
        spec: "@every 30s".into(),
        task_kind: "t".into(),
        task_payload: Bytes::from_static(b"p"),
        enqueue_options: vec![r#"Queue("default")"#.into(), "MaxRetry(3)".into()],
        next: Some(start()),
        previous: Some(ProtoTimestamp::NEVER),
    };
    assert_golden(
        &entry,
        "0a026531120a406576657279203330731a01742201702a105175657565282264656661756c7422292a0b4d61785265747279283329320b0880e2cfaa0610959aef3a3a0b088092b8c398feffffff01",
    );
    let event = SchedulerEnqueueEvent { task_id: "id-1".into(), enqueued: Some(start()) };
    assert_golden(&event, "0a0469642d31120b0880e2cfaa0610959aef3a");
}

#[test]
fn unknown_fields_are_tolerated() {
    let mut raw = Message { kind: "t".into(), id: "1".into(), ..Message::default() }.encode().to_vec();
    // Field 99, length-delimited, three bytes: a newer producer's addition.
    raw.extend_from_slice(&[0x9a, 0x06, 0x03, 1, 2, 3]);
    assert_eq!(Message::decode(raw).expect("tolerated").kind, "t");
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    assert!(Message::decode(vec![0x0a, 0x01, 0xff]).is_err());
}

#[test]
fn an_empty_header_value_is_written_out() {
    let mut message = Message::default();
    message.set_headers(BTreeMap::from([("k".into(), String::new())]));
    assert_eq!(message.encode(), unhex("7a050a016b1200"));
}

#[test]
fn queue_names_are_checked() {
    assert_eq!(QueueName::new(" "), Err(QueueNameError::Blank));
    assert!(matches!(QueueName::new("}x"), Err(QueueNameError::EmptyHashTag(_))));
    assert_eq!(QueueName::new("a b:{}ü").expect("allowed").as_str(), "a b:{}ü");
}

#[test]
fn the_first_retry_waits_15_to_44_seconds() {
    for random in 0..60 {
        let seconds = default_retry_delay(0, random).as_secs();
        assert!((15..=44).contains(&seconds), "{seconds}");
    }
    assert_eq!(default_retry_delay(3, 29).as_secs(), 81 + 15 + 29 * 4);
}

#[test]
fn what_changes_of_a_message_takes_effect_behind_it_also_where_it_is_empty() {
    let before = Message {
        kind: "t".into(),
        payload: b"payload".as_slice().into(),
        retried: 2,
        error: "before".into(),
        last_failed_s: 5,
        ..Message::default()
    };
    for after in [
        Message { retried: 3, error: "after".into(), last_failed_s: 7, completed_s: 8, ..before.clone() },
        Message { retried: 0, error: String::new(), last_failed_s: 0, ..before.clone() },
    ] {
        let bytes = [before.encode(), after.changes()].concat();
        assert_eq!(Message::decode(bytes).expect("a message"), after);
    }
}
