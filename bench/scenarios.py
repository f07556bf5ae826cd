"""What is measured: each family is one turn of one server, and gives figures by name."""

import tempfile
import time
from pathlib import Path

import attrs

from bench.load import Load, MemoryWatch, Sink, Smtpload, memory_kib
from bench.servers import Server, make_empty
from tests.load.deferred import compare_accepting, middle_ratio

MEGABYTE = 1024 * 1024


@attrs.frozen
class Sizes:
    """How much is sent."""

    inbound: int = 6_000
    relay: int = 20_000
    latency: int = 3_000
    large: int = 20
    idle: int = 10_000
    backlog: int = 20_000
    beside_backlog: int = 3_000


SMOKE = Sizes(inbound=400, relay=1_000, latency=300, large=4, idle=500, backlog=1_000, beside_backlog=300)

Figures = dict[str, float]


@attrs.frozen
class Turn:
    """One server's turn in one round."""

    smtpload: Smtpload
    server: Server
    sizes: Sizes
    folder: Path

    def warm_up(self) -> None:
        """A few hundred messages, so that every process and code path has run once."""
        self._local(Load(messages=200, per_connection=10))

    def _local(self, load: Load) -> dict[str, float]:
        watched = self.server.watched()
        result = self.smtpload.run(load, self.server.host, self.server.port, watched)
        for folder in watched:
            make_empty(folder)
        return result

    def inbound(self) -> Figures:
        """Accepted and filed: one message a connection, fifty, fifty pipelined; then latency at 100 connections."""
        figures: Figures = {}
        loads = {
            "m=1": Load(self.sizes.inbound),
            "m=50": Load(self.sizes.inbound, per_connection=50),
            "m=50 pipelined": Load(self.sizes.inbound, per_connection=50, is_pipelined=True),
        }
        self.server.start("inbound")
        self.warm_up()
        for name, load in loads.items():
            result = self._local(load)
            figures[f"accept {name}"] = result["rate"]
            figures[f"mailbox {name}"] = result["drain_rate"]
        result = self._local(Load(self.sizes.latency, connections=100))
        figures["latency p50"] = result["session_ms"]["p50"]  # type: ignore[index]
        figures["latency max"] = result["session_ms"]["max"]  # type: ignore[index]
        return figures

    def relay(self) -> Figures:
        """Until the sink has all."""
        sink = Sink(self.folder, self.sizes.relay)
        try:
            self.server.start("relay", sink.port)
            self.warm_up()
            load = Load(self.sizes.relay, per_connection=50, recipient="sink@far.test", accounts=1)
            start = time.monotonic()
            self.smtpload.run(load, self.server.host, self.server.port)
            sink.wait(240)
            return {"relay": self.sizes.relay / (time.monotonic() - start)}
        finally:
            sink.stop()

    def large(self) -> Figures:
        """25 MiB messages, four at a time: how fast, and how much memory."""
        self.server.start("large")
        self.warm_up()
        load = Load(self.sizes.large, connections=4, octets=25 * MEGABYTE)
        with MemoryWatch(self.server.pids) as memory:
            result = self._local(load)
        return {"large MB/s": result["megabytes_a_second"], "large memory": memory.rise_megabytes}

    def idle(self) -> Figures:
        """Idle sessions after EHLO."""
        self.server.start("idle")
        self.warm_up()
        time.sleep(3)
        before = memory_kib(self.server.pids())
        after: list[int] = []
        held = self.smtpload.hold(
            self.server.host,
            self.server.port,
            self.sizes.idle,
            lambda: after.append(memory_kib(self.server.pids())),
        )
        return {"idle held": held, "idle KiB": (after[0] - before) / max(held, 1)}

    def backlog(self) -> Figures:
        """Accepted beside deferred messages, against the same server without them; two turns of each."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            pairs = compare_accepting(
                Path(folder), self.smtpload, self.sizes.backlog, self.sizes.beside_backlog, rounds=2
            )
        return {"backlog ratio": middle_ratio(pairs), "backlog rate": pairs[-1][1]}

    def run(self, family: str) -> Figures:
        """One turn, stopped whatever happens."""
        try:
            figures: Figures = getattr(self, family)()
            return figures
        finally:
            self.server.stop()
