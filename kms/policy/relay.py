"""May this client send to foreign domains? The heart of kms.

Facts in, verdict out; it depends on the client alone, never on what MAIL FROM claims and never on a route.
Any one of three conditions is enough: the address group, SMTP AUTH, a recent POP3 login from the address.
One exception, kept exactly: with the first two enabled, a client whose AUTH failed in this session is not
judged by the address group any more. So the fact `Authentication` has three values, not two.
"""

from __future__ import annotations

import enum

import attrs

from kms.domain.address_group import AddressGroup, ClientAddress


class RelayMode(enum.Enum):
    """RESTRICTED: known clients only. OPEN: no check at all, any client to any domain."""

    RESTRICTED = "restricted"
    OPEN = "open"


class Authentication(enum.Enum):
    """What SMTP AUTH has shown in this session.

    FAILED means answered 535, and only that: a cancelled exchange (501), an unknown mechanism (504) and a
    temporary failure (454) leave the value as it was. RSET, EHLO and a new transaction keep it.
    """

    NONE = "none"
    FAILED = "failed"
    SUCCEEDED = "succeeded"


@attrs.frozen
class RelayRules:
    """The settings of `[relay]` that decide who may relay.

    Attributes:
        mode: see `RelayMode`.
        address_group: clients that may relay, who are also the trusted servers; None = condition off.
        smtp_auth: authenticated clients may relay.
        pop_before_smtp: an open relay window of the client's address lets it relay.
    """

    mode: RelayMode = RelayMode.RESTRICTED
    address_group: AddressGroup | None = None
    smtp_auth: bool = True
    pop_before_smtp: bool = True


@attrs.frozen
class RelayFacts:
    """What is known of the client at this moment.

    Attributes:
        client: its IP address.
        authentication: what AUTH has shown in this session.
        has_open_window: somebody logged in over POP3 from this address within the window.
        needs_authentication: the service is submission (587, 465), where only AUTH counts.
        is_trust_suspended: the address behaves like a NAT gateway, so the address group does not count for it.
    """

    client: ClientAddress
    authentication: Authentication
    has_open_window: bool
    needs_authentication: bool = False
    is_trust_suspended: bool = False


class RelayVerdict(enum.Enum):
    """The answer; its value is the rule that decided, for logs and decision records."""

    OPEN_RELAY = "open relay"
    BY_ADDRESS_GROUP = "address group"
    BY_AUTHENTICATION = "smtp auth"
    BY_RELAY_WINDOW = "pop before smtp"
    DENIED = "no condition holds"
    DENIED_WITHOUT_TRUST = "the address behaves like a gateway, so the address group does not count"
    DENIED_AFTER_FAILED_AUTHENTICATION = "smtp auth failed, so the address group does not count"

    @property
    def is_allowed(self) -> bool:
        """True when the client may send to foreign domains."""
        return self not in _DENIALS


_DENIALS = (
    RelayVerdict.DENIED,
    RelayVerdict.DENIED_WITHOUT_TRUST,
    RelayVerdict.DENIED_AFTER_FAILED_AUTHENTICATION,
)


def judge_relay(facts: RelayFacts, rules: RelayRules) -> RelayVerdict:
    """Decide whether the client may send to foreign domains.

    Returns:
        The first condition that holds, in the order AUTH, address group, relay window; or why none does.
    """
    if rules.mode is RelayMode.OPEN:
        return RelayVerdict.OPEN_RELAY
    if rules.smtp_auth and facts.authentication is Authentication.SUCCEEDED:
        return RelayVerdict.BY_AUTHENTICATION
    if facts.needs_authentication:
        return RelayVerdict.DENIED
    in_group = rules.address_group is not None and facts.client in rules.address_group
    group_is_void = rules.smtp_auth and facts.authentication is Authentication.FAILED
    if in_group and not group_is_void and not facts.is_trust_suspended:
        return RelayVerdict.BY_ADDRESS_GROUP
    if rules.pop_before_smtp and facts.has_open_window:
        return RelayVerdict.BY_RELAY_WINDOW
    if not in_group:
        return RelayVerdict.DENIED
    return (
        RelayVerdict.DENIED_AFTER_FAILED_AUTHENTICATION
        if group_is_void
        else RelayVerdict.DENIED_WITHOUT_TRUST
    )
