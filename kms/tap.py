"""What twistd calls: read the options and the configuration, and make the service.

Promises: a wrong configuration ends the start command with status 78, before any fork, with every fault of the
file on stderr. No thread, no socket and no database is made here: twistd forks after `makeService`.
"""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path
from typing import Any, NoReturn

from twisted.application.service import IService
from twisted.python import usage

from kms.config.loader import load_settings
from kms.config.problems import ConfigError
from kms.config.settings import Settings
from kms.service.mail_server import MailServer
from kms.service.tls import TlsFilesError

EX_CONFIG = 78


class Options(usage.Options):
    """Options of `twistd kms`."""

    synopsis = "[--config FILE]"
    optParameters = [["config", "c", "etc/kms.ini", "The configuration file."]]

    def postOptions(self) -> None:
        """Choose the reactor, and forget a stale pid file, which twistd would take for a running server."""
        install_reactor()
        parent: dict[str, Any] = self.parent or {}
        pidfile = parent.get("pidfile")
        if pidfile:
            remove_stale_pidfile(Path(pidfile))


def install_reactor() -> None:
    """Install the thin reactor, unless one is there already or the system has no epoll."""
    if "twisted.internet.reactor" in sys.modules or not hasattr(select, "epoll"):
        return
    from kms.service.thin_reactor import install

    install()


def remove_stale_pidfile(path: Path) -> None:
    """Remove a pid file whose number belongs to no process, or to one that is no twistd."""
    try:
        pid = int(path.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except ValueError:
        command = b""
    except FileNotFoundError:
        if not path.exists() or not Path("/proc/self").exists():
            return
        command = b""
    except OSError:
        return
    if b"twist" not in command and b"kms" not in command:
        path.unlink(missing_ok=True)


def makeService(options: Options) -> IService:
    """Make the server from the configuration file; see `EX_CONFIG` for a wrong one."""
    path = Path(os.path.abspath(options["config"]))
    settings = _load(path)
    for warning in settings.warnings:
        print(f"kms: warning: {warning}", file=sys.stderr)
    from twisted.internet import reactor  # noqa: TID251 (chosen by now; nothing else may ask for it)

    try:
        return MailServer(settings, path, reactor, is_foreground=_is_foreground(options))
    except TlsFilesError as error:
        _end([str(error)])


def _load(path: Path) -> Settings:
    try:
        return load_settings(path)
    except ConfigError as error:
        _end([str(problem) for problem in error.problems])


def _end(problems: list[str]) -> NoReturn:
    for problem in problems:
        print(problem, file=sys.stderr)
    raise SystemExit(EX_CONFIG)


def _is_foreground(options: Options) -> bool:
    """True without a fork: under `twistd -n`, and under `twist`, which has no such option."""
    parent: Any = options.parent or {}
    return bool(parent.get("nodaemon", True)) or bool(parent.get("debug", False))
