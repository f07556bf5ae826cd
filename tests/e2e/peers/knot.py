"""A Knot DNS server with the test zones: the whole of `test.`, so that every other name there does not exist."""

from collections.abc import Sequence
from pathlib import Path

from tests.e2e.peers.process import Program, free_port, run, wait_until

_CONFIGURATION = """
server:
    listen: {host}@{port}
    rundir: {folder}/run
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: {folder}/db
log:
  - target: stderr
    any: warning
template:
  - id: default
    storage: {folder}
    zonefile-sync: -1
    journal-content: none
zone:
  - domain: test.
    file: test.zone
  - domain: 127.in-addr.arpa.
    file: reverse.zone
"""

_TOP = "@ 3600 IN SOA ns.test. hostmaster.test. 1 3600 600 86400 1\n@ 3600 IN NS ns.test.\n"


class Knot:
    """Serves `records` (zone file lines relative to `test.`) on 127.0.0.1 and a port of its own, or the one given."""

    host = "127.0.0.1"

    def __init__(self, folder: Path, records: Sequence[str], port: int = 0) -> None:
        self.folder = folder
        self.port = port or free_port()
        for name in ("run", "db"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "test.zone").write_text(
            "$ORIGIN test.\n$TTL 60\n" + _TOP + "ns A 127.0.0.1\n" + "\n".join(records) + "\n"
        )
        (folder / "reverse.zone").write_text("$ORIGIN 127.in-addr.arpa.\n$TTL 60\n" + _TOP)
        (folder / "knot.conf").write_text(
            _CONFIGURATION.format(host=self.host, port=self.port, folder=folder)
        )
        self._program = Program(["/usr/sbin/knotd", "-c", folder / "knot.conf"], folder / "knot.log")
        wait_until(self._answers, what="Knot answers: " + self._program.output())

    def _answers(self) -> bool:
        question = ["kdig", f"@{self.host}", "-p", str(self.port), "+short", "+timeout=1", "ns.test.", "A"]
        return run(question).stdout.strip() == b"127.0.0.1"

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def stop(self) -> None:
        self._program.stop()
