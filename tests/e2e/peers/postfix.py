"""A Postfix of our own: its configuration, queue and mailboxes in one folder, beside whatever else runs here.

Stock settings of Postfix but for what `PostfixSettings` shows; virtual(8) delivers to Maildirs. Needs root and the
Debian package `postfix`.
"""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from tests.e2e.peers.process import is_listening, run, wait_until

_MASTER = """
{listeners}
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
proxywrite unix -       -       n       -       1       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
local     unix  -       n       n       -       -       local
virtual   unix  -       n       n       -       -       virtual
lmtp      unix  -       -       n       -       -       lmtp
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
"""


@attrs.frozen
class PostfixSettings:
    """What is not stock in one instance."""

    hostname: str
    host: str
    port: int
    mailboxes: Sequence[str] = ()
    """Addresses that have a Maildir."""
    domains: Sequence[str] = ()
    """Domains whose mail it takes (an address in them without a mailbox gets 550)."""
    more: Mapping[str, str] = attrs.field(factory=dict)
    """Further lines of main.cf."""
    more_listeners: Sequence[str] = ()
    """Further lines of master.cf."""


class Postfix:
    """One instance: `start`, `stop`, `maildir(address)`, `log`."""

    def __init__(self, folder: Path, settings: PostfixSettings) -> None:
        self.folder = folder
        self.settings = settings
        self.configuration = folder / "etc"
        self.queue = folder / "queue"
        self.boxes = folder / "mail"
        self.log_file = folder / "mail.log"
        self._is_started = False
        self._write()

    def _write(self) -> None:
        settings = self.settings
        for path in (self.folder, self.configuration, self.queue, self.folder / "data", self.boxes):
            path.mkdir(parents=True, exist_ok=True, mode=0o755)
        run(["chown", "postfix", self.folder / "data"])
        run(["chown", "nobody:nogroup", self.boxes])
        (self.configuration / "boxes").write_text(
            "".join(f"{box} {box.partition('@')[2]}/{box.partition('@')[0]}/\n" for box in settings.mailboxes)
        )
        (self.configuration / "main.cf").write_text(
            "".join(f"{key} = {value}\n" for key, value in self.lines().items())
        )
        (self.configuration / "master.cf").write_text(
            _MASTER.format(
                listeners="\n".join(
                    (f"{settings.host}:{settings.port} inet n - n - - smtpd", *settings.more_listeners)
                )
            )
        )

    def lines(self) -> dict[str, str]:
        """The main.cf of this instance."""
        return {
            "compatibility_level": "3.6",
            "command_directory": "/usr/sbin",
            "daemon_directory": "/usr/lib/postfix/sbin",
            "queue_directory": str(self.queue),
            "data_directory": str(self.folder / "data"),
            "mail_owner": "postfix",
            "setgid_group": "postdrop",
            "maillog_file": str(self.log_file),
            "maillog_file_prefixes": str(self.folder),
            "myhostname": self.settings.hostname,
            "mydestination": "",
            "local_recipient_maps": "",
            "alias_maps": "",
            "inet_interfaces": "all",
            "inet_protocols": "ipv4",
            "smtpd_peername_lookup": "no",
            "virtual_mailbox_domains": ", ".join(self.settings.domains),
            "virtual_mailbox_base": str(self.boxes),
            "virtual_mailbox_maps": f"texthash:{self.configuration}/boxes",
            "virtual_uid_maps": "static:65534",
            "virtual_gid_maps": "static:65534",
            **self.settings.more,
        }

    def start(self) -> None:
        """Start it; returns when it listens."""
        result = run(["postfix", "-c", self.configuration, "start"])
        assert result.returncode == 0, (result.stdout + result.stderr).decode() + self.log()
        self._is_started = True
        wait_until(
            lambda: is_listening(self.settings.host, self.settings.port),
            what=f"Postfix listens: {self.log()}",
        )

    def stop(self) -> None:
        """Stop it (by the pid in its own queue folder)."""
        if self._is_started:
            run(["postfix", "-c", self.configuration, "stop"])
            self._is_started = False

    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def maildir(self, address: str) -> Path:
        """The Maildir of a mailbox; it need not exist yet."""
        local_part, _, domain = address.partition("@")
        return self.boxes / domain / local_part

    def messages(self, address: str) -> list[bytes]:
        """The messages delivered to a mailbox."""
        return [file.read_bytes() for file in sorted((self.maildir(address) / "new").glob("*"))]

    def queue_length(self) -> int:
        """Messages in its queue."""
        folders = ("incoming", "active", "deferred", "maildrop")
        return sum(1 for name in folders for path in (self.queue / name).rglob("*") if path.is_file())

    def processes(self) -> list[int]:
        """The pids of master and all its children."""
        master = int((self.queue / "pid" / "master.pid").read_text())
        children = subprocess.run(
            ["pgrep", "-P", str(master)], capture_output=True, text=True, check=False
        ).stdout.split()
        return [master, *(int(pid) for pid in children)]
