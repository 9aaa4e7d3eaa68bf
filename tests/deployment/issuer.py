"""An issuer for overlays.sh: discovery and keys over TLS. Prints a token of its own and serves.

python issuer.py URL CERTIFICATE KEY, beside tests/issuer_documents.py
"""

import json
import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from issuer_documents import create_documents
from joserfc import jwt
from joserfc.jwk import RSAKey

URL, CERTIFICATE, PRIVATE_KEY = sys.argv[1:]
KEY = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
DOCUMENTS = create_documents(URL, [KEY])


class Answer(BaseHTTPRequestHandler):
    """Answers with the document at an address."""

    def do_GET(self) -> None:
        content = json.dumps(DOCUMENTS[self.path]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def main() -> None:
    now = int(time.time())
    claims = {"iss": URL, "aud": "promptsmooth", "sub": "ann", "iat": now, "exp": now + 3600}
    claims["groups"] = ["laboratory"]
    print(jwt.encode({"alg": "RS256", "kid": "one"}, claims, KEY), flush=True)
    port = urlsplit(URL).port
    assert port is not None, "the address names a port"
    server = ThreadingHTTPServer(("", port), Answer)
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trust.load_cert_chain(CERTIFICATE, PRIVATE_KEY)
    server.socket = trust.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
