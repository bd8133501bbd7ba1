//! Tables of the architecture beside the code they are about.

use std::collections::{BTreeMap, BTreeSet};

use cronmill::broker::{ArchiveLimits, MESSAGE_BYTES_MAX, MIRROR_ENTRIES_MAX, MIRROR_EVENTS_MAX};
use cronmill::schedule::{NO_CATCH_UP_GRACE_S, SCHEDULES_MAX, TICKS_PER_DECISION_MAX, TickOutcome};
use cronmill::task::{QueueName, State};

use crate::markdown::{Table, code_of, table, tables};
use crate::{assert_none, files, read};

/// The rows of the key map: the key as written there, and the scripts named as its writers.
fn key_map() -> Vec<(String, Vec<String>)> {
    let document = read("ARCHITECTURE.md");
    let maps: Vec<Table> =
        tables(&document).into_iter().filter(|table| table.header[..2] == ["Key", "Type"]).collect();
    assert_eq!(maps.len(), 2, "asynq's keys and ours");
    let row = |row: Vec<String>| {
        let writers = code_of(row.last().unwrap()).into_iter().filter(|code| code.ends_with(".lua"));
        (code_of(&row[0]).remove(0), writers.collect())
    };
    maps.into_iter().flat_map(|map| map.rows).map(row).collect()
}

/// A key as documented without the names of what varies in it: `a:{<b>}:c:<d>` is `a:{}:c:`.
fn shape(key: &str) -> String {
    let mut is_name = false;
    let mut is_kept = |c| {
        is_name = if is_name { c != '>' } else { c == '<' };
        !is_name && c != '>'
    };
    key.chars().filter(|&c| is_kept(c)).collect()
}

/// A format string in the same way: `a:{{{b}}}:c:{d}` is `a:{}:c:` too.
fn format_shape(text: &str) -> String {
    let mut shape = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (kept, length) = match c {
            '{' if rest.starts_with("{{") => ("{", 2),
            '}' => ("}", 2),
            '{' => ("", rest.find('}').expect("a format string is closed") + 1),
            _ => (&rest[..c.len_utf8()], c.len_utf8()),
        };
        shape.push_str(kept);
        rest = &rest[length..];
    }
    shape
}

#[test]
fn both_ways_to_write_a_key_have_one_shape() {
    assert_eq!(shape("a:{<b>}:c:<d>"), "a:{}:c:");
    assert_eq!(format_shape("a:{{{b}}}:c:{d}"), "a:{}:c:");
    assert_eq!(format_shape("a:{b}:c"), shape("a:<b>:c"));
}

/// The keys that the code spells, by shape.
fn spelled() -> BTreeSet<String> {
    let source = read("src/broker/keys.rs");
    let code = source.split("#[cfg(test)]").next().unwrap();
    let mut keys = BTreeSet::new();
    for line in code.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        let Some(text) = line.split('"').nth(1) else { continue };
        let text = format_shape(text);
        let is_builder =
            ["\"asynq:{{{}}}:{rest}\"", "\"cronmill:{{{}}}:{rest}\""].iter().any(|b| line.contains(b));
        match line {
            _ if is_builder => continue,
            _ if line.contains("self.asynq(") => keys.insert(format!("asynq:{{}}:{text}")),
            _ if line.contains("self.ours(") => keys.insert(format!("cronmill:{{}}:{text}")),
            _ => keys.insert(text),
        };
    }
    keys
}

#[test]
fn the_key_map_has_the_keys_of_the_code_and_no_others() {
    let documented: BTreeSet<String> = key_map().iter().map(|(key, _)| shape(key)).collect();
    assert!(documented.len() > 25, "{documented:?}");
    assert_eq!(documented, spelled());
}

#[test]
fn a_script_named_as_a_keys_writer_is_given_that_key() {
    let mut wrong = Vec::new();
    for (key, writers) in key_map() {
        let last = |key: &str| key.trim_end_matches(':').rsplit(':').next().unwrap_or_default().to_owned();
        let word = match last(&shape(&key)).as_str() {
            "g" => "group-key prefix".to_owned(),
            "t" => "task-key prefix".to_owned(),
            // Its text is in the message.
            "unique" => "string".to_owned(),
            "pause" => "pause note".to_owned(),
            "{}" if key.starts_with("asynq:servers") => "server record".to_owned(),
            "{}" if key.starts_with("asynq:schedulers") => "entries".to_owned(),
            "{}" => "running tasks".to_owned(),
            word => word.to_owned(),
        };
        for script in writers {
            let text = read(format!("src/broker/lua/{script}"));
            let header: String = text.lines().take_while(|line| line.starts_with("--")).collect();
            let is_read_only = header.contains("Nothing is changed");
            if !header.contains(&word) || is_read_only {
                wrong.push(format!("{key}: {script} says nothing of {word:?}, or only reads"));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn private_fields_of_tasks_are_all_documented() {
    let table = table(&read("ARCHITECTURE.md"), &["Field", "Content"]);
    let documented: BTreeSet<String> = table.rows.iter().map(|row| code_of(&row[0]).remove(0)).collect();
    let scripts: String = files("src/broker/lua", "lua").into_iter().map(read).collect();
    let words = scripts.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let used = words.filter(|word| word.starts_with("cronmill_")).map(str::to_owned).collect();
    assert_eq!(documented, used);
}

/// The import table of the test that checks imports.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let source = read("tests/architecture/imports.rs");
    let start = source.find("const MODULES").unwrap();
    let start = start + source[start..].find("= &[").unwrap();
    let mut modules: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let (mut depth, mut last, mut text) = (0, String::new(), None::<String>);
    for c in source[start..].chars() {
        match (c, &mut text) {
            ('"', None) => text = Some(String::new()),
            ('"', Some(name)) => {
                let name = std::mem::take(name);
                if depth == 1 {
                    modules.insert(name.clone(), BTreeSet::new());
                    last = name;
                } else {
                    modules.get_mut(&last).unwrap().insert(name);
                }
                text = None;
            }
            (c, Some(name)) => name.push(c),
            ('[', None) => depth += 1,
            (']', None) => depth -= 1,
            _ => {}
        }
        if c == ']' && depth == 0 {
            break;
        }
    }
    modules
}

#[test]
fn the_table_of_modules_is_the_one_that_is_checked() {
    let table = table(&read("ARCHITECTURE.md"), &["Module", "Does", "May use"]);
    let row = |row: &Vec<String>| {
        let uses = row[2].split(", ").filter(|name| *name != "–").map(str::to_owned).collect();
        (code_of(&row[0]).remove(0), uses)
    };
    let documented: BTreeMap<String, BTreeSet<String>> = table.rows.iter().map(row).collect();
    assert!(documented.len() > 10, "{documented:?}");
    assert_eq!(documented, imports());
}

#[test]
fn states_and_outcomes_are_those_of_the_code() {
    let document = read("ARCHITECTURE.md");
    let first = |header: &[&str]| {
        let table = table(&document, header);
        table.rows.iter().map(|row| code_of(&row[0]).remove(0)).collect::<BTreeSet<_>>()
    };
    assert_eq!(first(&["State", "Held in"]), State::ALL.map(|state| state.to_string()).into());
    assert_eq!(first(&["Outcome", "When"]), TickOutcome::ALL.map(|outcome| outcome.to_string()).into());
}

#[test]
fn verdicts_are_those_of_the_firing_script() {
    let table = table(&read("ARCHITECTURE.md"), &["Verdict", "Means"]);
    let script = read("src/broker/lua/fire_entries.lua");
    let header: String = script.lines().take_while(|line| line.starts_with("--")).collect();
    for row in &table.rows {
        let verdict = code_of(&row[0]).remove(0);
        assert!(header.contains(&verdict) && script.contains(&format!("'{verdict}'")), "{verdict}");
    }
    assert_eq!(table.rows.len(), 9);
}

#[test]
fn limits_that_the_code_exports_are_as_documented() {
    let document = read("ARCHITECTURE.md");
    let table = table(&document, &["What", "Limit"]);
    let limit = |what: &str| {
        let row =
            table.rows.iter().find(|row| row[0] == what).unwrap_or_else(|| panic!("no limit for {what}"));
        row[1].clone()
    };
    assert_eq!(limit("one message"), format!("{} MiB", MESSAGE_BYTES_MAX >> 20));
    assert!(limit("a queue's name").starts_with(&format!("{} bytes", QueueName::BYTES_MAX)));
    assert!(limit("schedules of one entry; of one CronTask").starts_with(&format!("{SCHEDULES_MAX};")));
    assert_eq!(limit("ticks one decision looks at").replace(',', ""), TICKS_PER_DECISION_MAX.to_string());
    assert_eq!(limit("a tick under `catchUp: None` may be late by"), format!("{NO_CATCH_UP_GRACE_S} s"));
    let mirrored = limit("schedules shown to asynq's tools; enqueues of each; bytes of a payload");
    let limits = format!("{MIRROR_ENTRIES_MAX}; {MIRROR_EVENTS_MAX};");
    assert!(mirrored.replace(',', "").starts_with(&limits), "{mirrored}");
    let archive = ArchiveLimits::default();
    assert_eq!((archive.tasks_max, archive.age_max.as_secs() / 86_400), (10_000, 90));
    assert!(document.contains("(10,000 tasks, 90 days)"));
}
