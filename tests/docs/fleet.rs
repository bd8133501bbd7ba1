//! The table of promises beside Go programs: each cell names tests that exist, and those about Go run Go.

use crate::markdown::{Table, code_of, table};
use crate::names::has_test;
use crate::{assert_none, files, read, root};

/// The tests that a cell names, each as its test target and its name.
fn tests_in(cell: &str) -> Vec<(String, String)> {
    let names = code_of(cell).into_iter().filter_map(|code| {
        let (target, name) = code.split_once(": ")?;
        Some((target.to_owned(), name.to_owned()))
    });
    names.collect()
}

/// What is wrong with a table of promises. `exists` says whether a target has a test of that name.
fn complaints(table: &Table, exists: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for row in &table.rows {
        if row.len() != table.header.len() {
            wrong.push(format!("{}: {} cells", row[0], row.len()));
        }
        for (column, cell) in table.header.iter().zip(row).skip(1) {
            let place = format!("{}, {column}", row[0]);
            let tests = tests_in(cell);
            // Ours may be shown without Go; what Go does, only by Go.
            let is_about_go = column.starts_with("Go ");
            if tests.is_empty() || (is_about_go && tests.iter().all(|(target, _)| target != "interop")) {
                let which = if is_about_go { "with real Go programs" } else { "at all" };
                wrong.push(format!("{place}: no test {which}"));
            }
            if cell.starts_with('`') {
                wrong.push(format!("{place}: says nothing"));
            }
            let missing = tests.iter().filter(|(target, name)| !exists(target, name));
            wrong.extend(missing.map(|(target, name)| format!("{place}: {target} has no test {name}")));
        }
    }
    wrong
}

fn has_test_of(target: &str, name: &str) -> bool {
    let folder = format!("tests/{target}");
    let is_target = root().join(&folder).join("main.rs").exists();
    is_target && has_test(&files(&folder, "rs").into_iter().map(read).collect::<Vec<_>>(), name)
}

#[test]
fn every_promise_beside_go_names_tests_in_every_cell() {
    let table = table(&read("ARCHITECTURE.md"), &["Promise", "Our worker", "Go worker"]);
    assert_eq!(table.header.len(), 4);
    assert!(table.rows.len() > 25, "only {} promises", table.rows.len());
    assert_none(&complaints(&table, has_test_of));
}

#[test]
fn a_cell_without_a_test_of_its_own_is_found() {
    let cells = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
    let of = |row| Table { header: cells(["Promise", "Our worker", "Go worker"]), rows: vec![row] };
    let exists = |target: &str, name: &str| (target, name) != ("interop", "gone");
    let found = |ours: &str, go: &str| complaints(&of(cells(["P", ours, go])), exists);
    assert_eq!(found("So: `redis: a`", "So: `redis: a`, `interop: b`"), Vec::<String>::new());
    assert_eq!(found("So", "So: `interop: a`"), ["P, Our worker: no test at all"]);
    assert_eq!(found("So: `redis: a`", "So: `redis: a`"), ["P, Go worker: no test with real Go programs"]);
    assert_eq!(found("So: `redis: a`", "So: `interop: gone`"), ["P, Go worker: interop has no test gone"]);
    assert_eq!(found("`redis: a`", "So: `interop: a`"), ["P, Our worker: says nothing"]);
    assert_eq!(complaints(&of(cells(["P", "So: `redis: a`", ""])[..2].to_vec()), exists), ["P: 2 cells"]);
    assert!(
        !has_test_of("interop", "no_such_test") && !has_test_of("nowhere", "a") && !has_test_of("run", "a")
    );
}
