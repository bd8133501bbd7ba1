//! Who may import whom, and which crates stand behind which wall.

use std::path::Path;

use super::source::{Named, paths, tokens};
use super::{assert_none, files, read};

/// Each module of ours and the modules it may use. An earlier stage never imports a later one.
const MODULES: &[(&str, &[&str])] = &[
    ("task", &[]),
    ("schedule", &["task"]),
    ("crd", &[]),
    ("telemetry", &[]),
    ("shutdown", &[]),
    ("causes", &[]),
    ("nearest", &[]),
    ("document", &[]),
    ("broker", &["task", "schedule", "causes"]),
    ("producer", &["task", "broker"]),
    ("inspector", &["task", "broker"]),
    ("scheduler", &["task", "schedule", "broker", "telemetry", "shutdown"]),
    ("keeper", &["task", "broker", "telemetry", "shutdown"]),
    ("scaling", &["task"]),
    ("fleet", &["task", "broker", "scaling"]),
    ("worker", &["task", "broker", "producer", "keeper", "telemetry", "shutdown", "causes"]),
    ("rpc", &[]),
    ("shop", &["rpc", "task", "producer", "telemetry", "shutdown", "causes"]),
    ("handlers", &["rpc", "task", "worker"]),
    ("resolve", &["crd", "task", "schedule", "scaling", "nearest"]),
    ("config", &["task", "schedule", "broker", "nearest", "document"]),
    ("periodic", &["config", "document", "task", "schedule", "broker", "scheduler", "telemetry", "causes"]),
    (
        "local",
        &[
            "nearest",
            "document",
            "crd",
            "task",
            "schedule",
            "resolve",
            "broker",
            "scheduler",
            "keeper",
            "scaling",
            "fleet",
            "telemetry",
            "shutdown",
        ],
    ),
    (
        "operator",
        &[
            "crd",
            "task",
            "schedule",
            "resolve",
            "broker",
            "scheduler",
            "keeper",
            "scaling",
            "fleet",
            "telemetry",
            "shutdown",
            "causes",
        ],
    ),
];

/// Modules that put the others together and may use all of them.
const ROOTS: &[&str] = &["cli", "main", "bin", "lib"];

/// Crates, or modules of crates, that only these modules of ours may name.
const WALLS: &[(&str, &[&str])] = &[
    ("redis", &["broker"]),
    ("kube", &["crd", "local", "operator"]),
    ("k8s_openapi", &["crd", "local", "operator"]),
    ("schemars", &["crd", "local", "bin"]),
    ("serde_saphyr", &["document", "bin"]),
    ("sqlx", &["shop"]),
    ("tonic", &["rpc", "shop", "handlers", "cli"]),
    ("tonic_prost", &["rpc"]),
    ("tonic_health", &["shop"]),
    ("tonic_reflection", &["shop"]),
    ("prost_types", &["rpc", "shop", "handlers"]),
    ("protox", &["bin"]),
    ("tonic_prost_build", &["bin"]),
    ("hyper", &["handlers"]),
    ("hyper_util", &["handlers"]),
    ("hyper_rustls", &["handlers"]),
    ("http_body_util", &["handlers"]),
    ("axum", &["telemetry"]),
    ("prometheus_client", &["telemetry"]),
    ("tracing_subscriber", &["telemetry"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("comfy_table", &["cli"]),
    ("indicatif", &["cli"]),
    ("anyhow", &["cli", "main", "bin"]),
    ("std::env", &["cli", "main", "bin"]),
];

/// Modules that compute: no input or output, nothing asynchronous, and the time is an argument.
const PURE: &[&str] = &["task", "schedule", "scaling", "resolve"];

/// What a pure module must not name.
const IMPURE: &[&str] = &["tokio", "futures", "std::fs", "std::net", "std::process", "std::thread"];

/// The first folder or file below `src`: the module a file belongs to.
fn module_of(path: &Path) -> String {
    let below = path.strip_prefix("src").expect("only sources are checked");
    let first = below.components().next().expect("a file has a name");
    Path::new(&first).with_extension("").to_string_lossy().into_owned()
}

/// How many modules a file lies deep: 1 for `src/a.rs` and `src/a/mod.rs`, 2 for `src/a/b.rs`.
fn depth_of(path: &Path) -> usize {
    let length = path.components().count() - 1;
    if path.ends_with("mod.rs") { length - 1 } else { length }
}

/// The module of ours that a path leads to from the crate's root, if it does.
fn target(named: &Named, depth: usize) -> Option<&str> {
    let up = named.segments.iter().take_while(|segment| *segment == "super").count();
    let at = match named.segments[0].as_str() {
        "crate" | "cronmill" => 1,
        "super" if up >= depth + named.inside => up,
        _ => return None,
    };
    named.segments.get(at).map(String::as_str)
}

/// What is wrong with the imports of one file.
fn complaints(path: &Path, source: &str) -> Vec<String> {
    let module = module_of(path);
    let tokens = tokens(source);
    let mut wrong = Vec::new();
    let mut complain = |line: usize, what: String| wrong.push(format!("{}:{line}: {what}", path.display()));
    let Some(allowed) = allowed(&module) else {
        complain(1, format!("module {module} stands in no table; add it to tests/architecture/imports.rs"));
        return wrong;
    };
    // A module of our own may have the name of a crate.
    let own = |name: &str| tokens.windows(2).any(|pair| pair[0].is_word("mod") && pair[1].is_word(name));
    for named in paths(&tokens) {
        let text = named.segments.join("::");
        if let Some(target) = target(&named, depth_of(path)) {
            let ours = MODULES.iter().any(|(name, _)| *name == target) || target == "cli";
            if ours && target != module && !allowed.contains(&target) {
                complain(named.line, format!("{module} may not import {target} ({text})"));
            }
        }
        for (wall, inside) in WALLS {
            if starts_with(&named.segments, wall) && !inside.contains(&module.as_str()) && !own(wall) {
                complain(named.line, format!("{wall} may be used in {} only ({text})", inside.join(", ")));
            }
        }
        if PURE.contains(&module.as_str()) && is_impure(&named.segments) {
            complain(named.line, format!("{module} is pure and may not use {text}"));
        }
    }
    if PURE.contains(&module.as_str()) {
        for token in tokens.iter().filter(|token| token.is_word("async") || token.is_word("await")) {
            complain(token.line, format!("{module} is pure: nothing in it is asynchronous"));
        }
    }
    wrong
}

/// What a module may import; none when it is unknown.
fn allowed(module: &str) -> Option<Vec<&'static str>> {
    if ROOTS.contains(&module) {
        return Some(MODULES.iter().map(|(name, _)| *name).chain(["cli"]).collect());
    }
    MODULES.iter().find(|(name, _)| *name == module).map(|(_, allowed)| allowed.to_vec())
}

fn starts_with(segments: &[String], path: &str) -> bool {
    path.split("::").enumerate().all(|(at, part)| segments.get(at).is_some_and(|segment| segment == part))
}

/// Whether a path reaches for input, output or the clock.
fn is_impure(segments: &[String]) -> bool {
    let clock = segments.len() > 1
        && segments.last().is_some_and(|last| last == "now")
        && segments[segments.len() - 2].starts_with(char::is_uppercase);
    clock || IMPURE.iter().any(|path| starts_with(segments, path))
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let sources = files("src", &["rs"]);
    assert_none(&sources.iter().flat_map(|path| complaints(path, &read(path))).collect::<Vec<_>>());
}

#[test]
fn the_table_has_no_cycle() {
    let mut placed: Vec<&str> = Vec::new();
    while placed.len() < MODULES.len() {
        let next = MODULES
            .iter()
            .find(|(name, uses)| !placed.contains(name) && uses.iter().all(|used| placed.contains(used)));
        placed.push(next.expect("some module uses only what is placed already").0);
    }
}

#[test]
fn a_forbidden_import_is_found_in_every_form() {
    let path = Path::new("src/task/message.rs");
    for source in [
        "use crate::broker::Broker;",
        "use crate::{broker, schedule::Timing};",
        "fn f() { crate::broker::connect() }",
        "use super::super::broker;",
        "mod tests { use super::super::super::broker; }",
        "use redis::Script;",
        "use ::redis;",
        "fn f(x: redis::Value) {}",
        "#[derive(clap::Parser)] struct A;",
        "use std::{env, fmt};",
        "async fn f() {}",
        "fn f() { jiff::Timestamp::now(); }",
        "use tokio::time;",
    ] {
        assert!(!complaints(path, source).is_empty(), "{source}");
    }
}

#[test]
fn allowed_imports_pass() {
    for (path, source) in [
        ("src/broker/claim.rs", "use crate::task::Message; use super::keys; use redis::Script;"),
        ("src/task/mod.rs", "use crate::task::State; use self::message::Message; // crate::broker"),
        ("src/broker/claim.rs", "mod tests { use super::super::keys; use super::*; }"),
        ("src/cli/args/mod.rs", "mod redis; pub use redis::RedisArgs; use clap::Parser; use std::env;"),
        ("src/main.rs", "fn main() { cronmill::cli::run() }"),
        ("src/schedule/timing.rs", "fn f(now: Timestamp) { now.as_second(); task::now() }"),
    ] {
        assert_eq!(complaints(Path::new(path), source), Vec::<String>::new(), "{path}: {source}");
    }
}

#[test]
fn a_module_without_a_row_is_found() {
    assert_eq!(complaints(Path::new("src/util/mod.rs"), "").len(), 1);
}
