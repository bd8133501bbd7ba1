"""Handlers in Python, with nothing but the standard library: a web server that cronmill-worker hands tasks to.

    python3 worker.py 8000
    CRONMILL_HTTP_TARGETS=python=http://127.0.0.1:8000 cronmill-worker
    cronmill task enqueue --type http:python:greet --payload '{"name": "Ada"}' --retention 1h

The payload is the body of a POST. The headers say which task it is: cronmill-task-id, cronmill-task-type,
cronmill-queue, cronmill-attempt (0 at first), cronmill-max-retry and cronmill-deadline (RFC 3339). What is answered
decides what becomes of the task:

    2xx                             done; the body is kept as its result if the task has a retention
    429 or 503 with Retry-After     put off that long, at no attempt
    another 4xx                     archived: another attempt would not help
    5xx, or no answer in time       retried
"""

import json
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Later(Exception):
    """Not now: ask again in so many seconds."""


class Never(Exception):
    """This task cannot succeed, however often it is tried."""


def greet(payload, task):
    """Says hello. It may be called twice for one task, so what it does must bear that."""
    try:
        name = payload["name"]
    except (TypeError, KeyError):
        raise Never("the payload needs a name") from None
    return {"hello": name, "attempt": task["attempt"]}


class Slots:
    """Lets two reports be made at once; whoever comes then is told to come back."""

    def __init__(self):
        self.free = threading.Semaphore(2)

    def report(self, payload, task):
        if not self.free.acquire(blocking=False):
            raise Later(5)
        try:
            return {"report": task["id"], "rows": sum(range(payload.get("rows", 0)))}
        finally:
            self.free.release()


# What runs for the last part of a task's type, as in http:python:greet.
HANDLERS = {"greet": greet, "report": Slots().report}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # Keeps connections open for the next task.

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        task = {
            "id": self.headers.get("cronmill-task-id"),
            "type": self.headers.get("cronmill-task-type", ""),
            "attempt": int(self.headers.get("cronmill-attempt", 0)),
        }
        handler = HANDLERS.get(task["type"].rsplit(":", 1)[-1])
        if handler is None:
            return self.answer(404, {"error": f"no handler for {task['type']}"})
        try:
            answer = handler(json.loads(body or b"null"), task)
        except Later as later:
            return self.answer(429, {"error": "busy"}, {"Retry-After": str(later)})
        except (Never, json.JSONDecodeError) as error:
            return self.answer(422, {"error": str(error)})
        except Exception as error:  # Whatever else goes wrong may pass: it is tried again.
            return self.answer(500, {"error": repr(error)})
        self.answer(200, answer)

    def answer(self, status, content, headers=None):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def main():
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8000), Handler)
    # From another thread, since the server must go on to notice it. Requests that run are finished.
    server.daemon_threads = False
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"listening on http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()
    server.server_close()


if __name__ == "__main__":
    main()
