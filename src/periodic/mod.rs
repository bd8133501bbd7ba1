//! The periodic tasks of a file, fired without Kubernetes: `cronmill scheduler`.
//!
//! [`Periodic`] is the one entry: it puts what a file says into force in Redis, fires it, and reads the file again when it
//! changes. What tells the schedules of a file from others on the same Redis is the file's name for its service. Any
//! number of processes may run one file. Where two files have one name, the one that was read last is in force; the
//! processes of the other fire what is in force, write nothing, and say so.
//!
//! Not here: what the keys of a file mean (`config`), flags, and keeping queues, which workers do by their own limits.

mod force;
mod run;
mod watch;

pub use run::{Options, Periodic};
pub use watch::{Found, read_file};
