"""The server's SMTP session: a client that says anything.

The first octet sets switches of the service (`_settings_of`), the second the size of pieces; the rest is what the
client sends. What comes after a STARTTLS that was obeyed is never read, so TLS is a switch of its own.
"""

from kms.domain import reply as replies
from kms.domain.envelope import Recipient
from kms.domain.reply import Reply
from kms.protocol.dsn_parameters import print_message_request, print_recipient_request
from kms.protocol.smtp_events import ContentEnded, Event, RecipientOffered, SenderOffered
from kms.protocol.smtp_server import BareNewlines, SmtpServerSession, SmtpServerSettings
from tests.fuzz.promises import (
    check_no_bare_newlines,
    check_printable,
    check_smtp_replies,
    pieces,
    split_options,
)
from tests.support.dialogue import ScriptedReception

MOST_BUFFERED_OCTETS = 2 * 12288

ANSWERS: dict[str, Reply] = {
    "MAIL <later@client.example>": replies.LOW_DISK_SPACE,
    "RCPT <nobody@example.org>": replies.UNKNOWN_RECIPIENT,
    "RCPT <far@elsewhere.example>": replies.relaying_denied("far@elsewhere.example"),
    "LOGIN anna secret": replies.AUTHENTICATED,
    "LOGIN anna later": replies.AUTHENTICATION_TROUBLE,
}


def _settings_of(options: int) -> SmtpServerSettings:
    return SmtpServerSettings(
        "mail.example.org",
        max_message_octets=64 if options & 1 else 0,
        max_failed_commands=3 if options & 2 else 0,
        bare_newlines=BareNewlines.NORMALISE if options & 4 else BareNewlines.REJECT,
        needs_authentication=bool(options & 8),
        offers_starttls=bool(options & 16),
        offers_dsn=True,
    )


def _play(stream: bytes, size: int, options: int) -> tuple[bytes, list[Event], bool]:
    session = SmtpServerSession(
        _settings_of(options), is_encrypted=bool(options & 32), may_send_plain_passwords=bool(options & 64)
    )
    reception = ScriptedReception(dict(ANSWERS))
    session.greet(replies.NOT_SMTP if options & 128 else replies.greeting("mail.example.org"))
    said = b""
    for piece in pieces(stream, size):
        session.receive_data(piece)
        reception.serve(session)
        assert session.buffered_octets <= MOST_BUFFERED_OCTETS
        check_printable(session.client_name)
        said += session.data_to_send()
    return said + session.data_to_send(), reception.events, session.is_closing


def _check_event(event: Event) -> None:
    match event:
        case ContentEnded(data):
            check_no_bare_newlines(data)
        case SenderOffered(path):
            check_printable(str(path or ""))
            check_printable(print_message_request(event.request))
        case RecipientOffered(path):
            check_printable(str(path))
            command = print_recipient_request(Recipient(1, path, path, event.request))
            assert command.isascii(), command
            check_printable(command)


def run(data: bytes) -> None:
    options, size, stream = split_options(data)
    whole = _play(stream, 0, options)
    check_smtp_replies(whole[0])
    for event in whole[1]:
        _check_event(event)
    assert _play(stream, size, options) == whole, f"another session in pieces of {size}"
