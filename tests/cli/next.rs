//! `cron next` on schedules as text: no Redis is asked.

use std::io::Read as _;
use std::process::Stdio;

use serde_json::json;

use crate::stage::{offline, program};

#[test]
fn the_times_of_a_schedule_are_a_json_array() {
    let ran = offline(&[
        "cron",
        "next",
        "*/20 * * * *",
        "--tz",
        "Asia/Shanghai",
        "--after",
        "2026-11-23T00:00:00Z",
        "--count",
        "5",
        "--gap",
        "Skip",
        "--overlap",
        "Both",
        "-o",
        "json",
    ]);
    let expected = r#"[
  "2026-11-23T00:20:00Z",
  "2026-11-23T00:40:00Z",
  "2026-11-23T01:00:00Z",
  "2026-11-23T01:20:00Z",
  "2026-11-23T01:40:00Z"
]
"#;
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, expected, ""));
}

#[test]
fn a_table_shows_both_clocks_and_the_offset() {
    let after = "2026-10-24T12:00:00Z";
    let table =
        offline(&["cron", "next", "30 12 * * *", "--tz", "Europe/Berlin", "--after", after, "--count", "2"]);
    let expected = "\
UTC                   EUROPE/BERLIN            OFFSET
2026-10-25T11:30:00Z  Sun 2026-10-25 12:30:00  +01:00
2026-10-26T11:30:00Z  Mon 2026-10-26 12:30:00  +01:00
";
    assert_eq!(table.done(), expected);
}

#[test]
fn gap_and_overlap_decide_around_a_change_of_the_clock() {
    let times = |spec: &str, after: &str, flags: &[&str]| {
        let mut words = vec!["cron", "next", spec, "--tz", "Europe/Berlin", "--after", after, "--count", "2"];
        words.extend(["-o", "json"]);
        words.extend(flags);
        offline(&words).json()
    };
    let jump = "2027-03-27T12:00:00Z";
    let (after, skip) =
        (["2027-03-28T01:00:00Z", "2027-03-29T00:30:00Z"], ["2027-03-29T00:30:00Z", "2027-03-30T00:30:00Z"]);
    assert_eq!(times("30 2 * * *", jump, &[]), json!(after));
    assert_eq!(times("30 2 * * *", jump, &["--gap", "after"]), json!(after));
    assert_eq!(times("30 2 * * *", jump, &["--gap", "Skip"]), json!(skip));
    let back = "2026-10-24T12:00:00Z";
    let (first, both) =
        (["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"], ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]);
    assert_eq!(times("30 2 * * *", back, &[]), json!(first));
    assert_eq!(times("30 2 * * *", back, &["--overlap", "Both"]), json!(both));
}

#[test]
fn after_is_exclusive_and_may_have_an_offset() {
    let times = |after: &str| {
        offline(&["cron", "next", "0 9 * * *", "--after", after, "--count", "1", "-o", "json"]).json()
    };
    assert_eq!(times("2026-11-23T09:00:00Z"), json!(["2026-11-24T09:00:00Z"]));
    assert_eq!(times("2026-11-23T16:59:59+08:00"), json!(["2026-11-23T09:00:00Z"]));
}

#[test]
fn what_never_fires_is_an_empty_answer() {
    let never = ["cron", "next", "0 0 31 2 *"];
    assert_eq!(offline(&[&never[..], &["-o", "json"]].concat()).done(), "[]\n");
    let ran = offline(&never);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""));
    assert_eq!(ran.stderr, "never, that is not within five years\n");
}

#[test]
fn a_bad_schedule_is_refused_with_its_field_and_a_caret() {
    let message = offline(&["cron", "next", "0 9 32 * *"]).refused(2);
    let expected = r#"error: read schedule "0 9 32 * *": day of month: 32 is above 31; allowed: 1-31, *, lists a,b, ranges a-b, steps */n a-b/n, H

  0 9 32 * *
      ^^
"#;
    assert_eq!(message, expected);
}

#[test]
fn a_bad_zone_is_refused_with_the_nearest_one() {
    let message = offline(&["cron", "next", "@daily", "--tz", "Asia/Shangai", "-o", "json"]).refused(2);
    let expected = r#"error: read time zone "Asia/Shangai": unknown name, did you mean Asia/Shanghai?; allowed: IANA names such as Europe/Berlin or UTC

  Asia/Shangai
  ^^^^^^^^^^^^
"#;
    assert_eq!(message, expected);
}

#[test]
fn bad_flags_are_refused_with_what_is_allowed() {
    for (flags, part) in [
        (["--after", "2026-11-23T00:00:00"], "RFC 3339 with an offset"),
        (["--after", "tomorrow"], "RFC 3339 with an offset"),
        (["--count", "0"], "1..=10000"),
        (["--gap", "Maybe"], "After, Skip"),
        (["--overlap", "None"], "First, Both"),
        (["--output", "xml"], "table, wide, json, yaml"),
        (["--nothing", "x"], "unexpected argument"),
    ] {
        let message = offline(&[&["cron", "next", "@daily"][..], &flags].concat()).refused(2);
        assert!(message.contains(part), "{flags:?}: {message}");
    }
    let message = offline(&["cron", "next", "Report"]).refused(2);
    assert!(message.contains("nor is it an object's name, such as shop/nightly-report"), "{message}");
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let mut command = program();
    command.args(["cron", "next", "* * * * * *", "--count", "10000"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it was just built");
    let mut stdout = child.stdout.take().expect("piped above");
    stdout.read_exact(&mut [0; 10]).expect("it prints more than that");
    drop(stdout);
    let output = child.wait_with_output().expect("our own child");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), stderr.as_ref()), (Some(0), ""));
}

#[test]
fn a_full_disk_is_a_failure() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has one");
    let output = program().args(["cron", "next", "@daily"]).stdout(full).output().expect("it was just built");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr.starts_with("error: write to stdout: No space left on device"), "{stderr}");
}
