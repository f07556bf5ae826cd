"""Programs of others, started and stopped by their pid alone.

Everything listens on loopback addresses, on ports that were free, and logs into its own folder. `missing_packages`
names the Debian packages that are missing: a test that needs a real peer fails without it, it never skips.
"""

import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PACKAGES = {
    "postfix": "postfix",
    "smtp-sink": "postfix",
    "posttls-finger": "postfix",
    "knotd": "knot",
    "kdig": "knot-dnsutils",
    "unbound": "unbound",
    "dovecot": "dovecot-pop3d",
    "swaks": "swaks",
    "msmtp": "msmtp",
    "mpop": "mpop",
    "gsasl": "gsasl",
    "fetchmail": "fetchmail",
    "curl": "curl",
    "openssl": "openssl",
    "haproxy": "haproxy",
    "fail2ban-regex": "fail2ban",
    "nmap": "nmap",
    "nc.openbsd": "netcat-openbsd",
    "strace": "strace",
    "testssl": "testssl.sh",
    "mshow": "mblaze",
    "mutt": "mutt",
    "s-nail": "s-nail",
    "git": "git",
    "php": "php-cli",
    "cron": "cron",
    "pflogsumm": "pflogsumm",
}
"""Program needed, and the Debian package that has it."""

_LIBRARIES = ("libnet-ssleay-perl", "libmail-deliverystatus-bounceparser-perl", "git-email")
"""Packages whose programs are in no folder of PATH."""


def missing_packages() -> list[str]:
    """The Debian packages to install before the tests with real peers can run."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin"
    missing = {package for program, package in PACKAGES.items() if shutil.which(program, path=path) is None}
    missing.update(package for package in _LIBRARIES if not Path("/usr/share/doc", package).exists())
    return sorted(missing)


_given: set[int] = set()

_MOST_WORKERS = 8


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nobody uses on this loopback address just now, below those that outgoing connections get.

    No port is given twice; of processes that test side by side, each takes from ports of its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = random.randrange(10_000, 30_000) // _MOST_WORKERS * _MOST_WORKERS + worker % _MOST_WORKERS
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
        _given.add(port)
        return port


def is_listening(host: str, port: int) -> bool:
    """Does somebody accept connections there? (Connects and closes.)"""
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True


def wait_until(
    is_so: Callable[[], bool], seconds: float = 15, pause: float = 0.05, what: str | Callable[[], str] = ""
) -> None:
    """Return as soon as `is_so()`; AssertionError after that many seconds."""
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(pause)


def run(
    command: Sequence[str | Path],
    *,
    seconds: float = 60,
    stdin: bytes = b"",
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end; output and status are for the caller to judge."""
    return subprocess.run(
        [str(word) for word in command],
        input=stdin,
        capture_output=True,
        timeout=seconds,
        check=False,
        cwd=cwd,
        env=None if environment is None else {**os.environ, **environment},
    )


class Program:
    """A program in the foreground with its output in a file; stopped by its own pid."""

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        open_files: int = 0,
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=None if environment is None else {**os.environ, **environment},
                start_new_session=True,
            )
        if open_files:
            resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (open_files, open_files))

    @property
    def pid(self) -> int:
        return self.process.pid

    def is_running(self) -> bool:
        return self.process.poll() is None

    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def wait_for_port(self, host: str, port: int, seconds: float = 20) -> None:
        """Return when it accepts connections; AssertionError with its output when it ends or takes too long."""
        end = time.monotonic() + seconds
        while not is_listening(host, port):
            if not self.is_running():
                raise AssertionError(f"ended with {self.process.returncode}:\n{self.output()}")
            if time.monotonic() > end:
                raise AssertionError(f"nothing on {host}:{port} after {seconds} s:\n{self.output()}")
            time.sleep(0.05)

    def stop(self, seconds: float = 20, by: int = signal.SIGTERM) -> int:
        """End it by a signal, after `seconds` by SIGKILL; gives the exit status (negative: by a signal)."""
        if self.is_running():
            self.process.send_signal(by)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
            raise AssertionError(f"did not stop within {seconds} s:\n{self.output()[-4000:]}") from None

    def kill(self) -> None:
        """SIGKILL, at once; returns when it is gone."""
        self.process.kill()
        self.process.wait(10)
