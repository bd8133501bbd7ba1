//! Which machine this is.

use std::path::Path;

/// This machine's name, as workers and asynq tell it.
pub(super) fn name() -> String {
    let name = std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).unwrap_or_default();
    match name.trim() {
        "" => "unknown-host".to_owned(),
        name => name.to_owned(),
    }
}
