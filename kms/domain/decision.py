"""What a rule has decided, and the facts that it saw.

Every accept, defer and reject by a rule is one `Decision`: a check makes it and does nothing else; the service
carries it out, records it, and ends the reply of a refusal with the record's id. Syntax and sequence errors
(500 to 504) are no decisions.
Flow: `service.*_check` make decisions; `service.decisions` applies them; `service.explanation` only shows them.
"""

from __future__ import annotations

import enum
import re
from datetime import datetime

import attrs

from kms.domain.address import Mailbox
from kms.domain.reply import Reply

Facts = dict[str, str | int | None]


class Stage(enum.Enum):
    """When it was decided; the value is the mail log's word."""

    CONNECT = "CONNECT"
    COMMAND = "COMMAND"
    MAIL = "MAIL"
    RCPT = "RCPT"
    CONTENT = "END-OF-MESSAGE"


class Rule(enum.Enum):
    """Every rule that decides; the value is a sentence for people, and stands in the records."""

    __hash__ = object.__hash__  # there is one object of each, and Enum's own hash is a call for every look-up

    # at connect
    CLIENT_FINE = "nothing speaks against the client"
    HARVEST_BLOCK = "the address is blocked since it tried too many unknown recipients"
    CONNECTIONS_PER_CLIENT = "the address has connections_per_client connections already"
    CLIENT_MUST_HAVE_PTR = "the address must have a PTR record (client_must_have_ptr)"

    # of the session itself
    FAILED_COMMANDS = "the client has made max_failed_commands faults already"
    DATA_RATE = "the client sends its message more slowly than minimum_data_rate"
    FAILED_LOGINS_OF_SESSION = "too many logins of this session were wrong"
    AUTHENTICATION_REQUIRED = "this port takes mail only from clients that have logged in"

    # at MAIL
    SENDER_FINE = "nothing speaks against the sender"
    ACCOUNT_DISABLED = "the account that logged in is not enabled any more"
    FREE_SPACE = "the disk has less free space than min_free_space"
    DECLARED_SIZE = "the declared size is above max_message_size"
    SENDER_MUST_MATCH_LOGIN = "the sender is no address of the account (sender_must_match_login)"
    LOCAL_SENDER_NEEDS_AUTH = "a stranger uses a sender in a local domain (local_sender_needs_auth)"
    MESSAGES_PER_HOUR = "the address has sent messages_per_hour messages within the last hour"
    SENDER_DOMAIN = "the sender's domain must exist and take mail (sender_domain_must_exist)"

    ACCOUNT_MESSAGES_PER_HOUR = "the account has sent its messages of the hour (account_messages_per_hour)"
    ACCOUNT_MESSAGES_PER_DAY = "the account has sent its messages of the day (account_messages_per_day)"
    ACCOUNT_MAX_MESSAGE_SIZE = "the message is larger than the account may send (account_max_message_size)"

    # at RCPT
    LOCAL_RECIPIENT = "the recipient is in a local domain, and exists"
    RELAY_DOMAIN = "the recipient is in a relay domain, whose mail is taken from anyone"
    OPEN_RELAY = "open relay: any client may send to any domain"
    RELAY_BY_ADDRESS_GROUP = "the client is in the relay address group"
    RELAY_BY_AUTHENTICATION = "the client has logged in (SMTP AUTH)"
    RELAY_BY_WINDOW = "a POP3 login from this address has opened a relay window"
    RELAY_DENIED = "the recipient is in a foreign domain, and no relay condition holds"
    RELAY_DENIED_AFTER_FAILED_AUTHENTICATION = (
        "the recipient is in a foreign domain; SMTP AUTH failed, so the address group does not count"
    )
    RELAY_DENIED_WITHOUT_TRUST = (
        "the recipient is in a foreign domain; the client behaves like a NAT gateway, so the address group does not"
        " count (suspend_gateway_trust)"
    )
    OWN_DOMAINS_ONLY = "the account may send to local domains only"
    ACCOUNT_NEW_RECIPIENTS = (
        "the account has written to its new recipients of the day (account_new_recipients_per_day)"
    )
    ERROR_ROUTE = "a line of [routes] gives mail for the domain back (error:)"
    MAX_RECIPIENTS = "the message has max_recipients already"
    UNKNOWN_RECIPIENT = "the local domain has no such recipient"
    DIRECTORY_HARVEST = "the address has tried unknown_recipients unknown recipients within the last hour"
    MAILBOX_DISABLED = "the recipient's account is not enabled"
    ALIAS_LOOP = "the recipient's aliases go round in a circle"
    ALIAS_UNUSABLE = "a list that the recipient's alias includes cannot be read now"
    NO_POSTMASTER = "there is no account yet that is postmaster"
    QUOTA = "the mailbox is full"

    # at the end of the content
    CONTENT_FINE = "nothing speaks against the content"
    MAX_RECEIVED_HOPS = "the content has more Received fields than max_received_hops"
    DELIVERED_TO_LOOP = "the content lay in a recipient's mailbox before (Delivered-To)"
    CONTENT_SIZE = "the content is larger than max_message_size"
    BARE_NEWLINES = "the content has a CR or LF that stands alone (bare_newlines)"


@attrs.define  # not frozen: several are made for each message; nobody changes one
class Decision:
    """The answer of one check.

    Attributes:
        rule: which rule decided.
        reply: what the client is to be told; the id of a refusal's record is added when it is applied.
        facts: what the rule saw, by name; numbers in the unit that the name ends in.
        targets: of an accepted recipient, who gets the message.
        observed: decisions against the client by limits that only observe; they were passed over.
    """

    rule: Rule
    reply: Reply
    facts: Facts = attrs.field(factory=dict)
    targets: tuple[Mailbox, ...] = ()
    observed: tuple[Decision, ...] = ()

    @property
    def is_refusal(self) -> bool:
        """The client did not get what it asked for, now or for ever."""
        return not self.reply.is_success


@attrs.frozen
class Record:
    """One decision as it is remembered.

    Attributes:
        number: of the record; its printed form is the decision id.
        at: when.
        client: its IP address.
        stage: when in the session.
        rule: as `Rule`'s value; a text, since an old record may name a rule of before.
        reply: what the client was told, without the id.
        facts: what the rule saw, and the envelope as far as it was known.
        is_observed: the limit only observes: the client was let through.
    """

    number: int
    at: datetime
    client: str
    stage: Stage
    rule: str
    reply: str
    facts: Facts
    is_observed: bool = False

    @property
    def decision_id(self) -> str:
        """The printed form of the number."""
        return format_decision_id(self.number)


# An id is six digits and capitals. The numbers behind them count up; so that neighbours look nothing alike, and
# nobody misreads one for another, they are multiplied by a constant that has an inverse.

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ID_LENGTH = 6
ID_COUNT = 36**_ID_LENGTH
_FACTOR = 1_000_000_007
_INVERSE = pow(_FACTOR, -1, ID_COUNT)
_ID = re.compile(f"[0-9A-Z]{{{_ID_LENGTH}}}")


def format_decision_id(number: int) -> str:
    """Print a record's number, `ID_COUNT` of which are different."""
    left = number * _FACTOR % ID_COUNT
    text = ""
    for _ in range(_ID_LENGTH):
        left, digit = divmod(left, 36)
        text = _DIGITS[digit] + text
    return text


def parse_decision_id(text: str) -> int | None:
    """Read what `format_decision_id` printed, in any case of letters; None when `text` is no decision id."""
    text = text.upper()
    if not _ID.fullmatch(text):
        return None
    number: int = int(text, 36) * _INVERSE % ID_COUNT
    return number
