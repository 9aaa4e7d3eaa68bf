"""Receives webhooks of the service and prints them: python examples/webhook_receiver.py.

It needs the package `standardwebhooks` (pip install standardwebhooks) and the secret of
`promptsmooth webhooks set`. What has no valid signature is refused, and what comes twice is printed
once: a delivery may be repeated, under the same id.
"""

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from standardwebhooks import Webhook, WebhookVerificationError

MAX_BYTES = 65_536


class Receiver(ThreadingHTTPServer):
    """Listens for webhooks that a secret signs."""

    def __init__(self, host: str, port: int, secret: str) -> None:
        super().__init__((host, port), Handler)
        self.webhook, self.seen = Webhook(secret), set[str]()


class Handler(BaseHTTPRequestHandler):
    """Answers 204 to a message with a valid signature, and 401 to anything else."""

    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), MAX_BYTES))
        try:
            self.server.webhook.verify(body, dict(self.headers))
        except WebhookVerificationError:
            self.send_response(401)
        else:
            self.take(self.headers["webhook-id"], json.loads(body))
            self.send_response(204)
        self.end_headers()

    def take(self, message_id: str, message: dict[str, object]) -> None:
        """Prints a message that is new. A program would now fetch GET /certifications/{id}."""
        if message_id not in self.server.seen:
            self.server.seen.add(message_id)
            print(message_id, message["type"], json.dumps(message["data"]), flush=True)

    def log_message(self, *_: object) -> None:
        """Nothing is logged beside the messages."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="Address to listen on.")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--secret-file", type=Path, required=True)
    asked = parser.parse_args()
    Receiver(asked.host, asked.port, asked.secret_file.read_text().strip()).serve_forever()


if __name__ == "__main__":
    main()
