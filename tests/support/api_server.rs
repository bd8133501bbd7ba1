//! A real API server with its controllers and no node, and `kubectl` as the judge from outside.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::Value;
use tempfile::TempDir;

/// A control plane. Dropping it takes it down.
pub struct ApiServer {
    state: TempDir,
    kubectl: PathBuf,
}

/// The one that tests of a process share, for as long as any of them uses it.
static SHARED: Mutex<Weak<ApiServer>> = Mutex::new(Weak::new());

impl ApiServer {
    /// Brings up a new one, without our definitions.
    pub fn start() -> Self {
        let state = tempfile::tempdir().expect("a folder for the control plane");
        cluster(&["up", "--control-plane"], &state.path().join("at"));
        let text = std::fs::read_to_string(state.path().join("at/cluster.json")).expect("what was chosen");
        let choices: Value = serde_json::from_str(&text).expect("JSON");
        let tools = choices["tools"]["kubernetes"].as_str().expect("the folder of the programs");
        Self { kubectl: Path::new(tools).join("kubectl"), state }
    }

    /// The shared one, with our definitions.
    pub fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = shared.upgrade() {
            return there;
        }
        let new = Arc::new(Self::start());
        new.install_definitions();
        *shared = Arc::downgrade(&new);
        new
    }

    /// Installs our definitions and waits until they are served.
    pub fn install_definitions(&self) {
        let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
        self.kubectl(&["apply", "--server-side", "-f", &crds.to_string_lossy()]);
        let wait = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"];
        self.kubectl(&wait);
    }

    /// The kubeconfig of its administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.at().join("admin.kubeconfig")
    }

    /// Ends the API server and starts it again; everything else runs on.
    pub fn restart(&self) {
        cluster(&["restart-apiserver"], &self.at());
    }

    /// Ends the API server; everything else runs on.
    pub fn stop(&self) {
        cluster(&["stop-apiserver"], &self.at());
    }

    /// Starts it again.
    pub fn resume(&self) {
        cluster(&["start-apiserver"], &self.at());
    }

    /// Runs kubectl and returns what it prints. Panics when it fails.
    pub fn kubectl(&self, words: &[&str]) -> String {
        self.try_kubectl(words, "").unwrap_or_else(|said| panic!("kubectl {}: {said}", words.join(" ")))
    }

    /// Runs kubectl with that on its input.
    pub fn try_kubectl(&self, words: &[&str], input: &str) -> Result<String, String> {
        let mut command = Command::new(&self.kubectl);
        command.env("KUBECONFIG", self.kubeconfig()).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("kubectl starts");
        let mut stdin = child.stdin.take().expect("piped above");
        // It may end without reading.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let Output { status, stdout, stderr } = child.wait_with_output().expect("kubectl ends");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        if status.success() { Ok(text(stdout)) } else { Err(text(stderr) + &text(stdout)) }
    }

    /// Applies manifests as a person would.
    pub fn apply(&self, namespace: &str, manifests: &str) {
        let applied = self.try_kubectl(&["apply", "-n", namespace, "-f", "-"], manifests);
        applied.unwrap_or_else(|said| panic!("kubectl apply: {said}\n{manifests}"));
    }

    /// An object as JSON, or null when it is not there.
    pub fn get(&self, namespace: &str, kind: &str, name: &str) -> Value {
        let words =
            ["get", "-n", namespace, kind, name, "-o", "json", "--ignore-not-found", "--show-managed-fields"];
        match self.try_kubectl(&words, "") {
            Ok(text) => serde_json::from_str(&text).unwrap_or(Value::Null),
            Err(_) => Value::Null,
        }
    }

    fn at(&self) -> PathBuf {
        self.state.path().join("at")
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        cluster(&["down"], &self.at());
    }
}

fn cluster(words: &[&str], state: &Path) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster");
    let mut command = Command::new("python3");
    command.arg(program).args(words).arg("--state").arg(state);
    let done = command.output().expect("python3 starts");
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "tests/cluster {}: {said}", words.join(" "));
}
