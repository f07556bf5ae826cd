"""A Knot that signs `proof.test.` and serves `plain.test.` unsigned, and an Unbound that validates in front of it.

Unbound listens on port 53 of a loopback address of its own, so that the system's resolver library can ask it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.e2e.peers.process import Program, free_port, run, wait_until

_KNOT = """
server:
    listen: 127.0.0.1@{port}
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
    zonefile-load: whole
zone:
  - domain: proof.test.
    file: proof.zone
    dnssec-signing: on
  - domain: plain.test.
    file: plain.zone
"""

_UNBOUND = """
server:
    interface: {host}@53
    port: 53
    do-ip6: no
    chroot: ""
    username: ""
    directory: "{folder}"
    pidfile: ""
    do-daemonize: no
    use-syslog: no
    num-threads: 1
    access-control: 127.0.0.0/8 allow
    do-not-query-localhost: no
    local-zone: "test." nodefault
    module-config: "validator iterator"
    trust-anchor: "{anchor}"
remote-control:
    control-enable: no
stub-zone:
    name: "proof.test."
    stub-addr: 127.0.0.1@{port}
stub-zone:
    name: "plain.test."
    stub-addr: 127.0.0.1@{port}
"""

_TOP = "@ 60 IN SOA ns hostmaster 1 3600 600 86400 1\n@ 60 IN NS ns\nns 60 IN A 127.0.0.1\n"


class SignedDns:
    """Both servers, started; lines of the zone files are relative to the zone."""

    host = "127.0.0.35"

    def __init__(self, folder: Path, proof: Sequence[str], plain: Sequence[str]) -> None:
        self.folder = folder
        self.port = free_port()
        for name in ("run", "db"):
            (folder / name).mkdir(parents=True)
        for name, records in (("proof", proof), ("plain", plain)):
            text = f"$ORIGIN {name}.test.\n$TTL 60\n{_TOP}" + "\n".join(records) + "\n"
            (folder / f"{name}.zone").write_text(text)
        (folder / "knot.conf").write_text(_KNOT.format(port=self.port, folder=folder))
        self._knot = Program(["/usr/sbin/knotd", "-c", folder / "knot.conf"], folder / "knot.log")
        wait_until(lambda: bool(self._find_anchor()), what=lambda: f"Knot signs: {self._knot.output()}")
        (folder / "unbound.conf").write_text(
            _UNBOUND.format(host=self.host, port=self.port, folder=folder, anchor=self._find_anchor())
        )
        self._unbound = Program(["/usr/sbin/unbound", "-c", folder / "unbound.conf"], folder / "unbound.log")
        wait_until(self._validates, what=lambda: f"Unbound validates: {self._unbound.output()}")

    def _find_anchor(self) -> str:
        """The zone's key-signing key, as a trust anchor."""
        question = ["kdig", "@127.0.0.1", "-p", str(self.port), "+noall", "+answer", "proof.test.", "DNSKEY"]
        lines = run([*question, "+timeout=1"]).stdout.decode().splitlines()
        return next((" ".join(line.split()) for line in lines if "DNSKEY\t257 " in line), "")

    def _validates(self) -> bool:
        answer = run(["kdig", f"@{self.host}", "+adflag", "+timeout=1", "proof.test.", "SOA"]).stdout.decode()
        return "NOERROR" in answer and " ad;" in answer.replace("ad ", "ad;")

    def stop(self) -> None:
        self._unbound.stop()
        self._knot.stop()
