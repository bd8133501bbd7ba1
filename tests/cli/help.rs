//! Help texts, which are a contract, completions and the version.
//!
//! Each help text stands in `help/`. After a change that is meant, `CRONMILL_WRITE_HELP=1 cargo test --test cli`
//! writes them anew; review what that changes as code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::stage::{Ran, offline, program};

/// The help of a command and of everything below it, by file name.
fn helps(words: &[&str], into: &mut BTreeMap<String, String>) {
    let text = Ran::of(program().args(words).arg("--help"), b"").done();
    let commands: Vec<String> = text
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        // What goes on from the line before is indented further.
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().expect("a command has a name").to_owned())
        .collect();
    into.insert(format!("{}.txt", [&["cronmill"], words].concat().join("-")), text);
    for command in &commands {
        helps(&[words, &[command.as_str()]].concat(), into);
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/help")
}

fn stored() -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(folder()).expect("the folder is in the repository");
    let file = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.expect("a readable folder");
        let text = std::fs::read_to_string(entry.path()).expect("a readable file");
        (entry.file_name().to_string_lossy().into_owned(), text)
    };
    entries.map(file).collect()
}

#[test]
fn help_is_as_it_was_reviewed() {
    let mut now = BTreeMap::new();
    helps(&[], &mut now);
    let worker = Ran::of(Command::new(env!("CARGO_BIN_EXE_cronmill-worker")).env_clear().arg("--help"), b"");
    now.insert("cronmill-worker.txt".to_owned(), worker.done());
    if std::env::var_os("CRONMILL_WRITE_HELP").is_some() {
        for name in stored().keys().filter(|name| !now.contains_key(*name)) {
            std::fs::remove_file(folder().join(name)).expect("a writable folder");
        }
        for (name, text) in &now {
            std::fs::write(folder().join(name), text).expect("a writable folder");
        }
    }
    let stored = stored();
    let names: Vec<_> = now.keys().collect();
    assert_eq!(names, stored.keys().collect::<Vec<_>>(), "run with CRONMILL_WRITE_HELP=1 and review");
    for (name, text) in &now {
        assert_eq!(text, &stored[name], "{name}: run with CRONMILL_WRITE_HELP=1 and review");
    }
    assert!(names.len() > 20, "{names:?}");
}

#[test]
fn help_is_data_and_a_missing_command_is_wrong_use() {
    for words in [&["--help"][..], &["cron", "next", "-h"], &["--version"]] {
        let ran = offline(words);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    }
    for words in [&[][..], &["cron"], &["task", "list"], &["nothing"]] {
        let message = offline(words).refused(2);
        assert!(message.contains("Usage: cronmill"), "{message}");
    }
}

#[test]
fn every_shell_has_a_completion() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = offline(&["completion", shell]).done();
        assert!(script.contains("trigger") && script.contains("enqueue"), "{shell}");
    }
    let message = offline(&["completion", "tcsh"]).refused(2);
    assert!(message.contains("[possible values: bash, elvish, fish, powershell, zsh]"), "{message}");
}

#[test]
fn bash_completes_with_it() {
    let script = offline(&["completion", "bash"]).done();
    let asks =
        "COMP_WORDS=(cronmill queue p); COMP_CWORD=2; _cronmill cronmill p queue; echo \"${COMPREPLY[@]}\"";
    let answer = Ran::of(Command::new("bash").args(["--norc", "-c", &format!("{script}\n{asks}")]), b"");
    assert_eq!(answer.done(), "pause\n");
}

#[test]
fn the_version_names_engine_and_zone_data() {
    let version = offline(&["version", "-o", "json"]).json();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(version["scheduleEngine"], cronmill::schedule::engine_version());
    let sheet = offline(&["version"]).done();
    assert!(sheet.starts_with(&format!("cronmill:        {}\n", env!("CARGO_PKG_VERSION"))), "{sheet}");
    assert_eq!(offline(&["--version"]).done(), format!("cronmill {}\n", env!("CARGO_PKG_VERSION")));
}
