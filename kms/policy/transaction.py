"""The rules of one mail transaction that need nothing but numbers and facts.

Each function is one rule and gives the refusal, or None where the rule has nothing against it. A limit of 0
is no limit. Who may relay stands in relay.py, whose address something is in recipient.py.

Flow: asked by the service's checks at MAIL, RCPT and the end of DATA, in the order they choose.
"""

from __future__ import annotations

import attrs

from kms.domain import reply
from kms.domain.address import Mailbox
from kms.domain.reply import Reply
from kms.policy.limits import Limit


@attrs.frozen
class TransactionRules:
    """The settings of `[limits]` and `[relay]` that judge a single transaction.

    Attributes:
        max_recipients: recipients in one message; RFC 5321 4.5.3.1.8 wants 100 or more.
        max_message_octets: size of the data in wire form.
        max_received_hops: `Received` fields that a message may come with.
        min_free_octets: free space below which no new message is taken.
        sender_domain_must_exist: the domain of MAIL FROM needs MX, A or AAAA.
        sender_must_match_login: an authenticated client sends from its own addresses only.
        local_sender_needs_auth: a stranger may not use a sender in a local domain.
        observed: limits that only log.
    """

    max_recipients: int = 100
    max_message_octets: int = 20 * 1024 * 1024
    max_received_hops: int = 100
    min_free_octets: int = 100 * 1024 * 1024
    sender_domain_must_exist: bool = True
    sender_must_match_login: bool = False
    local_sender_needs_auth: bool = False
    observed: frozenset[Limit] = frozenset()


@attrs.frozen
class SenderFacts:
    """What the spoofing guard must know of a MAIL FROM.

    Attributes:
        reverse_path: None is the null reverse-path.
        is_local_sender: its domain is a local one.
        is_authenticated: the client has logged in.
        may_use_sender: the account may send as `reverse_path` (see `may_send_as`); False without a login.
        fulfils_a_condition: the client may relay, by whatever condition.
    """

    reverse_path: Mailbox | None
    is_local_sender: bool
    is_authenticated: bool
    may_use_sender: bool
    fulfils_a_condition: bool


def judge_free_space(free_octets: int, rules: TransactionRules) -> Reply | None:
    """At MAIL: is there room for another message?"""
    return reply.LOW_DISK_SPACE if free_octets < rules.min_free_octets else None


def judge_declared_size(declared_octets: int | None, rules: TransactionRules) -> Reply | None:
    """At MAIL: does the client itself say that the message is too large (RFC 1870 6.1)?

    Args:
        declared_octets: of the SIZE parameter; None = not said.
    """
    limit = rules.max_message_octets
    return reply.DECLARED_TOO_LARGE if limit and declared_octets and declared_octets > limit else None


def judge_sender_identity(facts: SenderFacts, rules: TransactionRules) -> Reply | None:
    """At MAIL: the spoofing guard. Not to be asked in open mode, where it changes nothing.

    The null reverse-path always passes (RFC 5321 4.5.5). A client that has logged in is no stranger, even
    where logins grant no relay: for it only `sender_must_match_login` counts.
    """
    if facts.reverse_path is None:
        return None
    if facts.is_authenticated:
        refuses = rules.sender_must_match_login and not facts.may_use_sender
        return reply.SENDER_NOT_OWNED if refuses else None
    if rules.local_sender_needs_auth and facts.is_local_sender and not facts.fulfils_a_condition:
        return reply.LOCAL_SENDER_NEEDS_AUTH
    return None


def judge_recipient_count(count_so_far: int, rules: TransactionRules) -> Reply | None:
    """At RCPT: may there be one more? Those accepted before stay accepted (RFC 5321 4.5.3.1.10).

    Args:
        count_so_far: recipients accepted in this transaction.
    """
    limit = rules.max_recipients
    return reply.TOO_MANY_RECIPIENTS if limit and count_so_far >= limit else None


def judge_hops(received_count: int, rules: TransactionRules) -> Reply | None:
    """At the end of DATA: has the message passed more servers than any sane one does (RFC 5321 6.3)?

    Args:
        received_count: `Received` fields that it came with, ours not counted.
    """
    limit = rules.max_received_hops
    return reply.TOO_MANY_HOPS if limit and received_count > limit else None
