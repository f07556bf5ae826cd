"""The servers that are compared, each fresh for its turn: same accounts, same file system, own ports on loopback."""

import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tests.e2e.peers import ini
from tests.e2e.peers.kms_server import Kms
from tests.e2e.peers.postfix import Postfix, PostfixSettings
from tests.e2e.peers.process import free_port

ACCOUNTS = tuple(f"user{i}@example.test" for i in range(10))
OPEN_FILES = 20_000

POSTFIX_LINES = {
    "in_flow_delay": "0",
    "smtpd_client_connection_count_limit": "0",
}
POSTFIX_LINES_OF = {
    "inbound": {},
    "relay": {"mynetworks": "127.0.0.0/8", "relayhost": "[127.0.0.1]:{sink}"},
    "large": {"message_size_limit": "0", "mailbox_size_limit": "0"},
    "idle": {},
}
KMS_LINES_OF: dict[str, dict[str, dict[str, str]]] = {
    "inbound": {},
    "relay": {
        "relay": {"address_group": "Local clients"},
        "delivery": {"mode": "smarthost", "smarthost": "127.0.0.1:{sink}"},
    },
    "large": {"limits": {"max_message_size": "0"}},
    "idle": {},
}
_DECISION_ROW = """
CREATE TABLE bench_decision (
    id INTEGER PRIMARY KEY, number INTEGER NOT NULL, at_us INTEGER NOT NULL, rule TEXT NOT NULL, facts TEXT NOT NULL
);
CREATE TRIGGER bench_decision_of_message AFTER INSERT ON message BEGIN
    INSERT INTO bench_decision (number, at_us, rule, facts)
    VALUES (NEW.number, NEW.arrived_us, 'local recipient', hex(randomblob(200)));
END;
"""


class Server(Protocol):
    """What a scenario needs of a server."""

    name: str
    host: str

    def start(self, family: str, sink: int = 0) -> None:
        """A fresh start for one turn."""

    def stop(self) -> None:
        """End the turn."""

    @property
    def port(self) -> int:
        """Where it takes mail."""

    def watched(self) -> Sequence[Path]:
        """The `new` folders of all mailboxes."""

    def pids(self) -> Sequence[int]:
        """All its processes."""


def make_empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def make_clean(place: Path) -> None:
    """Remove everything from a place, but not the place itself: it may be a mount."""
    for path in place.iterdir():
        if path.is_dir() and not path.is_symlink():
            if path.name != "lost+found":
                shutil.rmtree(path)
        else:
            path.unlink()


class PostfixServer:
    """Stock Postfix but for the stated lines; local(8) delivers to Maildirs, as it does for a local user."""

    name = "Postfix"
    host = "127.0.0.1"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port(self.host)
        self._running: Postfix | None = None

    def start(self, family: str, sink: int = 0) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        more = {**POSTFIX_LINES, **self._local_delivery(), **POSTFIX_LINES_OF[family]}
        self._running = Postfix(
            self.folder,
            PostfixSettings(
                hostname="postfix.example.test",
                host=self.host,
                port=self.port,
                mailboxes=ACCOUNTS,
                more={key: value.format(sink=sink) for key, value in more.items()},
            ),
        )
        self._write_aliases()
        self._running.start()

    def _local_delivery(self) -> dict[str, str]:
        aliases = f"texthash:{self.folder}/etc/aliases"
        return {"mydestination": "example.test", "alias_maps": aliases, "local_recipient_maps": "$alias_maps"}

    def _write_aliases(self) -> None:
        lines = []
        for account in ACCOUNTS:
            maildir = self.running.maildir(account)
            maildir.parent.mkdir(exist_ok=True)
            shutil.chown(maildir.parent, "nobody", "nogroup")
            lines.append(f"{account.partition('@')[0]} {maildir}/\n")
        (self.folder / "etc" / "aliases").write_text("".join(lines))

    @property
    def running(self) -> Postfix:
        assert self._running is not None
        return self._running

    def stop(self) -> None:
        if self._running is not None:
            self._running.stop()

    def watched(self) -> list[Path]:
        return [self.running.maildir(account) / "new" for account in ACCOUNTS]

    def pids(self) -> list[int]:
        return self.running.processes()


class KmsServer:
    """kms with the shipped INI plus the stated lines; its accounts are made once and copied for each turn."""

    host = "127.0.0.1"

    def __init__(self, folder: Path, data: Path, *, has_decision_row: bool = False) -> None:
        self.name = "kms + decision row" if has_decision_row else "kms"
        self._has_decision_row = has_decision_row
        self._folder = folder
        self._data = data
        self._kms = Kms(folder / "kms", data_dir=data)
        self._template = folder / "template"
        self._kms.start()
        for account in ACCOUNTS:
            self._kms.add_user(account)
        self._kms.stop()
        shutil.copytree(data, self._template, ignore=shutil.ignore_patterns("lost+found", "control.sock"))

    @property
    def port(self) -> int:
        return self._kms.smtp

    def start(self, family: str, sink: int = 0) -> None:
        make_clean(self._data)
        shutil.copytree(self._template, self._data, dirs_exist_ok=True)
        if self._has_decision_row:
            database = sqlite3.connect(self._kms.data_dir / "kms.sqlite3")
            database.executescript(_DECISION_ROW)
            database.close()
        fresh = Kms(self._folder / "kms", data_dir=self._data)
        fresh.configure(filled(KMS_LINES_OF[family], sink))
        self._kms = fresh
        self._kms.start(open_files=OPEN_FILES)

    def stop(self) -> None:
        self._kms.stop()

    def watched(self) -> list[Path]:
        return [self._kms.maildir(account) / "new" for account in ACCOUNTS]

    def pids(self) -> list[int]:
        return [self._kms.pid]

    def own_lines(self) -> dict[str, dict[str, str]]:
        """What differs from the shipped INI in every family."""
        return self._kms.overrides


def filled(lines: Mapping[str, Mapping[str, str]], sink: int | str) -> dict[str, dict[str, str]]:
    """The lines with the sink's port put in."""
    return {
        section: {key: value.format(sink=sink) for key, value in keys.items()}
        for section, keys in lines.items()
    }


def stated_lines(kms: KmsServer) -> str:
    """Everything that is not stock, of both servers."""
    text = ["Postfix (stock but for its folders, ports and mailboxes, and):"]
    text += [
        f"    {key} = {value}" for key, value in {**POSTFIX_LINES, "smtpd_peername_lookup": "no"}.items()
    ]
    for family, lines in POSTFIX_LINES_OF.items():
        text += [f"    {key} = {value}    ({family})" for key, value in lines.items()]
    text += ["kms (the shipped etc/kms.ini, and):"]
    text += ["    " + line for line in ini.listing(kms.own_lines()).splitlines()]
    for family, sections in KMS_LINES_OF.items():
        text += [f"    ({family}) {line}" for line in ini.listing(sections).splitlines()]
    return "\n".join(text)
