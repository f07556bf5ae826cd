"""A message as the client sends it, and what is known of the server that gets it.

Promises: octets that could end a command early never get into one: `OutgoingMessage.prepare` makes every
message, and it sorts such addresses out. Addresses are sent as the envelope has them, never rewritten.

Flow: service/remote_delivery.py prepares a message once for all the servers it may be offered to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import attrs

from kms.domain import reply as replies
from kms.domain.content import Content, InlineContent
from kms.domain.envelope import Envelope, Recipient
from kms.domain.reply import Reply

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@attrs.define
class OutgoingMessage:
    """A message ready to be sent: addresses checked and encoded.

    Attributes:
        mail_command: `MAIL FROM:<…>` without parameters and line end.
        rcpt_commands: the whole RCPT line, by recipient id; may be empty.
        octets: size of the content in wire form.
        is_8bit: the next hop must offer 8BITMIME.
        data: the content, where it is held whole; None when it is read from a file.
    """

    mail_command: bytes
    rcpt_commands: dict[int, bytes]
    octets: int
    is_8bit: bool
    data: bytes | None

    @classmethod
    def prepare(
        cls, envelope: Envelope, recipients: Iterable[Recipient], content: Content
    ) -> tuple[OutgoingMessage, dict[int, Reply]]:
        """Encode what can be sent, and say why the other recipients cannot be reached by anybody.

        Returns:
            The message with its sendable recipients, and a 5yz reply for each of the others.
        """
        sender = str(envelope.reverse_path) if envelope.reverse_path else ""
        sender_refusal = _judge_address(sender, replies.UNSENDABLE_SENDER)
        commands: dict[int, bytes] = {}
        refused: dict[int, Reply] = {}
        for recipient in recipients:
            address = str(recipient.forward_path)
            refusal = sender_refusal or _judge_address(address, replies.UNSENDABLE_RECIPIENT)
            if refusal:
                refused[recipient.recipient_id] = refusal
            else:
                commands[recipient.recipient_id] = f"RCPT TO:<{address}>\r\n".encode("ascii")
        mail_command = b"" if sender_refusal else f"MAIL FROM:<{sender}>".encode("ascii")
        data = content.data if isinstance(content, InlineContent) else None
        is_8bit = envelope.is_8bit and not (data is not None and data.isascii())
        return cls(mail_command, commands, content.octets, is_8bit, data), refused


def _judge_address(address: str, unsendable: Reply) -> Reply | None:
    if not address.isascii():
        return replies.NEEDS_SMTPUTF8
    return unsendable if _CONTROL.search(address) else None


@attrs.frozen
class ServerTraits:
    """What is known of the server when a transaction begins.

    Attributes:
        where: the hop, as outcomes name it.
        tls: protocol and cipher; None in clear text.
        is_lmtp: one answer for each recipient follows the dot.
        has_pipelining: commands may go in groups (RFC 2920).
        takes_8bit: 8BITMIME is offered (RFC 6152).
        size_limit_octets: None = SIZE is not offered; 0 = offered without a limit (RFC 1870).
    """

    where: str
    tls: str | None = None
    is_lmtp: bool = False
    has_pipelining: bool = False
    takes_8bit: bool = False
    size_limit_octets: int | None = None
