//! Names in the documents: paths, targets of make, tests, scripts.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::markdown::{blocks, code, code_of, table};
use crate::{DOCUMENTS, assert_none, files, read, root};

/// Where paths begin that the documents name.
const FOLDERS: [&str; 8] = [".ci/", "charts/", "crds/", "deploy/", "docs/", "examples/", "src/", "tests/"];

/// Whether a piece of code is a path of the repository, and not a pattern for some.
fn is_path(code: &str) -> bool {
    let is_plain = !code.contains(['<', '*', ' ', '{']) && !code.contains("NAME");
    let is_file = !code.contains('/') && [".md", ".toml"].iter().any(|end| code.ends_with(end));
    is_plain && (FOLDERS.iter().any(|folder| code.starts_with(folder)) || is_file)
}

#[test]
fn paths_in_the_documents_exist() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for document in DOCUMENTS {
        for path in code(&read(document)).into_iter().filter(|code| is_path(code)) {
            count += 1;
            if !root().join(&path).exists() {
                wrong.push(format!("{document}: no {path}"));
            }
        }
    }
    assert!(count > 20, "only {count} paths were found");
    assert_none(&wrong);
}

#[test]
fn a_path_is_told_from_other_code() {
    for path in ["src/broker/", "Cargo.toml", "tests/run/tiers.py", ".ci/run"] {
        assert!(is_path(path), "{path}");
    }
    for other in
        ["tests/NAME/main.rs", "src/broker/lua/<verb>_<noun>.lua", "*/20 * * * *", "asynq:{<queue>}:t:<id>"]
    {
        assert!(!is_path(other), "{other}");
    }
}

/// The calls of make in a document, each as the words after it.
fn calls_of_make(text: &str) -> Vec<Vec<String>> {
    let shells =
        blocks(text).into_iter().filter(|block| ["console", "sh"].contains(&block.language.as_str()));
    let lines: Vec<String> = shells
        .flat_map(|block| block.text.lines().map(str::to_owned).collect::<Vec<_>>())
        .chain(code(text))
        .collect();
    let calls = lines.iter().filter_map(|line| {
        let line = line.split(" #").next().unwrap_or_default();
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let at = words.iter().position(|word| word == "make")?;
        // Only variables may stand before it.
        words[..at].iter().all(|word| word.contains('=') || word == "$").then(|| words[at + 1..].to_vec())
    });
    calls.collect()
}

/// What the test runner prints when it is asked with these words.
fn runner(words: &[&str]) -> String {
    let output = Command::new("python3").arg("tests/run").args(words).current_dir(root()).output().unwrap();
    [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat()
}

/// The tiers there are.
fn tiers() -> BTreeSet<String> {
    let answer = runner(&["test", "no-such-tier"]);
    let list = answer.trim().split_once("there are ").unwrap_or_else(|| panic!("{answer}")).1;
    list.split(", ").map(str::to_owned).collect()
}

#[test]
fn targets_tiers_and_proofs_in_the_documents_exist() {
    let makefile = read("Makefile");
    let is_target = |word: &String| makefile.lines().any(|line| line.starts_with(&format!("{word}:")));
    let (tiers, proofs) = (tiers(), runner(&["prove"]));
    let mut count = 0;
    for document in DOCUMENTS {
        for words in calls_of_make(&read(document)) {
            count += 1;
            for word in &words {
                let is_known = match word.split_once('=') {
                    Some(("TIER", names)) => names.split(',').all(|name| tiers.contains(name)),
                    // A test target's name stands for all of its proofs.
                    Some(("NAME", "…")) => true,
                    Some(("NAME", name)) => {
                        tiers.contains(name)
                            || proofs.lines().any(|line| line.ends_with(&format!("NAME={name}")))
                    }
                    _ => is_target(word),
                };
                assert!(is_known, "{document}: make {}: no {word}", words.join(" "));
            }
        }
    }
    assert!(count > 8, "only {count} calls of make were found");
}

#[test]
fn the_table_of_tiers_has_them_all() {
    let table = table(&read("CONTRIBUTING.md"), &["Tier"]);
    assert_eq!(table.rows.iter().map(|row| code_of(&row[0]).remove(0)).collect::<BTreeSet<_>>(), tiers());
}

/// Whether some source has a test of this name.
pub(crate) fn has_test(sources: &[String], name: &str) -> bool {
    let heads = [format!("fn {name}("), format!("async fn {name}(")];
    sources.iter().any(|source| {
        let lines: Vec<&str> = source.lines().collect();
        // What this macro is given becomes two tests.
        let mut given = source.split("on_both_databases!(").skip(1).filter_map(|rest| rest.split(')').next());
        if given.any(|names| names.split(',').any(|given| given.trim() == name)) {
            return true;
        }
        let is_head = |line: &str| heads.iter().any(|head| line.trim().starts_with(head.as_str()));
        let is_attribute = |line: &&str| line.trim().starts_with("#[");
        (0..lines.len()).filter(|&at| is_head(lines[at])).any(|at| {
            let attributes = lines[..at].iter().rev().take_while(|line| is_attribute(line));
            attributes.into_iter().any(|line| line.contains("test]") || line.contains("test("))
        })
    })
}

/// Every Rust source of the repository.
fn sources() -> Vec<String> {
    ["src", "tests"].into_iter().flat_map(|folder| files(folder, "rs")).map(read).collect()
}

#[test]
fn every_failure_names_a_test_that_exists() {
    let sources = sources();
    let table = table(&read("ARCHITECTURE.md"), &["What dies or breaks"]);
    let mut wrong = Vec::new();
    for row in &table.rows {
        let tests = code_of(row.last().unwrap());
        if tests.is_empty() {
            wrong.push(format!("{}: no test", row[0]));
        }
        let missing = tests.iter().filter(|name| !has_test(&sources, name));
        wrong.extend(missing.map(|name| format!("{}: no test {name}", row[0])));
    }
    assert!(table.rows.len() > 15, "only {} failures", table.rows.len());
    assert_none(&wrong);
}

#[test]
fn tests_named_in_the_guide_exist() {
    let sources = sources();
    // Names of tests are sentences: longer than any other name.
    let is_sentence = |name: &String| name.matches('_').count() >= 5 && !name.contains(['/', ' ', '.']);
    let named: Vec<String> = code(&read("CONTRIBUTING.md")).into_iter().filter(is_sentence).collect();
    assert!(named.len() >= 2, "{named:?}");
    assert_none(&named.into_iter().filter(|name| !has_test(&sources, name)).collect::<Vec<_>>());
}

#[test]
fn a_function_that_is_no_test_does_not_count() {
    let source = ["fn helper() {}\n#[test]\nfn real() {}\n    #[tokio::test(flavor = \"x\")]\n    async fn waits() {}\n".to_owned()];
    assert!(has_test(&source, "real") && has_test(&source, "waits"));
    assert!(!has_test(&source, "helper") && !has_test(&source, "rea"));
    let both =
        ["on_both_databases!(\n    first,\n    second,\n);\nasync fn first() {}\nasync fn third() {}\n"
            .to_owned()];
    assert!(has_test(&both, "second") && !has_test(&both, "third"));
}

#[test]
fn every_script_is_in_the_architecture_and_every_one_there_exists() {
    let named: BTreeSet<String> = code(&read("ARCHITECTURE.md"))
        .into_iter()
        .filter(|code| code.ends_with(".lua") && !code.contains('/'))
        .collect();
    let is_script = |path: &&std::path::PathBuf| path.parent() == Some(Path::new("src/broker/lua"));
    let there = files("src/broker/lua", "lua");
    let there =
        there.iter().filter(is_script).map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
    assert_eq!(named, there.collect());
}
