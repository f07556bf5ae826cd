"""HAProxy in front of a server: a TCP port for each of its ports, with the PROXY header that it is told to send."""

from collections.abc import Mapping
from pathlib import Path

import attrs

from tests.e2e.peers.process import Program, free_port


@attrs.frozen
class Way:
    """From a port of the proxy to a port of the server; `header` is `send-proxy`, `send-proxy-v2`, or more words."""

    port: int
    header: str


class Haproxy:
    """It listens on 127.0.0.1, comes to the server from `source`, and is stopped with `stop`.

    Attributes:
        ports: by the names of `ways`, where it listens.
    """

    def __init__(self, folder: Path, source: str, ways: Mapping[str, Way]) -> None:
        folder.mkdir(parents=True)
        self.ports = {name: free_port() for name in ways}
        lines = [
            "defaults",
            "  mode tcp",
            "  timeout connect 5s",
            "  timeout client 60s",
            "  timeout server 60s",
        ]
        for name, way in ways.items():
            lines += [
                f"listen {name}",
                f"  bind 127.0.0.1:{self.ports[name]}",
                f"  source {source}",
                f"  server kms 127.0.0.1:{way.port} {way.header}",
            ]
        configuration = folder / "haproxy.cfg"
        configuration.write_text("\n".join(lines) + "\n")
        self._program = Program(["/usr/sbin/haproxy", "-db", "-f", configuration], folder / "output")
        for port in self.ports.values():
            self._program.wait_for_port("127.0.0.1", port)

    def stop(self) -> None:
        """End it by its own pid."""
        self._program.kill()
