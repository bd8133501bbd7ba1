//! The examples of the documents, run as they stand there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use cronmill::config::{read_scheduler, read_worker};
use cronmill::local::manifest::Manifests;
use jiff::{SignedDuration, Timestamp};

use crate::markdown::{Block, blocks};
use crate::session::Session;
use crate::support::until_blocking;
use crate::{DOCUMENTS, files, read};

/// What a block may be in; each is checked in one way or another, `sh`, `text` and `toml` by what they name.
const LANGUAGES: [&str; 7] = ["console", "go", "rust", "sh", "text", "toml", "yaml"];

#[test]
fn the_readme_runs_as_it_stands() {
    let mut session = Session::new();
    let all = blocks(&read("README.md"));
    all.iter().for_each(|block| session.take(block));
    // The handler of the second example has run what the shell, Go and Rust enqueued.
    let log = session.path("dev.log");
    for name in ["Ann", "Grace", "Lin"] {
        let line = format!("hello \"{name}\"");
        until_blocking(Duration::from_secs(60), &line, || {
            fs::read_to_string(&log).unwrap_or_default().contains(&line)
        });
    }
}

#[test]
fn the_examples_of_the_other_documents_run() {
    for document in &DOCUMENTS[1..] {
        let mut session = Session::new();
        blocks(&read(document)).iter().for_each(|block| session.take(block));
    }
}

#[test]
fn every_block_says_what_it_is_in() {
    for document in DOCUMENTS {
        for block in blocks(&read(document)) {
            let language = block.language.as_str();
            assert!(LANGUAGES.contains(&language), "{document}:{}: {language:?}", block.line);
        }
    }
}

#[test]
fn every_manifest_in_the_documents_is_sound() {
    let mut count = 0;
    for document in DOCUMENTS {
        let is_manifest = |block: &Block| block.language == "yaml" && !block.about.starts_with("etc/");
        for block in blocks(&read(document)).into_iter().filter(is_manifest) {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("block.yaml"), &block.text).unwrap();
            let mut manifests = Manifests::open(vec![folder.path().to_owned()], "docs");
            let settled = Timestamp::now() + SignedDuration::from_secs(60);
            let changes = manifests.refresh(settled);
            let errors: Vec<String> = changes.errors.iter().map(ToString::to_string).collect();
            assert_eq!(errors, [""; 0], "{document}:{}", block.line);
            assert!(manifests.tasks().count() > 0, "{document}:{} makes no task", block.line);
            count += 1;
        }
    }
    assert!(count >= 2, "only {count} manifests were found");
}

#[test]
fn every_services_file_in_the_documents_is_sound() {
    let mut read_as = BTreeSet::new();
    for block in DOCUMENTS.iter().flat_map(|document| blocks(&read(document))) {
        let file = Path::new(&block.about);
        let errors = match block.about.as_str() {
            "etc/mq.yaml" => read_worker(file, &block.text).err(),
            "etc/scheduler.yaml" => read_scheduler(file, &block.text).err(),
            other => {
                assert!(!other.starts_with("etc/"), "{other} is no service's");
                continue;
            }
        };
        assert_eq!(errors, None, "{}", block.line);
        read_as.insert(block.about);
    }
    assert_eq!(read_as.len(), 2);
}

#[test]
fn rust_in_the_documents_is_the_file_it_names() {
    let mut shown = BTreeSet::new();
    for document in DOCUMENTS {
        for block in blocks(&read(document)) {
            if block.language == "rust" && !block.about.is_empty() {
                assert_eq!(block.text, read(&block.about), "{document}:{}", block.line);
                shown.insert(block.about);
            }
        }
    }
    let examples = files("examples", "rs").into_iter().map(|path| path.to_string_lossy().into_owned());
    assert_eq!(shown, examples.collect());
}
