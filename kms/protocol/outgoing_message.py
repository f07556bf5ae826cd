"""A message as the client sends it, and what is known of the server that gets it.

Promises: octets that could end a command early never get into one: `OutgoingMessage.prepare` makes every
message, and it sorts such addresses out. Addresses are sent as the envelope has them, never rewritten.

Flow: service/remote_delivery.py prepares a message once for all the servers it may be offered to.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable

import attrs

from kms.domain import reply as replies
from kms.domain.content import Content, InlineContent
from kms.domain.envelope import Envelope, Recipient
from kms.domain.outcome import Handover
from kms.domain.reply import Reply
from kms.protocol.dsn_parameters import print_message_request, print_recipient_request

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@attrs.define
class OutgoingMessage:
    """A message ready to be sent: addresses checked and encoded.

    Attributes:
        mail_command: `MAIL FROM:<…>` without parameters and line end.
        rcpt_commands: the whole RCPT line, by recipient id; may be empty.
        octets: size of the content in wire form.
        is_8bit: the next hop must offer 8BITMIME.
        international: recipients that only a hop with SMTPUTF8 can serve, because of their own address, the
            sender's or the header (RFC 6531 3.2); by recipient id.
        data: the content, where it is held whole; None when it is read from a file.
        mail_parameters: what a hop with DSN is told at MAIL (RFC 3461 5.2.1); mostly empty.
        rcpt_parameters: the same at RCPT, for recipients with something to tell.
    """

    mail_command: bytes
    rcpt_commands: dict[int, bytes]
    octets: int
    is_8bit: bool
    international: frozenset[int]
    data: bytes | None
    mail_parameters: bytes = b""
    rcpt_parameters: dict[int, bytes] = attrs.field(factory=dict)

    def rcpt_command(self, number: int, takes_dsn: bool) -> bytes:
        """The whole RCPT line for a hop, with or without the parameters of DSN."""
        command = self.rcpt_commands[number]
        parameters = self.rcpt_parameters.get(number) if takes_dsn else None
        return command if parameters is None else command.removesuffix(b"\r\n") + parameters + b"\r\n"

    def only(self, numbers: Container[int]) -> OutgoingMessage:
        """The same message for fewer recipients."""
        commands = {number: line for number, line in self.rcpt_commands.items() if number in numbers}
        return attrs.evolve(self, rcpt_commands=commands)

    @classmethod
    def prepare(
        cls, envelope: Envelope, recipients: Iterable[Recipient], content: Content
    ) -> tuple[OutgoingMessage, dict[int, Reply]]:
        """Encode what can be sent, and say why the other recipients cannot be reached by anybody.

        Returns:
            The message with its sendable recipients, and a 5yz reply for each of the others.
        """
        sender = str(envelope.reverse_path) if envelope.reverse_path else ""
        sender_refusal = replies.UNSENDABLE_SENDER if _CONTROL.search(sender) else None
        is_international = envelope.has_utf8_header or not sender.isascii()
        commands: dict[int, bytes] = {}
        international: set[int] = set()
        refused: dict[int, Reply] = {}
        parameters: dict[int, bytes] = {}
        for recipient in recipients:
            number, address = recipient.recipient_id, str(recipient.forward_path)
            refusal = sender_refusal or (replies.UNSENDABLE_RECIPIENT if _CONTROL.search(address) else None)
            if refusal:
                refused[number] = refusal
                continue
            commands[number] = f"RCPT TO:<{address}>\r\n".encode()
            if recipient.request is not None:
                parameters[number] = print_recipient_request(recipient).encode()
            if is_international or not address.isascii():
                international.add(number)
        mail_command = b"" if sender_refusal else f"MAIL FROM:<{sender}>".encode()
        data = content.data if isinstance(content, InlineContent) else None
        is_8bit = envelope.is_8bit and not (data is not None and data.isascii())
        message = cls(
            mail_command=mail_command,
            rcpt_commands=commands,
            octets=content.octets,
            is_8bit=is_8bit,
            international=frozenset(international),
            data=data,
            mail_parameters=print_message_request(envelope.request).encode(),
            rcpt_parameters=parameters,
        )
        return message, refused


@attrs.frozen
class ServerTraits:
    """What is known of the server when a transaction begins.

    Attributes:
        where: the hop, as outcomes name it.
        tls: protocol and cipher; None in clear text.
        is_lmtp: one answer for each recipient follows the dot.
        has_pipelining: commands may go in groups (RFC 2920).
        takes_8bit: 8BITMIME is offered (RFC 6152).
        takes_utf8: SMTPUTF8 is offered (RFC 6531).
        takes_dsn: DSN is offered (RFC 3461).
        size_limit_octets: None = SIZE is not offered; 0 = offered without a limit (RFC 1870).
    """

    where: str
    tls: str | None = None
    is_lmtp: bool = False
    has_pipelining: bool = False
    takes_8bit: bool = False
    takes_utf8: bool = False
    takes_dsn: bool = False
    size_limit_octets: int | None = None

    @property
    def handover(self) -> Handover:
        """Who reports what becomes of a message this server took: LMTP without DSN ends at a mailbox (RFC 2033 1)."""
        if self.takes_dsn:
            return Handover.REPORTING
        return Handover.FINAL if self.is_lmtp else Handover.SILENT
