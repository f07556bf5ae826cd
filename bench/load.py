"""The load generator smtpload (C, compiled here), a sink that counts, and the memory of processes."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from tests.e2e.peers.process import Program, free_port


class LoadError(Exception):
    """The load did not go through whole: figures of such a run mean nothing."""


@attrs.frozen
class Load:
    """The arguments of one smtpload run."""

    messages: int
    connections: int = 20
    per_connection: int = 1
    is_pipelined: bool = False
    octets: int = 2048
    recipients: int = 1
    recipient: str = "user%d@example.test"
    accounts: int = 10
    seconds: int = 240

    def arguments(self, host: str, port: int, watched: Sequence[Path]) -> list[str]:
        words = ["-s", f"{host}:{port}", "-n", str(self.messages), "-c", str(self.connections)]
        words += ["-m", str(self.per_connection), "-z", str(self.octets), "-R", str(self.recipients)]
        words += ["-r", self.recipient, "-u", str(self.accounts), "-t", str(self.seconds)]
        words += ["-p"] if self.is_pipelined else []
        return [*words, *(word for folder in watched for word in ("-w", str(folder)))]


class Smtpload:
    """The compiled generator."""

    def __init__(self, folder: Path) -> None:
        source = Path(__file__).with_name("smtpload.c")
        self.program = folder / "smtpload"
        subprocess.run(["cc", "-O2", "-Wall", "-o", str(self.program), str(source)], check=True)

    def run(self, load: Load, host: str, port: int, watched: Sequence[Path] = ()) -> dict[str, Any]:
        """Run one load to its end; LoadError unless everything was accepted (and filed, where it was watched)."""
        command = [str(self.program), *load.arguments(host, port, watched)]
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=load.seconds + 60, check=False
        )
        if result.returncode != 0:
            raise LoadError(f"{' '.join(command)}\n{result.stdout}{result.stderr}")
        figures: dict[str, Any] = json.loads(result.stdout)
        return figures

    def hold(self, host: str, port: int, count: int, while_held: Callable[[], None]) -> int:
        """Hold `count` idle sessions after EHLO, call `while_held`, let them go; gives how many stayed open."""
        command = [str(self.program), "-H", "-s", f"{host}:{port}", "-c", str(count), "-t", "120"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(1)
            while_held()
            process.stdin.close()
            return int(json.loads(process.stdout.readline())["held"])


class Sink:
    """smtp-sink, which ends by itself after so many messages."""

    def __init__(self, folder: Path, messages: int) -> None:
        self.port = free_port()
        self.program = Program(
            ["smtp-sink", "-u", "postfix", "-M", str(messages), f"127.0.0.1:{self.port}", "1000"],
            folder / "sink.log",
        )
        self.program.wait_for_port("127.0.0.1", self.port)

    def wait(self, seconds: float) -> None:
        """Return when it has got all."""
        try:
            self.program.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise LoadError(f"the sink has not got all within {seconds} s") from None

    def stop(self) -> None:
        if self.program.is_running():
            self.program.kill()


def memory_kib(pids: Sequence[int]) -> int:
    """The proportional set size of these processes together, KiB."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total


class MemoryWatch:
    """The highest memory of some processes while the block runs: `peak_kib` and `before_kib`."""

    def __init__(self, pids: Callable[[], Sequence[int]], pause: float = 0.02) -> None:
        self._pids = pids
        self._pause = pause
        self._must_stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.before_kib = self.peak_kib = memory_kib(pids())

    def _watch(self) -> None:
        while not self._must_stop.wait(self._pause):
            self.peak_kib = max(self.peak_kib, memory_kib(self._pids()))

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._must_stop.set()
        self._thread.join()

    @property
    def rise_megabytes(self) -> float:
        return (self.peak_kib - self.before_kib) / 1024
