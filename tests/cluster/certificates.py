"""Keys and certificates of a cluster, made by OpenSSL, and the kubeconfigs that hold them."""

import base64
import subprocess

from state import Failed

DAYS = "30"
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
# Only this, so that a machine's own openssl.cnf adds nothing.
CONFIG = "[req]\ndistinguished_name = name\n[name]\n"

KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: cronmill
clusters:
- name: cronmill
  cluster:
    server: {server}
    certificate-authority-data: {authority}
contexts:
- name: cronmill
  context:
    cluster: cronmill
    user: {user}
users:
- name: {user}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
"""


class Keys:
    """The folder pki/ of a cluster."""

    def __init__(self, state):
        self.state = state
        self.folder = state / "pki"

    def key(self, name):
        return self.folder / f"{name}.key"

    def certificate(self, name):
        return self.folder / f"{name}.crt"

    def make_authorities(self):
        """The cluster's authority, that of the front proxy, and the key pair that signs tokens."""
        self.state.write("pki/openssl.cnf", CONFIG)
        for name in ("ca", "front-proxy-ca"):
            self._request(
                name,
                f"/CN=cronmill test {name}",
                "basicConstraints=critical,CA:TRUE",
                "keyUsage=critical,keyCertSign,cRLSign,digitalSignature",
                "subjectKeyIdentifier=hash",
            )
        private = self.key("service-accounts")
        self._openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", private)
        self._openssl("pkey", "-in", private, "-pubout", "-out", self.folder / "service-accounts.pub")

    def make(self, name, subject, names=(), authority="ca"):
        """A key, and a certificate for a client; with names or addresses such as `IP:127.0.0.1` also for a server."""
        usage = "clientAuth,serverAuth" if names else "clientAuth"
        extensions = ["basicConstraints=critical,CA:FALSE", f"extendedKeyUsage={usage}"]
        extensions += ["keyUsage=critical,digitalSignature"]
        if names:
            extensions.append(f"subjectAltName={','.join(names)}")
        signer = ("-CA", self.certificate(authority), "-CAkey", self.key(authority))
        self._request(name, subject, *extensions, signer=signer)

    def kubeconfig(self, name, user, server):
        """The text of a kubeconfig for the user whose certificate has this name."""
        encoded = {
            "authority": self.certificate("ca"),
            "certificate": self.certificate(name),
            "key": self.key(name),
        }
        data = {field: base64.b64encode(path.read_bytes()).decode() for field, path in encoded.items()}
        return KUBECONFIG.format(server=server, user=user, **data)

    def _request(self, name, subject, *extensions, signer=()):
        added = [word for extension in extensions for word in ("-addext", extension)]
        files = ("-keyout", self.key(name), "-out", self.certificate(name))
        config = ("-config", self.folder / "openssl.cnf")
        self._openssl("req", "-x509", *config, *NEW_KEY, *files, *signer, "-days", DAYS, "-subj", subject, *added)

    @staticmethod
    def _openssl(*words):
        command = ["openssl", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise Failed(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
