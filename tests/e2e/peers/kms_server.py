"""kms itself as a process: the shipped INI with stated overrides, accounts made by kmsctl, ports of its own."""

import json
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.e2e.peers import ini
from tests.e2e.peers.process import Program, free_port, run, wait_until

CHECKOUT = Path(__file__).parents[3]
PASSWORD = "correct horse battery"

_KMSCTL = "import sys; from kms.cli.main import main; sys.exit(main())"


class Kms:
    """One server in `folder`: `start`, `stop`, `kill`, `ctl`, `add_user`, `messages`.

    It listens on 127.0.0.1 for SMTP, submission, submissions, POP3 and POP3S, on ports that were free when it was
    configured and that it keeps over restarts.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        folder: Path,
        overrides: Mapping[str, Mapping[str, str]] | None = None,
        *,
        data_dir: Path | None = None,
        launch: Sequence[str | Path] = (sys.executable, "-m", "kms"),
        cwd: Path = CHECKOUT,
    ) -> None:
        self.folder = folder
        self.launch = [str(word) for word in launch]
        self.python = Path(sys.executable) if cwd == CHECKOUT else Path(self.launch[0]).parent / "python"
        self.cwd = cwd
        self.data_dir = data_dir or folder / "var"
        self.configuration = folder / "kms.ini"
        self.program: Program | None = None
        self.smtp, self.submission, self.submissions, self.pop3, self.pop3s = (
            free_port(self.host) for _ in range(5)
        )
        folder.mkdir(parents=True, exist_ok=True)
        self.overrides = self._own_lines()
        self.configure(overrides or {})

    def _own_lines(self) -> dict[str, dict[str, str]]:
        ports = ("smtp", "submission", "submissions", "pop3", "pop3s")
        return {
            "server": {
                "hostname": "kms.example.test",
                "data_dir": str(self.data_dir),
                "reports_dir": str(CHECKOUT / "reports"),
                "submit_dir": str(self.folder / "run"),
            },
            "listen": {
                **{name: f"tcp:{getattr(self, name)}:interface={self.host}" for name in ports},
                "console": "",
            },
        }

    def configure(self, overrides: Mapping[str, Mapping[str, str]]) -> None:
        """Set these keys too and write the file; acts at the next start."""
        for section, keys in overrides.items():
            self.overrides.setdefault(section, {}).update(keys)
        ini.write(self.configuration, CHECKOUT / "etc" / "kms.ini", self.overrides)

    def command(self) -> list[str]:
        """What starts it in the foreground."""
        return [*self.launch, "--config", str(self.configuration)]

    def environment(self) -> dict[str, str]:
        """What a bare checkout needs so that twistd and twist find the plugin."""
        return {"PYTHONPATH": str(CHECKOUT)} if self.cwd == CHECKOUT else {}

    def start(self, *, open_files: int = 0) -> None:
        """Start it; returns when SMTP and POP3 are served."""
        self.program = Program(
            self.command(),
            self.folder / "output",
            cwd=self.cwd,
            environment=self.environment(),
            open_files=open_files,
        )
        self.program.wait_for_port(self.host, self.smtp)
        self.program.wait_for_port(self.host, self.pop3)

    @property
    def pid(self) -> int:
        assert self.program is not None
        return self.program.pid

    def stop(self) -> int:
        """SIGTERM; gives the exit status."""
        if self.program is None:
            return 0
        program, self.program = self.program, None
        return program.stop()

    def kill(self) -> None:
        """SIGKILL."""
        assert self.program is not None
        program, self.program = self.program, None
        program.kill()

    def ctl(self, *words: str, stdin: str = "", seconds: float = 30) -> str:
        """Run kmsctl; gives its output; AssertionError unless it ends with 0."""
        command = [str(self.python), "-c", _KMSCTL, "--config", str(self.configuration), *words]
        result = run(command, stdin=stdin.encode(), cwd=self.cwd, seconds=seconds)
        output = result.stdout.decode() + result.stderr.decode()
        assert result.returncode == 0, f"kmsctl {' '.join(words)}: {result.returncode}\n{output}"
        return result.stdout.decode()

    def ctl_json(self, *words: str) -> object:
        """Run kmsctl --json; gives what it says."""
        value: object = json.loads(self.ctl("--json", *words))
        return value

    def add_user(self, address: str, password: str = PASSWORD) -> None:
        self.ctl("user", "add", address, "--password-stdin", stdin=password + "\n")

    def queue_length(self) -> int:
        """Messages in the queue, read from the database beside the running server."""
        database = sqlite3.connect(f"file:{self.data_dir}/kms.sqlite3?mode=ro", uri=True, timeout=10)
        try:
            count: int = database.execute("SELECT count(*) FROM message").fetchone()[0]
            return count
        finally:
            database.close()

    def mailboxes(self) -> Path:
        return self.data_dir / "mailboxes"

    def maildir(self, address: str) -> Path:
        local_part, _, domain = address.partition("@")
        return self.mailboxes() / domain / local_part / "Maildir"

    def messages(self, address: str) -> list[bytes]:
        """The messages in a mailbox, oldest name first, as they stand in the files."""
        maildir = self.maildir(address)
        files = [file for name in ("new", "cur") for file in (maildir / name).glob("*")]
        return [file.read_bytes() for file in sorted(files, key=lambda file: file.name)]

    def log(self, name: str = "mail") -> str:
        """One of its logs: mail, security, operations; or `output`, what it printed."""
        path = self.folder / "output" if name == "output" else self.data_dir / "log" / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_for_log(self, name: str, text: str, times: int = 1, seconds: float = 15) -> None:
        """Return once that log has the text so many times; AssertionError with all logs if it does not come."""
        try:
            wait_until(lambda: self.log(name).count(text) >= times, seconds)
        except AssertionError:
            raise AssertionError(
                f"not in the {name} log within {seconds} s: {text}\n{self.everything()}"
            ) from None

    def everything(self) -> str:
        """All it printed and logged, for a failure's message."""
        return "\n".join(f"--- {name}\n{self.log(name)[-4000:]}" for name in ("output", "mail", "security"))
