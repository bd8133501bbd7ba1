//! Which sort of Redis this run of the tests is about: `CRONMILL_TEST_REDIS`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A sort of Redis that the same tests must pass on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// One server of the installed version.
    Plain,
    /// The same, spoken to by TLS.
    Tls,
    /// The same, with a user who may do no more than README says.
    Acl,
    /// One Valkey, of the version that the demo pins.
    Valkey,
    /// Three masters.
    Cluster,
    /// One master, found by a Sentinel.
    Sentinel,
}

impl Variant {
    /// What the environment says; plain when it says nothing.
    ///
    /// # Panics
    /// When it says something else.
    pub fn of_this_run() -> Self {
        let name = std::env::var("CRONMILL_TEST_REDIS").unwrap_or_default();
        match name.as_str() {
            "" | "plain" => Self::Plain,
            "tls" => Self::Tls,
            "acl" => Self::Acl,
            "valkey" => Self::Valkey,
            "cluster" => Self::Cluster,
            "sentinel" => Self::Sentinel,
            _ => panic!("CRONMILL_TEST_REDIS={name}: allowed are plain, tls, acl, valkey, cluster, sentinel"),
        }
    }
}

/// The server's program.
pub(super) fn program(variant: Variant) -> PathBuf {
    static VALKEY: OnceLock<PathBuf> = OnceLock::new();
    if variant != Variant::Valkey {
        return "redis-server".into();
    }
    VALKEY.get_or_init(pinned).clone()
}

/// The pinned Valkey, fetched if it is not there yet.
fn pinned() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/demo/redis-server");
    let answer = Command::new(script).arg("--pinned").output().expect("python3 is installed");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(answer.status.success(), "no Valkey: {}", text(&answer.stderr));
    text(&answer.stdout).into()
}

/// The user of the README: name, password, rules. What stands there is what is tested.
pub fn least_user() -> (String, String, String) {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).expect("a readable file");
    let line = readme.lines().find_map(|line| line.trim().strip_prefix("ACL SETUSER "));
    let mut words = line.expect("README has a line ACL SETUSER").split_whitespace();
    let name = words.next().expect("a name").to_owned();
    assert_eq!(words.next(), Some("on"));
    let password = words.next().and_then(|word| word.strip_prefix('>')).expect("a password").to_owned();
    (name, password, words.collect::<Vec<_>>().join(" "))
}
