//! Hashes that must come out the same in every process and every later version.

use sha2::{Digest, Sha256};

/// A number from SHA-256 over the parts, each preceded by its length so that no two lists of parts coincide.
pub(super) fn number(parts: &[&[u8]]) -> u64 {
    let digest = digest(parts);
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}

/// The first 16 hexadecimal digits of SHA-256 over the parts.
pub(super) fn short_hex(parts: &[&[u8]]) -> String {
    format!("{:016x}", number(parts))
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
