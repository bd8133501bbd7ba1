//! What the compiler does not check: who may import whom, file length, files no `mod` reaches, the headers of
//! Lua scripts, and the links of our documents. Each rule has a sample beside it that breaks it.

mod imports;
mod links;
mod lua;
mod modules;
mod source;
mod tree;

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file under a folder of the repository with one of these extensions, as paths relative to the
/// repository, sorted. Hidden folders, build output and what tests generate are left out.
fn files(folder: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("a readable folder").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.')
                    && !["target", "generated", "node_modules", "__pycache__"].contains(&name.as_str())
                {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|got| extensions.iter().any(|want| got == *want)) {
                found.push(path.strip_prefix(root()).expect("found below it").to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The text of a file of the repository.
fn read(path: &Path) -> String {
    std::fs::read_to_string(root().join(path))
        .unwrap_or_else(|cause| panic!("read {}: {cause}", path.display()))
}

/// Fails with all complaints at once, so that one run shows everything there is to mend.
fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// Says something although the test passes, which captured output would not.
fn say(text: &str) {
    writeln!(std::io::stderr(), "{text}").expect("standard error is open");
}
