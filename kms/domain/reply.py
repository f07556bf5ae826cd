"""Replies of SMTP: a code, an enhanced status and a text; and the table of every reply that kms ever sends.

To change what the server says, change it here; `tests/dialogues/` shows where it is said. Texts to a client
are generic: detail goes to the log. A reply that a remote server gave is a `Reply` too (see smtp_client).
"""

from __future__ import annotations

import attrs

from kms.domain import status
from kms.domain.status import EnhancedStatus

MAX_LINE_OCTETS = 512


@attrs.frozen
class Reply:
    """One reply (RFC 5321 4.2), of one or several lines.

    Attributes:
        code: three digits; the first says success (2), more input wanted (3), try again (4), never (5).
        status: enhanced status code; None where RFC 2034 4 asks for none.
        text: without code and status; "\\n" separates the lines of a multi-line reply.
    """

    code: int
    status: EnhancedStatus | None
    text: str
    _wire: bytes = attrs.field(init=False, eq=False, repr=False, default=b"")

    @property
    def wire(self) -> bytes:
        """Its lines as they are sent; made when first asked for, since replies of others never are."""
        if not self._wire:
            object.__setattr__(self, "_wire", self._encode("ascii"))
        return self._wire

    @property
    def utf8_wire(self) -> bytes:
        """The same for a client that has said SMTPUTF8 (RFC 6531 3.7.4): what is not ASCII stays."""
        return self.wire if self.text.isascii() else self._encode("utf-8")

    def _encode(self, charset: str) -> bytes:
        line = f"{self}\r\n".encode(charset, "replace")
        fits = len(line) <= MAX_LINE_OCTETS and "\n" not in self.text
        return line if fits else self._encode_lines(charset)

    def _encode_lines(self, charset: str) -> bytes:
        prefix = f"{self.status} " if self.status else ""
        lines = self.text.split("\n")
        last = len(lines) - 1
        return b"".join(
            _cut(f"{self.code}{' ' if number == last else '-'}{prefix}{line}".encode(charset, "replace"))
            + b"\r\n"
            for number, line in enumerate(lines)
        )

    @property
    def is_success(self) -> bool:
        """The command did what it should (2yz)."""
        return 200 <= self.code < 300

    @property
    def is_transient(self) -> bool:
        """Try again later (4yz)."""
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        """Do not try again (5yz)."""
        return 500 <= self.code < 600

    def with_decision(self, decision_id: str) -> Reply:
        """Name the record of the decision behind it, last in the reply and in brackets."""
        return Reply(self.code, self.status, f"{self.text} ({decision_id})")

    def __str__(self) -> str:
        prefix = f"{self.status} " if self.status else ""
        return f"{self.code} {prefix}{self.text}".replace("\n", " ")


def _cut(line: bytes) -> bytes:
    """Cut what is too long for a line, and not within a character."""
    line = line[: MAX_LINE_OCTETS - 2]
    return line if line.isascii() else line.decode("utf-8", "ignore").encode()


# Connection

CLOSING = Reply(221, status.OK, "Bye")
SHUTTING_DOWN = Reply(421, EnhancedStatus(4, 3, 2), "Service shutting down, try again later")
IDLE_TOO_LONG = Reply(421, EnhancedStatus(4, 4, 2), "Timeout, closing connection")
DATA_TOO_SLOW = Reply(421, EnhancedStatus(4, 4, 2), "Message comes too slowly, closing connection")
SESSION_TOO_LONG = Reply(421, EnhancedStatus(4, 4, 2), "Session lasted too long, closing connection")
TOO_MANY_ERRORS = Reply(421, status.EnhancedStatus(4, 7, 0), "Too many errors, closing connection")
ACCOUNT_DISABLED = Reply(421, EnhancedStatus(4, 7, 0), "Your account is not enabled, closing connection")
TOO_MANY_FAILED_LOGINS = Reply(421, EnhancedStatus(4, 7, 0), "Too many failed logins, closing connection")
NOT_SMTP = Reply(554, EnhancedStatus(5, 5, 1), "This is a mail server")
ONLY_QUIT = Reply(503, status.INVALID_COMMAND, "Not served here; only QUIT is left")
LINE_WITHOUT_END = Reply(421, EnhancedStatus(4, 5, 0), "Line without end, closing connection")
BLOCKED_FOR_HARVESTING = Reply(
    421, EnhancedStatus(4, 7, 0), "Your address is blocked: too many unknown recipients; try again later"
)
TOO_MANY_CONNECTIONS = Reply(
    421, EnhancedStatus(4, 7, 0), "Too many connections from your address, try again later"
)
NO_PTR_RECORD = Reply(554, EnhancedStatus(5, 7, 25), "Your address has no reverse DNS entry (PTR)")
PTR_LOOKUP_TROUBLE = Reply(
    421, EnhancedStatus(4, 7, 25), "The reverse DNS entry of your address cannot be looked up now"
)


def greeting(hostname: str, protocol: str = "ESMTP") -> Reply:
    """Open the session; the version is never told."""
    return Reply(220, None, f"{hostname} {protocol} ready")


# Commands


def hello(hostname: str, extensions: tuple[str, ...] = ()) -> Reply:
    """Answer HELO, or EHLO with its extensions (RFC 5321 4.1.1.1); RFC 2034 4: no enhanced status here."""
    return Reply(250, None, "\n".join((hostname, *extensions)))


NOTHING_DONE = Reply(250, status.OK, "Ok")
RESET = Reply(250, status.OK, "Reset")
HELP = Reply(214, status.OK, "Commands: EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT STARTTLS AUTH")
CANNOT_VERIFY = Reply(252, status.CANNOT_VERIFY, "Cannot verify; send the mail, and it will be tried")
NO_LISTS = Reply(502, status.INVALID_COMMAND, "EXPN is not offered")
UNKNOWN_COMMAND = Reply(500, status.SYNTAX_ERROR, "Unknown command")
LINE_TOO_LONG = Reply(500, status.SYNTAX_ERROR, "Line too long")
LINE_HAS_BARE_NEWLINE = Reply(500, status.SYNTAX_ERROR, "Only CRLF ends a line")
NOT_ASCII = Reply(500, status.SYNTAX_ERROR, "Only ASCII may be used here")
BAD_ARGUMENTS = Reply(501, status.INVALID_ARGUMENTS, "Bad arguments")
NO_ARGUMENTS_ALLOWED = Reply(501, status.INVALID_ARGUMENTS, "This command takes no arguments")
HELLO_NEEDS_NAME = Reply(501, status.INVALID_ARGUMENTS, "A host name or address literal must follow")
HELLO_FIRST = Reply(503, status.INVALID_COMMAND, "Say EHLO or HELO first")
MAIL_FIRST = Reply(503, status.INVALID_COMMAND, "MAIL first")
RECIPIENT_FIRST = Reply(503, status.INVALID_COMMAND, "RCPT first")
NO_VALID_RECIPIENTS = Reply(554, status.INVALID_COMMAND, "No valid recipients")
NESTED_MAIL = Reply(503, status.INVALID_COMMAND, "A transaction is open already; RSET ends it")
UNKNOWN_PARAMETER = Reply(555, status.INVALID_ARGUMENTS, "Parameter not recognised")
BAD_PARAMETER = Reply(501, status.INVALID_ARGUMENTS, "Bad parameter value")
START_CONTENT = Reply(354, None, "Send the message, end with CRLF.CRLF")
CHUNK_TAKEN = Reply(250, status.OK, "Chunk received")
BAD_CHUNK = Reply(501, status.INVALID_ARGUMENTS, "Say BDAT octets [LAST]; closing connection")
NOT_AMONG_CHUNKS = Reply(503, status.INVALID_COMMAND, "BDAT has begun the message; RSET gives it up")
CHUNK_IS_MISSING = Reply(503, status.INVALID_COMMAND, "A chunk was refused before; RSET first")

# STARTTLS and AUTH

READY_FOR_TLS = Reply(220, status.OK, "Ready to start TLS")
TLS_NOT_OFFERED = Reply(502, status.INVALID_COMMAND, "STARTTLS is not offered")
TLS_ALREADY_ON = Reply(503, status.INVALID_COMMAND, "TLS is on already")
NOT_IN_TRANSACTION = Reply(503, status.INVALID_COMMAND, "Not within a transaction")


def challenge(base64_text: str) -> Reply:
    """Go on with an AUTH exchange (RFC 4954 4)."""
    return Reply(334, None, base64_text)


AUTHENTICATED = Reply(235, status.AUTHENTICATED, "Authentication successful")
AUTHENTICATION_FAILED = Reply(535, EnhancedStatus(5, 7, 8), "Authentication failed")
AUTHENTICATION_TROUBLE = Reply(454, EnhancedStatus(4, 7, 0), "Temporary authentication failure")
LOGIN_REFUSED = Reply(454, EnhancedStatus(4, 7, 0), "Too many failed logins, try again later")
AUTHENTICATION_CANCELLED = Reply(501, EnhancedStatus(5, 7, 0), "Authentication cancelled")
AUTHENTICATION_TOO_LONG = Reply(500, EnhancedStatus(5, 5, 6), "Authentication exchange line is too long")
BAD_LOGIN_DATA = Reply(501, EnhancedStatus(5, 5, 2), "Not what the mechanism asks for")
BAD_BASE64 = Reply(501, EnhancedStatus(5, 5, 2), "Not valid base64")
ALREADY_AUTHENTICATED = Reply(503, status.INVALID_COMMAND, "Authenticated already")
UNKNOWN_MECHANISM = Reply(504, status.INVALID_ARGUMENTS, "Mechanism not offered")
AUTH_NOT_OFFERED = Reply(503, status.INVALID_COMMAND, "AUTH is not offered")
ENCRYPTION_REQUIRED = Reply(538, EnhancedStatus(5, 7, 11), "Start TLS before this mechanism")
AUTHENTICATION_REQUIRED = Reply(530, EnhancedStatus(5, 7, 0), "Authentication required")

# MAIL

SENDER_OK = Reply(250, status.SENDER_OK, "Sender ok")
BAD_SENDER_SYNTAX = Reply(501, status.BAD_SENDER_SYNTAX, "Bad sender address syntax")
SENDER_NEEDS_SMTPUTF8 = Reply(553, EnhancedStatus(5, 6, 7), "An address outside ASCII needs SMTPUTF8")
SENDER_NOT_OWNED = Reply(553, status.NOT_AUTHORIZED, "This sender address is not yours to use")
LOCAL_SENDER_NEEDS_AUTH = Reply(553, status.NOT_AUTHORIZED, "Log in to send from a local address")
LOW_DISK_SPACE = Reply(452, status.SYSTEM_FULL, "Not enough free space, try again later")
DECLARED_TOO_LARGE = Reply(552, EnhancedStatus(5, 3, 4), "Message is larger than the limit")
TOO_MANY_MESSAGES = Reply(
    450, EnhancedStatus(4, 7, 1), "Too many messages from your address within an hour, try again later"
)
SENDER_DOMAIN_UNKNOWN = Reply(550, EnhancedStatus(5, 1, 8), "The sender's domain does not exist")
SENDER_DOMAIN_NULL_MX = Reply(550, EnhancedStatus(5, 7, 27), "The sender's domain takes no mail")
SENDER_DOMAIN_TROUBLE = Reply(451, EnhancedStatus(4, 1, 8), "The sender's domain cannot be looked up now")

ACCOUNT_HOUR_FULL = Reply(
    450, EnhancedStatus(4, 7, 1), "Your account has sent its messages of this hour, try later"
)
ACCOUNT_DAY_FULL = Reply(
    450, EnhancedStatus(4, 7, 1), "Your account has sent its messages of this day, try later"
)
ACCOUNT_MESSAGE_TOO_LARGE = Reply(
    552, EnhancedStatus(5, 3, 4), "Message is larger than your account may send"
)

# RCPT

RECIPIENT_OK = Reply(250, status.RECIPIENT_OK, "Recipient ok")
BAD_RECIPIENT_SYNTAX = Reply(501, status.BAD_MAILBOX_SYNTAX, "Bad recipient address syntax")
RECIPIENT_NEEDS_SMTPUTF8 = Reply(550, EnhancedStatus(5, 6, 7), "An address outside ASCII needs SMTPUTF8")
UNKNOWN_RECIPIENT = Reply(550, status.BAD_MAILBOX, "No such mailbox here")
TOO_MANY_UNKNOWN_RECIPIENTS = Reply(
    421, EnhancedStatus(4, 7, 0), "Too many unknown recipients, your address is blocked for a time"
)
MAILBOX_FULL = Reply(452, EnhancedStatus(4, 2, 2), "Mailbox is full")
MAILBOX_DISABLED = Reply(550, EnhancedStatus(5, 2, 1), "Mailbox is disabled")
TOO_MANY_RECIPIENTS = Reply(452, EnhancedStatus(4, 5, 3), "Too many recipients")
ALIAS_LOOP = Reply(550, status.ROUTING_LOOP, "Alias loop")
ALIAS_UNUSABLE = Reply(451, status.OTHER_SYSTEM_TROUBLE, "A list cannot be read now, try again later")
NO_POSTMASTER_YET = Reply(451, status.OTHER_SYSTEM_TROUBLE, "No postmaster yet, try again later")
OWN_DOMAINS_ONLY = Reply(550, status.NOT_AUTHORIZED, "This account may send to local domains only")

ACCOUNT_RECIPIENTS_FULL = Reply(
    450, EnhancedStatus(4, 7, 1), "Your account has written to its new recipients of this day, try later"
)


def relaying_denied(recipient: str) -> Reply:
    """Refuse a foreign recipient to a client that fulfils none of the relay conditions."""
    return Reply(550, status.NOT_AUTHORIZED, f"Relaying to <{_shortened(recipient)}> denied")


def _shortened(address: str) -> str:
    return address if len(address) <= 320 else address[:317] + "..."


# End of data

BARE_NEWLINE = Reply(550, EnhancedStatus(5, 6, 0), "Bare CR or LF in the message")
CONTENT_TOO_LARGE = Reply(552, EnhancedStatus(5, 3, 4), "Message is larger than the limit")
TOO_MANY_HOPS = Reply(554, status.ROUTING_LOOP, "Too many Received fields: a mail loop")
TROUBLE = Reply(451, status.OTHER_SYSTEM_TROUBLE, "Temporary trouble here, try again later")


def refused_by_route(text: str) -> Reply:
    """What a `[routes]` line `error:text` says."""
    return Reply(550, EnhancedStatus(5, 7, 1), text)


def queued(queue_id: str) -> Reply:
    """Take responsibility; said only after the commit (RFC 5321 6.1)."""
    return Reply(250, status.OK, f"Ok: queued as {queue_id}")


# Outcomes of our own making, where no server was there to answer

DELIVERED_TO_MAILBOX = Reply(250, status.OK, "delivered to mailbox")
ADDRESS_EXPANDED = Reply(
    250, EnhancedStatus(2, 1, 5), "the address stands for several; the message goes on to each of them"
)
MAILBOX_TROUBLE = Reply(451, status.OTHER_SYSTEM_TROUBLE, "mailbox cannot be written")
NO_SUCH_DOMAIN = Reply(550, status.BAD_DOMAIN, "the domain does not exist")
DOMAIN_TAKES_NO_MAIL = Reply(556, status.NULL_MX, "the domain takes no mail")
LIST_UNREADABLE = Reply(451, status.OTHER_SYSTEM_TROUBLE, "the alias's list cannot be read now")
NAMES_OTHERS_NOW = Reply(451, status.OTHER_SYSTEM_TROUBLE, "the alias is expanded, its targets are next")
DOMAIN_LOOKUP_FAILED = Reply(451, status.DIRECTORY_TROUBLE, "the domain cannot be looked up now")
LOOPS_BACK = Reply(554, status.ROUTING_LOOP, "mail for the domain would come back to this server")
ONLY_PRIVATE_HOSTS = Reply(450, status.UNABLE_TO_ROUTE, "the domain names only private addresses")
HOSTS_WITHOUT_ADDRESS = Reply(550, EnhancedStatus(5, 4, 4), "no mail server of the domain has an address")
NO_HOST_ANSWERED = Reply(450, status.NO_ANSWER_FROM_HOST, "no server of the domain answered")
CONNECTION_LOST = Reply(450, status.BAD_CONNECTION, "the connection was lost")
NEEDS_CONVERSION = Reply(554, status.CONVERSION_NEEDED, "the server takes no 8-bit text")
RETURNED_BY_OPERATOR = Reply(554, EnhancedStatus(5, 3, 0), "returned by the administrator")
DELIVERY_EXPIRED = Reply(554, EnhancedStatus(5, 4, 7), "not delivered in time")
DELIVERED_TO_LOOP = Reply(554, status.ROUTING_LOOP, "the message was in this mailbox already: a mail loop")

# The same, of an attempt to hand a message to the next hop

NEEDS_SMTPUTF8 = Reply(
    550, EnhancedStatus(5, 6, 7), "the server takes no addresses or header fields outside ASCII"
)
UNSENDABLE_SENDER = Reply(501, status.BAD_SENDER_SYNTAX, "the sender address holds control characters")
UNSENDABLE_RECIPIENT = Reply(501, status.BAD_MAILBOX_SYNTAX, "the address holds control characters")
TOO_LARGE_FOR_HOP = Reply(552, EnhancedStatus(5, 3, 4), "the message is larger than the server takes")
NO_ANSWER_IN_TIME = Reply(450, status.BAD_CONNECTION, "the server did not answer in time")
UNEXPECTED_ANSWER = Reply(451, EnhancedStatus(4, 5, 0), "the server's answer makes no sense")
TLS_NOT_OFFERED_BY_HOP = Reply(454, EnhancedStatus(4, 7, 4), "TLS is required, and not offered")
TLS_FAILED_AT_HOP = Reply(454, EnhancedStatus(4, 7, 5), "TLS with the server failed")
NOT_IN_STS_POLICY = Reply(
    451, EnhancedStatus(4, 7, 5), "the MTA-STS policy of the domain does not name this server"
)
TLSA_LOOKUP_FAILED = Reply(
    451, EnhancedStatus(4, 7, 5), "the TLSA records (DANE) of the server cannot be looked up now"
)
LOGIN_NOT_OFFERED_BY_HOP = Reply(454, EnhancedStatus(4, 7, 0), "the server offers no way to log in")
SMARTHOST_LOOKUP_FAILED = Reply(451, status.DIRECTORY_TROUBLE, "the next hop cannot be looked up now")
CONTENT_UNREADABLE = Reply(451, status.OTHER_SYSTEM_TROUBLE, "the message cannot be read from the spool now")
LOGIN_REFUSED_BY_HOP = Reply(454, EnhancedStatus(4, 7, 0), "the server refused our login")
