//! Go programs that tests run beside ours: modules in `tests/`, built and kept in the cache by `tests/tools/build.py`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The program of `tests/NAME`, built unless the cache has it for these very sources.
///
/// # Panics
/// When it cannot be built; the builder has said why.
pub fn built(name: &str) -> PathBuf {
    let mut command = Command::new("python3");
    command.args(["tests/tools/build.py", name]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.stderr(Stdio::inherit()).output().expect("python3 is installed");
    assert!(output.status.success(), "{command:?} ended with {}", output.status);
    let folder = String::from_utf8(output.stdout).expect("the path is text");
    Path::new(folder.trim_end()).join(name)
}
