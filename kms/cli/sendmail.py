"""`kms-sendmail`: hands a message in as sendmail(1) does, for cron, scripts, and programs like mutt, git and PHP.

The running server takes it over its socket; where none runs, the message goes to the maildrop, which the server
takes up at its start. Exit statuses of sysexits.h; 0 means that it is on stable storage.
It is also `mailq` and `newaliases`, by these names or by -bp and -bi, speaks SMTP by -bs, and
says by -bv where mail would go.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import secrets
import socket
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import attrs

from kms.cli import sendmail_options, smtp_dialogue
from kms.cli.address_verification import verify
from kms.cli.aliases import load_file
from kms.cli.failure import CommandFailed
from kms.cli.main import run as run_kmsctl
from kms.cli.sendmail_options import Mode, Options, UsageFault
from kms.cli.session import Session
from kms.config.loader import load_settings
from kms.config.problems import ConfigError
from kms.config.settings import Settings
from kms.domain.submitted_message import (
    SubmissionFacts,
    complete,
    cut_at_dot,
    find_recipients,
    remove_bcc,
    to_wire_form,
)
from kms.store import maildrop
from kms.store.maildrop import Submission

_CONFIGS = ("/etc/kms/kms.ini", "etc/kms.ini")
_SUBMIT_DIR = "/run/kms"
_TIMEOUT_SECONDS = 60.0
_NAMES = {"mailq": ["-bp"], "newaliases": ["-bi"]}
_STDOUT = 1


class NotSent(Exception):
    """The message could not be handed in.

    Attributes:
        status: of sysexits.h.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@attrs.frozen
class Place:
    """Where mail is handed in, and the name of this machine."""

    submit_dir: Path
    hostname: str


def run(words: Sequence[str], stdin: BinaryIO) -> int:
    """Do what the command line says; gives the exit status."""
    name = "sendmail"
    try:
        options = sendmail_options.parse(words)
        name = "newaliases" if options.mode is Mode.CHECK_ALIASES else name
        return _obey(options, stdin)
    except UsageFault as fault:
        print(f"{name}: {fault}", file=sys.stderr)
        return os.EX_USAGE
    except NotSent as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.status
    except CommandFailed as error:
        print(*(f"{name}: {line}" for line in error.lines), sep="\n", file=sys.stderr)
        return error.status


def _obey(options: Options, stdin: BinaryIO) -> int:
    config = options.config or _find_config()
    match options.mode:
        case Mode.PRINT_QUEUE:
            return run_kmsctl(["--config", config, "mailq"])
        case Mode.DELIVER:
            _deliver(options, stdin.read())
        case Mode.CHECK_ALIASES:
            _load_aliases(Session(Path(config), False), options.is_verbose)
        case Mode.VERIFY:
            return verify(Session(Path(config), False), options.recipients)
        case Mode.SMTP:
            return smtp_dialogue.speak(
                smtp_dialogue.find_server(_load_settings(config)), stdin.fileno(), _STDOUT
            )
    return os.EX_OK


def _find_config() -> str:
    named = os.environ.get("KMS_CONFIG")
    return named or next((path for path in _CONFIGS if os.path.exists(path)), _CONFIGS[0])


def _load_aliases(session: Session, is_verbose: bool) -> None:
    """Check the aliases file and let the server read it; -v tells how many there are, a missing list is named."""
    facts = load_file(session)
    for warning in facts["warnings"]:
        print(f"newaliases: warning: {warning}", file=sys.stderr)
    if is_verbose:
        print(f"{facts['path']}: {facts['aliases']} aliases")


def _load_settings(config: str) -> Settings | None:
    """Read the configuration; gives None to a user who may not (it may hold passwords)."""
    if not os.access(config, os.R_OK):
        return None
    try:
        return load_settings(Path(config), with_aliases=False)
    except ConfigError as error:
        raise NotSent(os.EX_CONFIG, str(error.problems[0])) from None


def _find_place(config: str) -> Place:
    """Find the place; who may not read the configuration takes KMS_SUBMIT_DIR, or the usual folder."""
    settings = _load_settings(config)
    named = os.environ.get("KMS_SUBMIT_DIR")
    folder = Path(named) if named else settings.server.submit_dir if settings else Path(_SUBMIT_DIR)
    return Place(folder, (settings.server.hostname if settings else "") or socket.getfqdn())


def _deliver(options: Options, data: bytes) -> None:
    place = _find_place(options.config or _find_config())
    data = to_wire_form(data if options.ignores_dots else cut_at_dot(data))
    recipients = list(options.recipients)
    if options.takes_header:
        recipients += find_recipients(data)
        data = remove_bcc(data)
    if not recipients:
        raise NotSent(os.EX_USAGE, "there are no recipients")
    sender = _sender(options, place)
    facts = SubmissionFacts(
        sender or f"MAILER-DAEMON@{place.hostname}",
        options.full_name or _full_name(),
        datetime.now(UTC),
        f"{secrets.token_hex(12)}@{place.hostname}",
    )
    _hand_in(place, Submission(sender, tuple(dict.fromkeys(recipients)), complete(data, facts)))


def _sender(options: Options, place: Place) -> str:
    """The reverse-path: that of -f, else user@hostname; `<>` and an empty one are the null reverse-path."""
    if options.sender is None:
        return f"{_user_name()}@{place.hostname}"
    sender = options.sender.strip().removeprefix("<").removesuffix(">")
    return f"{sender}@{place.hostname}" if sender and "@" not in sender else sender


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid{os.getuid()}"


def _full_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_gecos.split(",")[0]
    except KeyError:
        return ""


def _hand_in(place: Place, submission: Submission) -> None:
    """Give it to the server, or leave it in the maildrop; raises NotSent."""
    try:
        answer = _ask(place.submit_dir / maildrop.SOCKET, submission)
    except OSError:
        answer = None
    if answer is not None and answer[0] not in (os.EX_OK, os.EX_TEMPFAIL):
        raise NotSent(answer[0], answer[1])
    if answer is not None and answer[0] == os.EX_OK:
        return
    try:
        maildrop.leave(place.submit_dir / maildrop.FOLDER, submission)
    except OSError as error:
        raise NotSent(
            os.EX_TEMPFAIL, f"no server takes it, and the maildrop cannot be written: {error}"
        ) from None


def _ask(path: Path, submission: Submission) -> tuple[int, str]:
    """Hand it in over the socket; raises OSError where no whole answer came.

    A server that dies after it took the message, and before it said so, may get it once more by the maildrop.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_TIMEOUT_SECONDS)
        connection.connect(str(path))
        answer = b""
        with contextlib.suppress(BrokenPipeError):  # it has answered already
            connection.sendall(submission.print_envelope() + submission.data)
        while chunk := connection.recv(4096):
            answer += chunk
    try:
        facts = json.loads(answer)
        return int(facts["status"]), str(facts.get("error") or facts.get("queue_id"))
    except (ValueError, KeyError, TypeError):
        raise OSError("the server's answer was cut") from None


def main() -> None:
    """Be the command `kms-sendmail`, or `mailq` or `newaliases` where that is its name."""
    name = Path(sys.argv[0]).name
    mode = next((option for known, option in _NAMES.items() if name.endswith(known)), [])
    sys.exit(run([*mode, *sys.argv[1:]], sys.stdin.buffer))


if __name__ == "__main__":
    main()
