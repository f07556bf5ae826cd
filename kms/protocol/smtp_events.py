"""What an SMTP server session tells its listener: events, as values.

Six of them wait for a reply; meanwhile the session is paused. The others only inform.
They are made for every command of every message, so they are `attrs.define`: a frozen class costs three times
as much to make. Nobody changes one.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from kms.domain.address import Mailbox
from kms.domain.dsn_request import MessageRequest, RecipientRequest
from kms.domain.login import Proof
from kms.domain.reply import Reply
from kms.domain.scram import ScramVerifier


@attrs.define
class LoginOffered:
    """AUTH has brought a name and a proof. To answer: 235, 535, or 454 when it cannot be checked now.

    Attributes:
        mechanism: its name in the capitals of the registry.
        authorization: whom the client wants to act as; "" = as `user`.
        user: the login name as the client wrote it.
        proof: what it says proves it: the password, or what the mechanism makes of it.
    """

    mechanism: str
    authorization: str
    user: str
    proof: Proof = attrs.field(repr=False)


@attrs.define
class VerifierWanted:
    """AUTH needs what is kept of a password. To answer: what `challenge` makes of it (334), or 454.

    Attributes:
        user: as the client wrote it. For one who does not exist, the answer is made of a verifier all the same.
        challenge: goes on with the exchange; call it once.
    """

    user: str
    challenge: Callable[[ScramVerifier], Reply] = attrs.field(repr=False, eq=False)


@attrs.define
class SenderOffered:
    """MAIL names a reverse-path. To answer: 250, or why not.

    Attributes:
        reverse_path: None = null.
        declared_octets: what SIZE said (RFC 1870); None = nothing. Whether that is too large is the
            listener's to judge.
        is_8bit: BODY=8BITMIME was said (RFC 6152).
        is_smtputf8: SMTPUTF8 was said (RFC 6531), so addresses and header may be in UTF-8.
        request: what is asked of reports; None = nothing.
    """

    reverse_path: Mailbox | None
    declared_octets: int | None
    is_8bit: bool
    is_smtputf8: bool = False
    request: MessageRequest | None = None


@attrs.define
class RecipientOffered:
    """RCPT names a forward-path. To answer: 250, or why not.

    Attributes:
        forward_path: with the domain "" for the bare <Postmaster>.
        request: what is asked of reports; None = nothing.
    """

    forward_path: Mailbox
    request: RecipientRequest | None = None


@attrs.define
class ContentEnded:
    """The end of data has come. To answer: 250 once the message is safe, or why not; the transaction is over.

    Attributes:
        data: the last part of the content, after those of `ContentReceived`; a small message comes whole.
    """

    data: bytes


@attrs.define
class ContentReceived:
    """A part of the content: unstuffed, lines end in CRLF. No answer."""

    data: bytes


@attrs.define
class ContentRefused:
    """The content was read to its end, and a limit of the session refuses it: drop its parts.

    To answer: `reply`, with whatever is to be added to its text.

    Attributes:
        reply: why.
    """

    reply: Reply


@attrs.define
class TransactionAborted:
    """RSET, EHLO or HELO ended the transaction: forget its envelope. No answer."""


@attrs.define
class TlsRequested:
    """220 to STARTTLS is among the replies: send them, start TLS, call `tls_started()`. No answer."""


Question = LoginOffered | VerifierWanted | SenderOffered | RecipientOffered | ContentEnded | ContentRefused
Event = Question | ContentReceived | TransactionAborted | TlsRequested
