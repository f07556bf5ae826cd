"""The words of a report: a template, the placeholders it may use, and the English that is built in.

A template is a subject and a body with `$name` placeholders (`string.Template`). Those of `reports/` are read
by store/report_texts.py; the built-in ones stand in for a broken file, so that no report is ever lost.
dsn.py fills the reports about a message, notice.py the notices about a mailbox and the alarms. The sentence that
says what a status code means is of status_sentence.py.
"""

from __future__ import annotations

import enum
import string
from collections.abc import Mapping

import attrs


class ReportKind(enum.Enum):
    """What a report says; the value is the name of the template's file."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    QUOTA = "quota"
    ALARM = "alarm"


_ABOUT_A_MESSAGE = frozenset({"hostname", "queue_id", "arrived", "recipients", "postmaster"})
_ABOUT_A_MAILBOX = frozenset(
    {"hostname", "account", "usage", "quota", "messages", "quota_messages", "postmaster"}
)
_ABOUT_AN_ALARM = frozenset({"hostname", "what", "advice", "limit", "client", "time", "postmaster"})
PLACEHOLDERS = {
    ReportKind.FAILED: _ABOUT_A_MESSAGE,
    ReportKind.DELAYED: _ABOUT_A_MESSAGE | {"until"},
    ReportKind.DELIVERED: _ABOUT_A_MESSAGE,
    ReportKind.RELAYED: _ABOUT_A_MESSAGE,
    ReportKind.QUOTA: _ABOUT_A_MAILBOX,
    ReportKind.ALARM: _ABOUT_AN_ALARM,
}
"""What a template of each kind may use. All: this server's name, and whom to ask. About a message: its queue
id, when it arrived, the block of recipients with the reason and what to do about it; of a late one until when
it will be tried. About a mailbox: whose it is, its size and its messages, and how many of both it may have.
About an alarm: what happened, what to do, the setting, whom it is about, when it was seen."""

_REQUIRED = {
    ReportKind.FAILED: ("recipients", "nobody would learn what happened"),
    ReportKind.DELAYED: ("recipients", "nobody would learn what happened"),
    ReportKind.DELIVERED: ("recipients", "nobody would learn who has it"),
    ReportKind.RELAYED: ("recipients", "nobody would learn whom it is for"),
    ReportKind.QUOTA: ("account", "nobody would learn whose mailbox is full"),
    ReportKind.ALARM: ("what", "nobody would learn what happened"),
}


class ReportTextError(ValueError):
    """The text is no usable template; the message says why."""


@attrs.frozen
class ReportText:
    """A template.

    Attributes:
        subject: one line, not empty.
        body: lines parted by "\\n".
    """

    subject: str
    body: str

    def fill(self, values: Mapping[str, str]) -> ReportText:
        """Put in the values; a placeholder that is not among them stays as it is."""
        return ReportText(
            string.Template(self.subject).safe_substitute(values),
            string.Template(self.body).safe_substitute(values),
        )


def parse_report_text(text: str, kind: ReportKind) -> ReportText:
    """Read a template: comment lines with `#`, a line `Subject: …`, an empty line, the body.

    Raises:
        ReportTextError: no subject, no body, a placeholder that is missing or that this kind has not, a stray
            `$`.
    """
    lines = text.splitlines()
    while lines and (lines[0].startswith("#") or not lines[0].strip()):
        del lines[0]
    keyword, _, subject = (lines[0] if lines else "").partition(":")
    if keyword.strip().lower() != "subject" or not subject.strip():
        raise ReportTextError('the first line that is no comment must be "Subject: " and a text')
    if len(lines) < 2 or lines[1].strip():
        raise ReportTextError("an empty line must follow the subject")
    body = "\n".join(lines[2:]).strip("\n") + "\n"
    _check_placeholders(f"{subject}\n{body}", PLACEHOLDERS[kind])
    required, why = _REQUIRED[kind]
    if required not in string.Template(body).get_identifiers():
        raise ReportTextError(f"${required} is missing from the body: {why}")
    return ReportText(subject.strip(), body)


def _check_placeholders(text: str, known: frozenset[str]) -> None:
    template = string.Template(text)
    if not template.is_valid():
        raise ReportTextError("a $ that begins no placeholder; write $$ for the character itself")
    unknown = sorted(set(template.get_identifiers()) - known)
    if unknown:
        names = ", ".join(f"${name}" for name in sorted(known))
        raise ReportTextError(f"unknown placeholder ${unknown[0]}; there are {names}")


BUILT_IN = {
    ReportKind.FAILED: ReportText(
        "Your message could not be delivered",
        """\
This is the mail server at $hostname.

Your message of $arrived could not be delivered to:

$recipients

Nobody will try again: the message was given up for the addresses above. The
header of your message is attached. If you need help, forward this report to
$postmaster and name the queue id $queue_id.
""",
    ),
    ReportKind.DELAYED: ReportText(
        "Your message is delayed",
        """\
This is the mail server at $hostname.

This is only a warning: YOU NEED NOT SEND YOUR MESSAGE AGAIN.

Your message of $arrived has not been delivered yet to:

$recipients

It is kept here and will be tried again until $until. If it cannot be delivered,
you will get another report. If you need help, forward this report to
$postmaster and name the queue id $queue_id.
""",
    ),
    ReportKind.DELIVERED: ReportText(
        "Your message has been delivered",
        """\
This is the mail server at $hostname.

You asked to be told: your message of $arrived has been delivered to:

$recipients

It lies in the mailbox; whether somebody has read it, nobody can say. If you
have a question, forward this report to $postmaster and name
the queue id $queue_id.
""",
    ),
    ReportKind.RELAYED: ReportText(
        "Your message has been passed on",
        """\
This is the mail server at $hostname.

You asked to be told: your message of $arrived has been passed on to the next
server for:

$recipients

That server does not report deliveries, so you will not be told when the message
arrives. If you have a question, forward this report to $postmaster
and name the queue id $queue_id.
""",
    ),
    ReportKind.QUOTA: ReportText(
        "The mailbox $account is full",
        """\
This is the mail server at $hostname.

The mailbox of $account is full:

    size:     $usage, allowed: $quota
    messages: $messages, allowed: $quota_messages

NEW MAIL FOR IT IS NOT TAKEN until there is room again. Other servers keep such
mail for some days and try again, so nothing is lost yet.

Fetch the mail and delete from the server what is not needed any more. If the
mailbox is to hold more, ask $postmaster.
""",
    ),
    ReportKind.ALARM: ReportText(
        "Alarm: $what",
        """\
This is the mail server at $hostname.

$what.

What to do: $advice

It was seen at $time and is reported once, until it has been quiet for an
hour. The security log has more. The setting is $limit.
""",
    ),
}
