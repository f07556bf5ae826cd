"""The foreign world of edge case 6: domains whose MX records are right, odd or wrong, and their servers.

The servers are Postfix's `smtp-sink`, which takes mail for anybody: one that works, one that answers 450 at
once, one that refuses every recipient with 500.
"""

from __future__ import annotations

from pathlib import Path

from tests.e2e.peers.process import Program

LIVE, BUSY, REFUSING, DEAD = "127.0.0.21", "127.0.0.22", "127.0.0.23", "127.0.0.99"

MATRIX_RECORDS = (
    f"implicit A {LIVE}",
    f"own MX 10 mx.own\nown MX 20 kms.example\nown MX 30 worse.own\nmx.own A {DEAD}\nworse.own A {LIVE}",
    "self MX 10 kms.example",
    f"alias MX 10 also.alias\nalso.alias CNAME real.alias\nreal.alias A {LIVE}",
    "renamed CNAME implicit",
    f"failover MX 10 a.failover\nfailover MX 20 b.failover\na.failover A {DEAD}\nb.failover A {LIVE}",
    f"several MX 10 mx.several\nmx.several A {DEAD}\nmx.several A {LIVE}",
    f"six MX 10 mx.six\nmx.six AAAA ::1\nmx.six A {LIVE}",
    f"busy MX 10 a.busy\nbusy MX 20 b.busy\na.busy A {BUSY}\nb.busy A {LIVE}",
    f"refusing MX 10 a.refusing\nrefusing MX 20 b.refusing\na.refusing A {REFUSING}\nb.refusing A {LIVE}",
    "ghost MX 10 nobody.ghost",
    f"halfghost MX 10 nobody.halfghost\nhalfghost MX 20 b.halfghost\nb.halfghost A {LIVE}",
    "elsewhere MX 10 mx.no-answer.invalid.",
)


class Sinks:
    """The three servers, at one port; started."""

    def __init__(self, folder: Path, port: int) -> None:
        folder.mkdir()
        ways = {LIVE: [], BUSY: ["-r", "CONNECT"], REFUSING: ["-f", "RCPT"]}
        self._programs = []
        for host, options in ways.items():
            command = ["/usr/sbin/smtp-sink", "-u", "nobody", *options, f"{host}:{port}", "100"]
            program = Program(command, folder / host)
            program.wait_for_port(host, port)
            self._programs.append(program)

    def stop(self) -> None:
        for program in self._programs:
            program.stop()
