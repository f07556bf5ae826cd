"""`kmsctl why ID` and `kmsctl explain`: what happened or would happen, and why, in plain words."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from kms.cli import failure
from kms.cli.failure import CommandFailed
from kms.cli.session import Session, pass_session

_ENVELOPE = ("helo", "protocol", "login", "from", "to")


@click.command()
@click.argument("identifier", metavar="ID")
@pass_session
def why(session: Session, identifier: str) -> None:
    """What happened, and why? ID is the one in brackets at the end of a refusal, or a queue id."""
    with session.administration() as administration:
        facts = administration.tell_why(identifier)
    lines = _tell_decision(facts["decision"]) if "decision" in facts else _tell_life(facts["message"])
    session.emit(facts, "\n".join(lines))


def _tell_decision(record: dict[str, Any]) -> Iterator[str]:
    facts = record["facts"]
    yield f"{record['id']}: {record['at']}, {record['stage']}"
    yield f"  client: {record['client']}{_name_envelope(facts)}"
    yield f"  answer: {'(not given: the limit only observes) ' if record['is_observed'] else ''}{record['reply']}"
    yield f"  rule: {record['rule']}"
    yield from _tell_facts(facts)


def _name_envelope(facts: dict[str, Any]) -> str:
    return "".join(f", {name} {facts[name] or '<>'}" for name in _ENVELOPE if facts.get(name) is not None)


def _tell_facts(facts: dict[str, Any]) -> Iterator[str]:
    for name, value in facts.items():
        if name not in _ENVELOPE:
            yield f"  {name.replace('_', ' ')}: {value}"


def _tell_life(message: dict[str, Any]) -> Iterator[str]:
    yield f"{message['queue_id']}:"
    for event in message["events"]:
        yield from _tell_event(event)
    waiting = message["waiting"]
    if waiting is None:
        yield "it has left the queue"
    elif "damage" in waiting:
        yield f"it is in the queue, but cannot be read: {waiting['damage']}"
    else:
        yield f"it waits for {', '.join(waiting['recipients'])}; next try {waiting['next_try']}"


def _tell_event(event: dict[str, Any]) -> Iterator[str]:
    if "report_about" in event:
        yield f"{event['at']} made: a report about {event['report_about']}"
        return
    if event["event"] == "accepted":
        yield f"{event['at']} accepted from {event['client']}{_name_envelope(event)}"
        for decision in event["decisions"]:
            about = f" {decision['about']}" if decision["about"] else ""
            observed = decision.get("would_have_been")
            only = f" (observed only; would have been {observed})" if observed else ""
            yield f"  {decision['stage']}{about}: {decision['rule']}{only}"
        return
    if "order" in event:
        yield f"{event['at']} {event['order']} by {event['by']}"
        return
    yield f"{event['at']} tried"
    for outcome in event["outcomes"]:
        yield f"  {outcome['to']}: {outcome['status']}, {outcome['where']}: {outcome['reply']}"
    if event["next_try"]:
        yield f"  next try {event['next_try']}"
    for report in event["reports"]:
        yield f"  the sender was sent the report {report}"


@click.command()
@click.option("--client", required=True, metavar="IP", help="The client's address.")
@click.option("--service", type=click.Choice(["smtp", "submission", "submissions", "lmtp"]), default="smtp")
@click.option("--helo", default="client.example", metavar="NAME", help="The name it gives.")
@click.option("--tls", is_flag=True, help="It has said STARTTLS.")
@click.option(
    "--auth", type=click.Choice(["none", "failed", "ok"]), default="none", help="What AUTH has shown."
)
@click.option("--login", default="", metavar="USER", help="Who has logged in, with --auth ok.")
@click.option("--from", "sender", default="", metavar="A", help="The sender; none is the null reverse-path.")
@click.option("--to", "recipients", multiple=True, required=True, metavar="B", help="May be repeated.")
@click.option("--size", type=click.IntRange(min=0), metavar="N", help="The size that MAIL declares.")
@click.option("--message", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE")
@click.option(
    "--at", type=click.DateTime(), metavar="TIME", help="Local time in the future, 2026-12-31T23:59:00."
)
@click.option(
    "--config",
    "candidate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="CANDIDATE",
    help="Judge by this configuration, against the live state.",
)
@pass_session
def explain(session: Session, candidate: Path | None, message: Path | None, **asked: Any) -> None:
    """What would the running server answer to such a client, and why? Nothing is counted, written or sent."""
    at: datetime | None = asked.pop("at")
    ahead_seconds = 0.0 if at is None else (at.astimezone(UTC) - datetime.now(UTC)).total_seconds()
    if ahead_seconds < 0:
        raise CommandFailed(failure.BAD_DATA, "--at: that time is past; `why` tells what has been")
    body = {key: list(value) if isinstance(value, tuple) else value for key, value in asked.items()}
    body["ahead_seconds"] = ahead_seconds
    body["candidate"] = None if candidate is None else str(candidate.absolute())
    body["message"] = None if message is None else base64.b64encode(_read(message)).decode()
    steps = session.server().explain(body)
    session.emit(steps, "\n".join(line for step in steps for line in _tell_step(step)))


def _read(message: Path) -> bytes:
    """Read a message; one whose lines end as files' lines do gets the line ends of the wire."""
    data = message.read_bytes()
    return data if b"\r\n" in data else data.replace(b"\n", b"\r\n")


def _tell_step(step: dict[str, Any]) -> Iterator[str]:
    if step["command"]:
        yield f"C: {step['command']}"
    for line in step["replies"]:
        yield f"S: {line}"
    for observed in step["observed"]:
        yield f"   observed only: {observed['rule']}; would have been {observed['reply']}"
    if step["rule"]:
        yield f"   rule: {step['rule']}"
    for name, value in step["facts"].items():
        yield f"   {name.replace('_', ' ')}: {value}"
