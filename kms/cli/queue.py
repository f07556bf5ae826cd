"""`kmsctl queue …` and `kmsctl mailq`: look at the queue, and work on it.

Flow: asks `administration.queue`, the running server's or the store's; what an order means is in
store/queue_work.py, which entries a query means in store/queue_query.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import click

from kms.cli import failure
from kms.cli.failure import CommandFailed
from kms.cli.mailq_table import print_mailq
from kms.cli.session import Session, make_table, pass_session

_Facts = dict[str, Any]
_PAGE = 1000


@click.group()
def queue() -> None:
    """The queue: what waits for delivery."""


def _query_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--query",
        multiple=True,
        metavar="FILTERS",
        help="from=, to=, domain=, status=, age>2h, size>1MB; all must hold, * and ? are wild.",
    )(command)


def _dry_run_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option("--dry-run", is_flag=True, help="Only count what is meant, and show a sample.")(
        command
    )


@queue.command("list")
@_query_option
@click.option("--limit", type=click.IntRange(1, _PAGE), default=100, show_default=True)
@click.option("--after", default="", metavar="ID", help="The last id of the page before.")
@pass_session
def list_(session: Session, query: tuple[str, ...], limit: int, after: str) -> None:
    """Show a page of the queue, the oldest first; with --json one object a line, as `postqueue -j` has it."""
    _list(session, query, limit, after, is_trash=False)


@queue.command("trash")
@_query_option
@click.option("--limit", type=click.IntRange(1, _PAGE), default=100, show_default=True)
@click.option("--after", default="", metavar="ID", help="The last id of the page before.")
@pass_session
def trash(session: Session, query: tuple[str, ...], limit: int, after: str) -> None:
    """Show what was removed and can be restored."""
    _list(session, query, limit, after, is_trash=True)


def _list(session: Session, query: tuple[str, ...], limit: int, after: str, is_trash: bool) -> None:
    with session.administration() as administration:
        found = administration.queue.list(" ".join(query), after, limit, is_trash)
    if session.is_json:
        for facts in found:
            click.echo(json.dumps(facts, ensure_ascii=False))
        return
    heads = ("ID", "ARRIVED", "SIZE", "STATE", "TRIES", "NEXT TRY", "FROM", "TO", "STATUS")
    session.emit(found, make_table(heads, list(map(_row, found))))
    if len(found) == limit:
        click.echo(f"more: --after {found[-1]['queue_id']}", err=True)


def _row(facts: _Facts) -> tuple[str, ...]:
    recipients = facts["recipients"]
    more = f" and {len(recipients) - 1} more" if len(recipients) > 1 else ""
    return (
        facts["queue_id"],
        facts.get("arrived_at") or "-",
        str(facts["message_size"]),
        facts["state"],
        str(facts.get("attempts", "-")),
        facts.get("next_try") or "-",
        f"<{facts['sender']}>",
        f"{recipients[0]['address']}{more}" if recipients else "-",
        facts["damage"] or next((one["delay_reason"] for one in recipients if one["delay_reason"]), ""),
    )


@queue.command("show")
@click.argument("queue_id", metavar="ID")
@pass_session
def show(session: Session, queue_id: str) -> None:
    """Show one entry: envelope, attempts with the remote's own words, next try, warning, bounce."""
    with session.administration() as administration:
        facts = administration.queue.show(queue_id)
    session.emit(facts, "\n".join(_tell(facts)))


def _tell(facts: _Facts) -> Iterator[str]:
    hop = f", by way of {facts['next_hop']}" if facts.get("next_hop") else ""
    yield f"{facts['queue_id']}: {facts['state']}, {facts['message_size']} octets, from <{facts['sender']}>{hop}"
    if facts["damage"]:
        yield f"  cannot be read: {facts['damage']}"
    for one in facts["recipients"]:
        named = "" if one["orig_address"] == one["address"] else f" (sent to {one['orig_address']})"
        yield f"  to {one['address']}{named}{': ' if one['delay_reason'] else ''}{one['delay_reason']}"
    for key in ("arrived_at", "next_try", "warn_at", "bounce_at"):
        if facts.get(key):
            yield f"  {key.replace('_', ' ')}: {facts[key]}"
    for event in facts["events"]:
        yield f"  {event['at']} {event.get('order') or event['event']}{' by ' + event['by'] if 'by' in event else ''}"
        for outcome in event.get("outcomes", ()):
            yield f"    {outcome['to']}: {outcome['status']}, {outcome['where']}: {outcome['reply']}"


def _make_order(name: str, help_text: str) -> None:
    @queue.command(name, help=help_text)
    @click.argument("ids", nargs=-1, metavar="[ID]...")
    @_query_option
    @_dry_run_option
    @pass_session
    def order(session: Session, ids: tuple[str, ...], query: tuple[str, ...], dry_run: bool) -> None:
        _order(session, name, ids, query, dry_run)


for _name, _help in (
    ("retry", "Try now."),
    ("hold", "Try no more until `release`; an attempt that is under way ends first."),
    ("release", "Undo `hold`, and try now."),
    ("bounce", "Return to the sender, with a report."),
    ("remove", "Move to the trash; nobody is told."),
    ("restore", "Take back from the trash, and try now."),
):
    _make_order(_name, _help)


@queue.command("reroute")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--to", "next_hop", required=True, metavar="HOST[:PORT]", help="`-` is the usual way again.")
@_query_option
@_dry_run_option
@pass_session
def reroute(
    session: Session, ids: tuple[str, ...], next_hop: str, query: tuple[str, ...], dry_run: bool
) -> None:
    """Send by way of another host, and try now; mailboxes of this server are delivered to as ever."""
    _order(session, "reroute", ids, query, dry_run, {"next_hop": next_hop})


def _order(
    session: Session,
    name: str,
    ids: tuple[str, ...],
    query: tuple[str, ...],
    dry_run: bool,
    more: _Facts | None = None,
) -> None:
    body = {"ids": list(ids), "query": list(query), "dry_run": dry_run, **(more or {})}
    with session.administration() as administration:
        facts = administration.queue.change(name, body)
    done = "would be meant" if dry_run else "done"
    lines = [
        f"{name}: {facts['count']} messages, {facts['recipients']} recipients, {facts['octets']} octets {done}"
    ]
    if dry_run and facts["sample"]:
        lines.append(f"such as {', '.join(facts['sample'])}")
    if facts["unfit"]:
        lines.append(f"{facts['unfit']} others are left as they are")
    if facts["busy"]:
        lines.append(f"being tried at this moment, so left alone: {', '.join(facts['busy'])}; try again")
    session.emit(facts, "\n".join(lines))
    if facts["busy"] and ids:
        raise CommandFailed(
            failure.TRY_AGAIN, f"{len(facts['busy'])} messages are being tried at this moment"
        )


def _make_switch(name: str, help_text: str) -> None:
    @queue.command(name, help=help_text)
    @_dry_run_option
    @pass_session
    def switch(session: Session, dry_run: bool) -> None:
        _switch(session, name, {"dry_run": dry_run})


def _make_suspension(name: str, help_text: str) -> None:
    @queue.command(name, help=help_text)
    @click.argument("domain")
    @_dry_run_option
    @pass_session
    def suspension(session: Session, domain: str, dry_run: bool) -> None:
        _switch(session, name, {"domain": domain, "dry_run": dry_run})


_make_switch("pause", "Begin nothing more; mail is still accepted.")
_make_switch("continue", "Undo `pause`.")
_make_suspension("suspend", "Send nothing to a domain.")
_make_suspension("resume", "Undo `suspend`, and try now.")


@queue.command("offline")
@click.argument("state", type=click.Choice(["on", "off"]))
@_dry_run_option
@pass_session
def offline(session: Session, state: str, dry_run: bool) -> None:
    """Hold all outgoing mail, or let it go; mailboxes are delivered to."""
    _switch(session, "offline", {"on": state == "on", "dry_run": dry_run})


def _switch(session: Session, name: str, body: _Facts) -> None:
    with session.administration() as administration:
        facts = administration.queue.change(name, body)
    session.emit(facts, _tell_state(facts))


def _tell_state(facts: _Facts) -> str:
    suspended = ", ".join(facts["suspended"]) or "none"
    return f"paused: {_yes(facts['paused'])}; offline: {_yes(facts['offline'])}; suspended: {suspended}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


@queue.command("run")
@_dry_run_option
@pass_session
def run(session: Session, dry_run: bool) -> None:
    """Try all that waits, now."""
    with session.administration() as administration:
        facts = administration.queue.change("run", {"dry_run": dry_run})
    session.emit(facts, f"{facts['count']} messages {'wait' if dry_run else 'are tried'}")


@queue.command("count")
@pass_session
def count(session: Session) -> None:
    """How many messages, recipients and octets, in all and by state?"""
    with session.administration() as administration:
        facts = administration.queue.count()
    rows = [("all", facts), *facts["states"].items(), ("(trash)", facts["trash"])]
    keys = ("messages", "recipients", "octets")
    table = make_table(
        ("", *map(str.upper, keys)), [(name, *(str(one[key]) for key in keys)) for name, one in rows]
    )
    session.emit(facts, f"{table}\n{_tell_state(facts)}")


@queue.command("forecast")
@_query_option
@click.option("--hours", type=click.IntRange(1, 24 * 14), default=24, show_default=True)
@pass_session
def forecast(session: Session, query: tuple[str, ...], hours: int) -> None:
    """What will be tried, warned of and bounced, hour by hour, if nobody takes it?"""
    with session.administration() as administration:
        facts = administration.queue.forecast(" ".join(query), hours)
    keys = ("try", "warn", "bounce")
    rows = [(hour["from"], *(str(hour[key]) for key in keys)) for hour in facts["hours"]]
    lines = [make_table(("FROM", "TRIES", "WARNINGS", "BOUNCES"), rows) or "nothing is to come"]
    if facts["left_out"]:
        lines.append(f"of the {facts['entries']} that are due first; {facts['left_out']} more are left out")
    session.emit(facts, "\n".join(lines))


@click.command("mailq")
@pass_session
def mailq(session: Session) -> None:
    """Show the whole queue as mailq(1) does."""
    click.echo(print_mailq(_all(session)), nl=False)


def _all(session: Session) -> Iterator[_Facts]:
    with session.administration() as administration:
        after = ""
        while page := administration.queue.list("", after, _PAGE, is_trash=False):
            yield from page
            after = page[-1]["queue_id"]
