"""`kmsctl user …`: accounts. What is changed acts at once on a running server."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from kms.cli import failure
from kms.cli.failure import CommandFailed
from kms.cli.reports import check_language
from kms.cli.session import Session, make_table, pass_session
from kms.config.problems import ValueFault
from kms.config.units import parse_size

_Command = Callable[..., None]
_LATER = "is not there yet"
_SECRET = "the server then keeps that password readable. no: forget it."


@click.group()
def user() -> None:
    """Accounts."""


_password_option = click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of the standard input."
)
_login = click.argument("login", metavar="NAME@DOMAIN")


def read_password(from_stdin: bool) -> str:
    """Read a password: the first line of the standard input without its line end, or asked for twice."""
    if not from_stdin:
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    line = sys.stdin.buffer.readline()
    try:
        return line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError:
        raise CommandFailed(failure.BAD_DATA, "the password is not UTF-8") from None


@user.command("add")
@_login
@_password_option
@pass_session
def add(session: Session, login: str, password_stdin: bool) -> None:
    """Make an account."""
    password = read_password(password_stdin)
    with session.administration() as administration:
        facts = administration.add_user(login, password)
    session.emit(facts, f"{facts['login']} was made")


@user.command("passwd")
@_login
@_password_option
@pass_session
def passwd(session: Session, login: str, password_stdin: bool) -> None:
    """Give an account another password; its relay windows end."""
    password = read_password(password_stdin)
    with session.administration() as administration:
        facts = administration.set_password(login, password)
    session.emit(facts, f"{facts['login']} has the new password")


def _read_size(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
    try:
        return None if text is None else parse_size(text)
    except ValueFault as fault:
        raise click.BadParameter(str(fault)) from None


_SERVERS = object()


def _read_limit(_context: click.Context, _parameter: click.Parameter, text: str | None) -> object:
    return _parse_limit(text, int)


def _read_size_limit(_context: click.Context, _parameter: click.Parameter, text: str | None) -> object:
    return _parse_limit(text, parse_size)


def _parse_limit(text: str | None, parse: Callable[[str], int]) -> object:
    """Read a limit of an account's own; `default` gives it back to the server's."""
    if text is None or text == "default":
        return text and _SERVERS
    try:
        number = parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if number < 0:
        raise click.BadParameter("a limit is 0 (none) or more")
    return number


def _refuse_later(_context: click.Context, parameter: click.Parameter, value: object) -> None:
    """Refuse an option whose feature is missing: to ignore a limit would be worse."""
    if value is not None:
        raise CommandFailed(failure.UNAVAILABLE, f"{parameter.opts[0]} {_LATER}")


def _later(name: str, **options: Any) -> Callable[[_Command], _Command]:
    return click.option(name, expose_value=False, callback=_refuse_later, help=f"({_LATER})", **options)


@user.command("set")
@_login
@click.option("--full-name", help="For people.")
@click.option(
    "--quota", "quota_octets", callback=_read_size, help="Size of the mailbox, as 500 MB; 0 = none."
)
@click.option("--quota-messages", type=click.IntRange(0), help="Messages in the mailbox; 0 = no limit.")
@click.option(
    "--forward", "forward_to", multiple=True, help='Address that gets the mail; several; "" = none.'
)
@click.option("--keep-copy/--no-keep-copy", "keeps_copy", default=None, help="Keep forwarded mail here too.")
@click.option(
    "--sender",
    "extra_senders",
    multiple=True,
    help='Sender address or @domain it may use; several; "" = none.',
)
@click.option(
    "--own-domains-only/--no-own-domains-only", default=None, help="May send to local domains only."
)
@click.option("--language", help='Of the reports it gets; "" = the server\'s.')
@click.option(
    "--messages-per-hour", callback=_read_limit, help="It may send; 0 = no limit, default = the server's."
)
@click.option("--messages-per-day", callback=_read_limit, help="The same within a day.")
@click.option(
    "--max-message-size",
    "max_message_octets",
    callback=_read_size_limit,
    help="Of what it sends, as 5 MB; 0 = no limit, default = the server's.",
)
@click.option("--apop", "may_use_apop", type=bool, help="yes: APOP, from the next password on; " + _SECRET)
@click.option(
    "--cram", "may_use_cram", type=bool, help="yes: CRAM-MD5, from the next password on; " + _SECRET
)
@pass_session
def change(session: Session, login: str, **options: Any) -> None:
    """Change an account."""
    changes = {key: value for key, value in options.items() if value not in (None, ())}
    changes = {key: None if value is _SERVERS else value for key, value in changes.items()}
    for key in ("forward_to", "extra_senders"):
        if key in changes:
            changes[key] = [item for item in changes[key] if item]
    if not changes:
        raise click.UsageError("nothing to change: give at least one option")
    if changes.get("language"):
        check_language(session, changes["language"])
    with session.administration() as administration:
        facts = administration.change_user(login, changes)
    lines = [f"{facts['login']} was changed: {', '.join(changes)}", *_advise(session, facts, changes)]
    session.emit(facts, "\n".join(lines))


def _advise(session: Session, facts: dict[str, Any], changes: dict[str, Any]) -> Iterator[str]:
    """Say what else must be done for a login that needs the password itself."""
    settings = session.settings
    for key, name, is_offered, switch in (
        ("may_use_apop", "APOP", settings.pop3.apop, "[pop3] apop = yes"),
        ("may_use_cram", "CRAM-MD5", settings.auth.has_cram, "CRAM-MD5 in [auth] mechanisms"),
    ):
        if not changes.get(key):
            continue
        if not is_offered:
            yield f"the server does not offer {name}: it needs {switch}"
        yield f"{name} works from the next password on: kmsctl user passwd {facts['login']}"


@user.command("list")
@pass_session
def list_(session: Session) -> None:
    """Show all accounts."""
    with session.administration() as administration:
        users = administration.list_users()
    heads = ("ACCOUNT", "ENABLED", "QUOTA", "FORWARDED TO", "FULL NAME")
    session.emit(users, make_table(heads, [_row(facts) for facts in users]))


def _row(facts: dict[str, Any]) -> tuple[str, ...]:
    forward_to = ", ".join(facts["forward_to"])
    if forward_to and facts["keeps_copy"]:
        forward_to += " (copy kept)"
    quota = str(facts["quota_octets"]) if facts["quota_octets"] else "-"
    return (facts["login"], "yes" if facts["is_enabled"] else "no", quota, forward_to, facts["full_name"])


@user.command("remove")
@_login
@pass_session
def remove(session: Session, login: str) -> None:
    """Remove an account; its mailbox stays on disk."""
    with session.administration() as administration:
        facts = administration.remove_user(login)
    folder = session.settings.mailboxes_dir / facts["domain"] / facts["name"]
    lines = [f"{facts['login']} was removed; its mailbox stays in {folder}"]
    if facts["named_by"]:
        lines.append(f"aliases that still lead to it: {', '.join(facts['named_by'])}")
    session.emit(facts, "\n".join(lines))


@user.command("disable")
@_login
@pass_session
def disable(session: Session, login: str) -> None:
    """Let an account take no mail and no login; its relay windows end."""
    _set_enabled(session, login, False)


@user.command("enable")
@_login
@pass_session
def enable(session: Session, login: str) -> None:
    """Let a disabled account take mail and logins again."""
    _set_enabled(session, login, True)


def _set_enabled(session: Session, login: str, is_enabled: bool) -> None:
    with session.administration() as administration:
        facts = administration.change_user(login, {"is_enabled": is_enabled})
    session.emit(facts, f"{facts['login']} is {'enabled' if is_enabled else 'disabled'}")
