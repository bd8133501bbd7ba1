"""A client of the cluster's API, as far as bringing it up takes one."""

import http.client
import json
import ssl
import urllib.parse

from state import Failed

LIMIT_S = 10


class Api:
    """Speaks to the API server as its administrator."""

    def __init__(self, server, keys):
        self.address = urllib.parse.urlsplit(server)
        self.tls = ssl.create_default_context(cafile=str(keys.certificate("ca")))
        self.tls.load_cert_chain(keys.certificate("admin"), keys.key("admin"))

    def ask(self, path, method="GET", body=None):
        """The status and the body of an answer; status 0 when there is none."""
        connection = http.client.HTTPSConnection(
            self.address.hostname, self.address.port, context=self.tls, timeout=LIMIT_S
        )
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()

    def is_ready(self):
        return self.ask("/readyz")[0] == 200

    def has(self, path):
        return self.ask(path)[0] == 200

    def get(self, path):
        """The object at a path, or None."""
        status, text = self.ask(path)
        return json.loads(text) if status == 200 else None

    def create(self, path, body):
        """Creates an object; one that exists stays as it is."""
        status, text = self.ask(path, "POST", body)
        if status not in (200, 201, 409):
            raise Failed(f"creating {body['kind']} {body['metadata']['name']}: answer {status}: {text[:500]}")
