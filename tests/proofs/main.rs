//! What must hold at any size and under any ill treatment: workers that are killed by the hundred, priorities over
//! many claims, bytes that nobody meant.
//!
//! `make test` runs each of these in little, `make prove NAME=proofs` in full.

#[path = "../support/mod.rs"]
pub mod support;

mod decode;
mod fleet;
mod hostile;
mod kills;
mod mutants;
mod mutate;
mod poison;
mod shares;
