//! Certificates for a server of one test, made by the `openssl` program.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;

/// A certificate for `localhost` and `127.0.0.1`, its key, and the authority that signed it; PEM files.
pub struct Certificates {
    /// The server's certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authority's certificate: what a client must trust.
    pub authority: PathBuf,
    /// Where they lie, if that is a folder of their own.
    _folder: Option<TempDir>,
}

impl Certificates {
    /// Makes them anew in a folder of their own, for several servers.
    pub fn shared() -> Arc<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let made = Self::create(folder.path());
        Arc::new(Self { _folder: Some(folder), ..made })
    }

    /// The directives with which a server uses them.
    pub fn directives(&self) -> [(&'static str, &Path); 3] {
        [
            ("tls-cert-file", &self.certificate),
            ("tls-key-file", &self.key),
            ("tls-ca-cert-file", &self.authority),
        ]
    }

    /// Makes them anew in a folder; they hold for one day.
    pub fn create(folder: &Path) -> Self {
        let authority = folder.join("authority.pem");
        let authority_key = folder.join("authority.key");
        let certificate = folder.join("server.pem");
        let key = folder.join("server.key");
        let request = folder.join("server.csr");
        let extensions = folder.join("server.ext");
        let names = "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n";
        std::fs::write(&extensions, names).expect("write into our own folder");

        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        openssl(|command| {
            command.args(["req", "-x509", "-days", "1", "-subj", "/CN=test authority"]).args(curve);
            command.args(["-addext", "keyUsage=critical,keyCertSign"]);
            command.arg("-keyout").arg(&authority_key).arg("-out").arg(&authority);
        });
        openssl(|command| {
            command.args(["req", "-subj", "/CN=localhost"]).args(curve);
            command.arg("-keyout").arg(&key).arg("-out").arg(&request);
        });
        openssl(|command| {
            command.args(["x509", "-req", "-days", "1", "-CAcreateserial"]);
            command.arg("-in").arg(&request).arg("-CA").arg(&authority).arg("-CAkey").arg(&authority_key);
            command.arg("-extfile").arg(&extensions).arg("-out").arg(&certificate);
        });
        Self { certificate, key, authority, _folder: None }
    }
}

fn openssl(arguments: impl FnOnce(&mut Command)) {
    let mut command = Command::new("openssl");
    arguments(&mut command);
    let answer = command.output().expect("openssl is installed");
    assert!(answer.status.success(), "{command:?}: {}", String::from_utf8_lossy(&answer.stderr));
}
