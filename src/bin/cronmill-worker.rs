//! `cronmill-worker`: runs the bundled handlers on tasks from Redis. See `cronmill::cli::worker`.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cronmill::cli::worker::main()
}
