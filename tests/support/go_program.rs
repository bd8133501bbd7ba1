//! Go programs that tests run beside ours: modules in `tests/`, each built once and kept in the cache.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

/// Builds the program of `tests/NAME` unless the cache has it for these very sources.
pub fn built(name: &str) -> PathBuf {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name);
    let folder = cache().join(format!("{name}-{}", key(&module)));
    let program = folder.join(name);
    if !program.exists() {
        build(&module, &folder, &program);
    }
    program
}

fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("cronmill")
}

/// Changes with everything that goes into the program.
fn key(module: &Path) -> String {
    let mut sources: Vec<PathBuf> = std::fs::read_dir(module)
        .expect("the module is in the repository")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("go.") || (name.ends_with(".go") && !name.ends_with("_test.go"))
        })
        .collect();
    sources.sort();
    let mut hash = Sha256::new();
    for source in sources {
        hash.update(std::fs::read(source).expect("a readable source"));
    }
    hash.finalize().iter().take(8).fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

fn build(module: &Path, folder: &Path, program: &Path) {
    std::fs::create_dir_all(folder).expect("a writable cache");
    // Two test runs may build at once: each into a file of its own, and a rename decides.
    let unfinished = program.with_extension(std::process::id().to_string());
    let mut command = Command::new("go");
    command.args(["build", "-trimpath", "-o"]).arg(&unfinished).arg(".");
    command.current_dir(module).env("CGO_ENABLED", "0");
    let built = command.output().expect("go is installed");
    assert!(built.status.success(), "{command:?}: {}", String::from_utf8_lossy(&built.stderr));
    std::fs::rename(&unfinished, program).expect("both are in one folder");
}
