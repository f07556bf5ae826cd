"""An HTTPS server for MTA-STS policies, on port 443 of a loopback address of its own."""

from __future__ import annotations

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

POLICY_HOST = "127.0.0.34"


class PolicyServer:
    """Serves `policies` (text by host name); what is not there is 404. Stop it with `stop`.

    Attributes:
        asked: host and path of the requests so far.
    """

    def __init__(self, certificate: Path, key: Path, other: tuple[Path, Path], other_host: str) -> None:
        self.policies: dict[str, str] = {}
        self.asked: list[str] = []
        contexts = [ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(2)]
        contexts[0].load_cert_chain(certificate, key)
        contexts[1].load_cert_chain(*other)

        def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            if name == other_host:
                connection.context = contexts[1]

        contexts[0].sni_callback = choose
        owner = self

        class Answer(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                host = self.headers.get("Host", "")
                owner.asked.append(host + self.path)
                policy = owner.policies.get(host) if self.path == "/.well-known/mta-sts.txt" else None
                body = (policy or "nothing here\n").encode()
                self.send_response(404 if policy is None else 200)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer((POLICY_HOST, 443), Answer)
        self._server.socket = contexts[0].wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
