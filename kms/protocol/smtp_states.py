"""The table of states of an SMTP server session: which commands each answers at once, and what follows it.

What is not in a state's table is carried out (RFC 5321 4.1.4). Content and AUTH exchanges are no states here:
while they last, no commands are read at all.
"""

from __future__ import annotations

import attrs

from kms.domain import reply
from kms.domain.reply import Reply
from kms.protocol.smtp_events import ContentEnded, ContentRefused, RecipientOffered, SenderOffered

_EVERYWHERE = {
    "NOOP": reply.NOTHING_DONE,
    "HELP": reply.HELP,
    "VRFY": reply.CANNOT_VERIFY,
    "EXPN": reply.NO_LISTS,
}

_IN_TRANSACTION = {
    **_EVERYWHERE,
    "MAIL": reply.NESTED_MAIL,
    "STARTTLS": reply.NOT_IN_TRANSACTION,
    "AUTH": reply.NOT_IN_TRANSACTION,
}

_AFTER_HELLO = ("MAIL", "RCPT", "DATA", "STARTTLS", "AUTH")
_ALL_BUT_QUIT = (*_AFTER_HELLO, *_EVERYWHERE, "EHLO", "HELO", "LHLO", "RSET")

# First words of a browser that was lured to this port (ALPACA).
_HTTP = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "PRI", "HOST:")


@attrs.frozen(eq=False)
class State:
    """One state; compared by identity.

    Attributes:
        name: for people.
        answers: by verb.
        answer_to_unknown: for verbs that do not exist.
        excused: verbs whose refusal counts as no fault of the client: they were in its pipeline already when
            the command before them was refused (RFC 2920 3.1).
        refusal_of_chunks: why BDAT is not carried out, after its octets were read; None = it is (RFC 3030 2).
        is_reading: commands are taken from the buffer.
        is_deaf: what arrives is thrown away.
        is_transaction: a sender was accepted.
    """

    name: str
    answers: dict[str, Reply] = attrs.field(factory=dict, repr=False)
    answer_to_unknown: Reply = reply.UNKNOWN_COMMAND
    excused: tuple[str, ...] = ()
    refusal_of_chunks: Reply | None = None
    is_reading: bool = True
    is_deaf: bool = False
    is_transaction: bool = False


UNGREETED = State("connected, not greeted", is_reading=False)

TURNED_AWAY = State(
    "greeted with 5yz",
    dict.fromkeys(_ALL_BUT_QUIT, reply.ONLY_QUIT),
    answer_to_unknown=reply.ONLY_QUIT,
    refusal_of_chunks=reply.ONLY_QUIT,
)

GREETED = State(
    "greeted, no EHLO",
    {
        **_EVERYWHERE,
        **dict.fromkeys(_AFTER_HELLO, reply.HELLO_FIRST),
        **dict.fromkeys(_HTTP, reply.NOT_SMTP),
    },
    refusal_of_chunks=reply.HELLO_FIRST,
)

_READY = {**_EVERYWHERE, "RCPT": reply.MAIL_FIRST, "DATA": reply.MAIL_FIRST}

READY = State("between transactions", _READY, refusal_of_chunks=reply.MAIL_FIRST)

MAIL_REFUSED = State(
    "MAIL refused", _READY, excused=("RCPT", "DATA", "BDAT"), refusal_of_chunks=reply.MAIL_FIRST
)

SENDER_GIVEN = State(
    "MAIL accepted",
    {**_IN_TRANSACTION, "DATA": reply.RECIPIENT_FIRST},
    refusal_of_chunks=reply.RECIPIENT_FIRST,
    is_transaction=True,
)

LMTP_SENDER_GIVEN = State(
    "MAIL accepted over LMTP, no RCPT yet",
    {
        **_IN_TRANSACTION,
        "DATA": reply.RECIPIENT_FIRST,
    },  # RFC 2033 4.2: 503, also where every RCPT was refused
    excused=("DATA", "BDAT"),
    refusal_of_chunks=reply.RECIPIENT_FIRST,
    is_transaction=True,
)

ALL_REFUSED = State(
    "MAIL accepted, every RCPT refused",
    {**_IN_TRANSACTION, "DATA": reply.NO_VALID_RECIPIENTS},
    excused=("DATA", "BDAT"),
    refusal_of_chunks=reply.NO_VALID_RECIPIENTS,
    is_transaction=True,
)

RECIPIENTS_GIVEN = State("RCPT accepted", _IN_TRANSACTION, is_transaction=True)

CHUNKS_BEGUN = State(
    "BDAT accepted, not the last",
    {**_IN_TRANSACTION, "RCPT": reply.NOT_AMONG_CHUNKS, "DATA": reply.NOT_AMONG_CHUNKS},
    is_transaction=True,
)

CHUNK_REFUSED = State(
    "BDAT refused, not the last",
    {**_IN_TRANSACTION, "RCPT": reply.CHUNK_IS_MISSING, "DATA": reply.CHUNK_IS_MISSING},
    excused=("RCPT", "DATA", "BDAT"),
    refusal_of_chunks=reply.CHUNK_IS_MISSING,
    is_transaction=True,
)

AWAITING_TLS = State("STARTTLS accepted", is_reading=False, is_deaf=True)

CLOSED = State("closing", is_reading=False, is_deaf=True)


def follow(
    state: State,
    question: SenderOffered | RecipientOffered | ContentEnded | ContentRefused,
    is_accepted: bool,
) -> State:
    """Give the state after the answer to a question that was asked in `state`."""
    match question:
        case RecipientOffered():
            return RECIPIENTS_GIVEN if is_accepted else after_refused_recipient(state)
        case SenderOffered():
            return SENDER_GIVEN if is_accepted else MAIL_REFUSED
    return state if state is CHUNK_REFUSED else READY


def after_refused_recipient(state: State) -> State:
    """Give the state after a refused RCPT: recipients accepted before stay accepted."""
    return ALL_REFUSED if state is SENDER_GIVEN else state
