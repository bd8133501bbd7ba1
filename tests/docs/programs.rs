//! The built programs as the documents speak of them: commands, flags, variables, metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::markdown::{code, code_of, table};
use crate::support::{Process, RedisServer, until_blocking};
use crate::{DOCUMENTS, assert_none, markdown, read, root};

/// What a program says about itself.
fn help(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).arg("--help").output().unwrap();
    assert!(output.status.success(), "{program} {words:?} --help: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// The commands below one, from its help.
fn commands(help: &str) -> Vec<String> {
    let listed =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A description that goes on stands deeper.
    let names = listed.filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')));
    names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// The commands of `cronmill`: the words of each, with its help.
fn all_commands() -> BTreeMap<Vec<String>, String> {
    let mut known = BTreeMap::new();
    let mut waiting = vec![Vec::new()];
    while let Some(words) = waiting.pop() {
        let help =
            help(env!("CARGO_BIN_EXE_cronmill"), &words.iter().map(String::as_str).collect::<Vec<_>>());
        waiting.extend(commands(&help).into_iter().map(|name| [words.clone(), vec![name]].concat()));
        known.insert(words, help);
    }
    known
}

/// The commands of ours that a document types or names, each as its words.
fn typed(text: &str, known: &BTreeMap<Vec<String>, String>) -> Vec<Vec<String>> {
    let mut lines = code(text);
    for block in markdown::blocks(text) {
        match block.language.as_str() {
            "console" => {
                lines.extend(block.text.lines().filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned))
            }
            "sh" => lines.extend(block.text.lines().map(str::to_owned)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for line in lines {
        let line = line.split([';', '|', '&', '>']).next().unwrap_or_default();
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        // In the text a command may stand without the program's name.
        match words.split_first() {
            Some((program, rest)) if program == "cronmill" => found.push(rest.to_vec()),
            Some((first, [_, ..])) if known.contains_key(std::slice::from_ref(first)) => found.push(words),
            _ => {}
        }
    }
    found
}

/// What is wrong with a command as typed.
fn complaint(words: &[String], known: &BTreeMap<Vec<String>, String>) -> Option<String> {
    let depth = (0..=words.len()).rev().find(|&depth| known.contains_key(&words[..depth]))?;
    let help = &known[&words[..depth]];
    let rest = &words[depth..];
    if let Some(next) = rest.first().filter(|next| !next.starts_with('-'))
        && !commands(help).is_empty()
    {
        return Some(format!("cronmill {}: no command {next}", words.join(" ")));
    }
    let flags: BTreeSet<&str> =
        help.split(|c: char| c.is_whitespace() || c == ',').filter(|word| word.starts_with('-')).collect();
    let is_flag = |word: &&String| word.starts_with('-') && word.len() > 1;
    let mut typed = rest.iter().filter(is_flag).map(|flag| flag.split('=').next().unwrap_or_default());
    let unknown = typed.find(|flag| !flags.contains(flag))?;
    Some(format!("cronmill {}: no flag {unknown}", words.join(" ")))
}

#[test]
fn commands_and_flags_in_the_documents_exist() {
    let known = all_commands();
    let mut wrong = Vec::new();
    let mut count = 0;
    for document in DOCUMENTS {
        for words in typed(&read(document), &known) {
            count += 1;
            wrong.extend(complaint(&words, &known).map(|complaint| format!("{document}: {complaint}")));
        }
    }
    assert!(count > 30, "only {count} commands were found");
    assert_none(&wrong);
}

#[test]
fn a_command_or_flag_that_does_not_exist_is_found() {
    let known = all_commands();
    let text =
        "`cronmill cron nxt` `task ls --que q` `cronmill -x`\n```console\n$ cronmill task lss; echo\n```\n";
    let found = typed(text, &known);
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found.iter().all(|words| complaint(words, &known).is_some()), "{found:?}");
    let text = "`cronmill cron next '* * * * *' --tz=UTC` `task` `task show -q a b` `queue`";
    let found = typed(text, &known);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|words| complaint(words, &known).is_none()), "{found:?}");
}

#[test]
fn every_command_is_in_the_readme() {
    let known = all_commands();
    let typed = typed(&read("README.md"), &known);
    let alone = code(&read("README.md"));
    let is_missing = |words: &&Vec<String>| {
        !typed.iter().any(|line| line.starts_with(words)) && !alone.contains(&words.join(" "))
    };
    let leaves = known.iter().filter(|(_, help)| commands(help).is_empty()).map(|(words, _)| words);
    let missing: Vec<_> = leaves.filter(is_missing).map(|words| words.join(" ")).collect();
    assert_none(&missing);
}

/// The variables of the worker, each with its default, from its help.
fn worker_variables() -> BTreeMap<String, String> {
    let help = help(env!("CARGO_BIN_EXE_cronmill-worker"), &[]);
    let bracketed = |line: &str, label: &str| {
        line.trim().strip_prefix(label).and_then(|rest| rest.strip_suffix(']')).map(str::to_owned)
    };
    let mut variables: BTreeMap<String, String> = BTreeMap::new();
    let mut last = None;
    for line in help.lines() {
        if let Some(name) = bracketed(line, "[env: ") {
            let name = name.split('=').next().unwrap_or_default().to_owned();
            variables.insert(name.clone(), "–".to_owned());
            last = Some(name);
        } else if let (Some(default), Some(name)) = (bracketed(line, "[default: "), &last) {
            variables.insert(name.clone(), default);
        }
    }
    variables
}

#[test]
fn the_table_of_variables_is_that_of_the_worker() {
    let table = table(&read("README.md"), &["Variable", "Default"]);
    let row = |row: &Vec<String>| (row[0].replace('`', ""), row[1].replace('`', ""));
    assert_eq!(table.rows.iter().map(row).collect::<BTreeMap<_, _>>(), worker_variables());
}

#[test]
fn local_mode_sets_the_first_nine_variables() {
    let source = read("src/local/squad.rs") + &read("src/resolve/task_queue.rs");
    let set: BTreeSet<&str> = source.split('"').filter(|text| text.starts_with("CRONMILL_")).collect();
    let table = table(&read("README.md"), &["Variable", "Default"]);
    let first: Vec<String> = table.rows.iter().take(9).map(|row| row[0].replace('`', "")).collect();
    assert_eq!(first.iter().map(String::as_str).collect::<BTreeSet<_>>(), set);
}

/// The answer to a GET request.
fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

/// The metrics of a scrape: type, and names of labels, by name.
fn metrics(scrape: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut found = BTreeMap::new();
    for line in scrape.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["#", "TYPE", name, kind] = words[..] {
            found.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if let Some((sample, labels)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let suffixes = ["_bucket", "_sum", "_count"];
            let base = suffixes.iter().find_map(|suffix| sample.strip_suffix(suffix)).unwrap_or(sample);
            let labels =
                labels.rsplit_once('}').unwrap().0.split(',').map(|pair| pair.split('=').next().unwrap());
            let entry = if found.contains_key(sample) { found.get_mut(sample) } else { found.get_mut(base) };
            let names = &mut entry.unwrap_or_else(|| panic!("no type for {line}")).1;
            names.extend(labels.filter(|name| *name != "le").map(str::to_owned));
        }
    }
    found
}

/// The metrics that a program serves once a scrape holds `sign`.
fn served(program: &mut Command, sign: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let _process = Process::start("a program with metrics", program.env("CRONMILL_LISTEN", &address));
    let mut scrape = String::new();
    until_blocking(Duration::from_secs(60), sign, || {
        scrape = get(&address, "/metrics").unwrap_or_default();
        scrape.contains(sign)
    });
    metrics(&scrape)
}

#[test]
fn the_table_of_metrics_is_what_the_programs_serve() {
    let redis = RedisServer::start();
    let mut worker = Command::new(env!("CARGO_BIN_EXE_cronmill-worker"));
    let mut dev = Command::new(env!("CARGO_BIN_EXE_cronmill"));
    dev.args(["dev", "-f"]).arg(root().join("deploy/samples/hello.yaml"));
    let served = [
        served(worker.env("CRONMILL_REDIS_URL", redis.url()), "asynq_queue_size{"),
        served(dev.env("CRONMILL_REDIS_URL", redis.url()), "cronmill_fleet_workers{"),
    ]
    .into_iter()
    .flatten()
    .fold(BTreeMap::new(), |mut all, (name, (kind, labels))| {
        // A program without queues of its own shows some metrics without a series.
        let (_, known): &mut (String, BTreeSet<String>) = all.entry(name).or_insert((kind, BTreeSet::new()));
        known.extend(labels);
        all
    });
    let table = table(&read("README.md"), &["Metric", "Type", "Labels"]);
    let row = |row: &Vec<String>| {
        let labels = row[2].split(',').map(|label| label.trim().to_owned()).filter(|label| !label.is_empty());
        (code_of(&row[0]).remove(0), (row[1].clone(), labels.collect()))
    };
    assert_eq!(table.rows.iter().map(row).collect::<BTreeMap<_, _>>(), served);
}
