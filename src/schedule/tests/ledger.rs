//! Tick records as text.

use jiff::Timestamp;
use proptest::prelude::*;

use super::super::{LedgerError, TickOutcome, TickRecord};
use super::at;

#[test]
fn a_record_is_one_line() {
    let record = TickRecord {
        from: at("2026-11-23T00:00:00Z"),
        to: at("2026-11-23T01:00:00Z"),
        count: 61,
        outcome: TickOutcome::Failed,
        at: at("2026-11-23T01:00:00.125Z"),
        task_id: None,
        reason: Some("payload|50%\nmore".to_owned()),
    };
    assert_eq!(record.encode(), "1|1795392000|1795395600|61|failed|1795395600125||payload%7c50%25%0amore");
    assert_eq!(TickRecord::parse(&record.encode()), Ok(record));
}

#[test]
fn later_fields_are_ignored_and_later_formats_told_apart() {
    let record = TickRecord::parse("1|60|60|1|enqueued|60001|u-60||later|fields").expect("a record");
    assert_eq!((record.task_id.as_deref(), record.reason), (Some("u-60"), None));
    assert_eq!(TickRecord::parse("2|anything"), Err(LedgerError::Format { found: 2 }));
    let outcome = LedgerError::Outcome { found: "excluded".to_owned() };
    assert_eq!(TickRecord::parse("1|60|60|1|excluded|60001||"), Err(outcome));
}

#[test]
fn a_malformed_record_names_the_field() {
    let table = [
        ("", "format"),
        ("x|1", "format"),
        ("1", "from"),
        ("1|x", "from"),
        ("1|99999999999999|", "from"),
        ("1|60|", "to"),
        ("1|60|60|-1", "count"),
        ("1|60|60|1|failed|x", "at"),
        ("1|60|60|1|failed|60000", "task"),
        ("1|60|60|1|failed|60000|%", "task"),
        ("1|60|60|1|failed|60000|a%zz", "task"),
        ("1|60|60|1|failed|60000|a%é", "task"),
        ("1|60|60|1|failed|60000|a%ff", "task"),
        ("1|60|60|1|failed|60000|a", "reason"),
    ];
    for (text, field) in table {
        assert_eq!(TickRecord::parse(text), Err(LedgerError::Malformed { field }), "{text}");
    }
}

proptest! {
    #[test]
    fn any_record_survives(
        from in -9_000_000_000_i64..9_000_000_000,
        length in 0_i64..1_000_000,
        count: u64,
        outcome in 0..9_usize,
        at_ms in -9_000_000_000_000_i64..9_000_000_000_000,
        task_id in prop::option::of(".+"),
        reason in prop::option::of("(?s).+"),
    ) {
        let second = |second| Timestamp::from_second(second).expect("in range");
        let record = TickRecord {
            from: second(from),
            to: second(from + length),
            count,
            outcome: TickOutcome::ALL[outcome],
            at: Timestamp::from_millisecond(at_ms).expect("in range"),
            task_id,
            reason,
        };
        prop_assert_eq!(record.encode().lines().count(), 1);
        prop_assert_eq!(TickRecord::parse(&record.encode()), Ok(record));
    }

    #[test]
    fn no_text_makes_reading_panic(text in "1\\|[-0-9]{0,3}\\|[-0-9]{0,3}\\|1\\|failed\\|1\\|[%|a-fé]{0,9}") {
        let _ = TickRecord::parse(&text);
    }
}
