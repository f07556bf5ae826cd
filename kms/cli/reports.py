"""`kmsctl reports check` and `preview`: the texts of reports, before anybody gets one; and their languages.

No server need run: the next report reads the same files.
"""

from __future__ import annotations

import difflib
import email
import email.policy
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage, Message

import click

from kms.cli import failure
from kms.cli.failure import CommandFailed
from kms.cli.sample_report import compose_sample
from kms.cli.session import Session, pass_session
from kms.domain.language import find_languages
from kms.domain.report_text import ReportKind
from kms.store.report_texts import FALLBACK_LANGUAGE, ReportTexts

_CALLED = {
    "cs": "cz czech čeština česky",
    "de": "german deutsch at ch",
    "en": "english uk us",
    "es": "spanish español castellano",
    "fr": "french français",
    "it": "italian italiano",
    "ja": "japanese jp 日本語",
    "nl": "dutch nederlands be",
    "pl": "polish polski",
    "pt": "portuguese português br",
    "ru": "russian русский",
    "zh": "chinese cn tw 中文",
}
"""How people write the shipped languages who do not know their codes."""


def check_language(session: Session, language: str) -> None:
    """Refuse a language that has no reports; raises CommandFailed with the nearest one there is."""
    available = ReportTexts(session.settings.server.reports_dir).languages()
    known = tuple(dict.fromkeys((*available, FALLBACK_LANGUAGE)))
    if find_languages(language, known):
        return
    names = {name: code for code in known for name in (code.lower(), *_CALLED.get(code, "").split())}
    near = difflib.get_close_matches(language.lower(), names, n=1)
    hint = f"; did you mean {names[near[0]]}?" if near else ""
    raise CommandFailed(
        failure.BAD_DATA, f"there are no reports in {language!r}, only in {', '.join(sorted(known))}{hint}"
    )


@click.group()
def reports() -> None:
    """The texts of reports, and their languages."""


@reports.command("check")
@pass_session
def check(session: Session) -> None:
    """Can every text be used? Names each that cannot (status 65), for which English stands in."""
    folder = session.settings.server.reports_dir
    texts = ReportTexts(folder)
    problems = texts.problems()
    if problems:
        raise CommandFailed(failure.BAD_DATA, *problems)
    languages = texts.languages()
    session.emit(
        {"folder": str(folder), "languages": languages, "problems": []},
        f"{folder}: the texts of {', '.join(languages) or 'no language'} are right",
    )


@reports.command("preview")
@click.option("--language", help="A folder of the reports.  [default: the server's]")
@click.option(
    "--kind",
    type=click.Choice([kind.value for kind in ReportKind]),
    default=ReportKind.FAILED.value,
    show_default=True,
    help="Of the report.",
)
@pass_session
def preview(session: Session, language: str | None, kind: str) -> None:
    """Show a report as it would go out, about a made-up message."""
    settings = session.settings
    if language:
        check_language(session, language)
    language = language or settings.queue.language
    texts = ReportTexts(settings.server.reports_dir)
    for problem in texts.problems():
        if find_languages(language, [problem.removeprefix(f"{settings.server.reports_dir}/").split("/")[0]]):
            click.echo(f"warning: {problem}", err=True)
    data = compose_sample(settings, texts, language, ReportKind(kind), datetime.now(UTC))
    message = email.message_from_bytes(data, policy=email.policy.default)
    parts = [{"type": part.get_content_type(), "text": _read_part(part)} for part in _parts_of(message)]
    facts = {
        "language": language,
        "kind": kind,
        "header": {name: str(value) for name, value in message.items()},
        "parts": parts,
        "message": data.decode("ascii"),
    }
    header = [f"{name}: {value}" for name, value in message.items()]
    bodies = [part["text"].rstrip("\n") for part in parts]
    session.emit(facts, "\n".join(header) + "\n\n" + f"\n\n{'-' * 72}\n\n".join(bodies))


def _parts_of(message: EmailMessage) -> Iterator[Message]:
    payload = message.get_payload()
    return iter(
        [part for part in payload if isinstance(part, Message)] if isinstance(payload, list) else [message]
    )


def _read_part(part: Message) -> str:
    payload = part.get_payload()
    if isinstance(payload, list):
        return "\n".join(block.as_string() for block in payload if isinstance(block, Message))
    content = part.get_payload(decode=True)
    return content.decode(errors="replace").replace("\r\n", "\n") if isinstance(content, bytes) else ""
