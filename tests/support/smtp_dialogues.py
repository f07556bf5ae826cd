"""Plays dialogue files of tests/dialogues/reception/ on a whole SMTP side (see smtp_rig.py and dialogue.py).

Their GIVENs, one a line:

    client = 192.0.2.7            who connects; by default a stranger, 203.0.113.9
    submission, encrypted, hide_local_ip
    group = no                    no relay group; likewise mode = open, smtp_auth, pop_before_smtp
    max_recipients = 2            any field of TransactionRules; yes, no or a number
    messages_per_hour = 2         any limit of ClientLimits; the relay group is exempt
    observed = messages_per_hour  limits that only observe
    sent 2                        so many messages have come from the client
    connected 20                  so many connections of the client are open
    blocked                       the client is blocked for harvesting
    PTR 203.0.113.9               the address has a name; PTR-SERVFAIL: that cannot be known
    max_failed_commands = 2       and any other setting of the session, as in the other dialogues
    window 203.0.113.9            anna has logged in over POP3 from there
    MX there.example              the domain has an MX; likewise A, NODATA, SERVFAIL, NULL-MX; others: NXDOMAIN
    free 5                        octets on the disk
    error-route second.example    a line of [routes], "closed"
    full fritz                    his mailbox is full
    store fails                   the next commit fails
    disk fails                    the next body file cannot be written

`EVENT from -> to, to` tells the envelope that was stored last, `EVENT none` that none was.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import attrs

from kms.policy.block import BlockKind
from kms.policy.limits import ClientLimits, Limit, client_key
from kms.policy.relay import RelayMode, RelayRules
from kms.policy.transaction import TransactionRules
from kms.protocol.smtp_content import BareNewlines
from kms.service.mailboxes import MailboxUsage
from kms.store.schema import StoreError
from tests.support.results import result_of
from tests.support.smtp_rig import GROUP, STRANGER, SmtpRig, routes_giving_back

_RULES = {field.name for field in attrs.fields(TransactionRules)}
_LIMITS = {field.name for field in attrs.fields(ClientLimits)}
_RELAY = {"smtp_auth", "pop_before_smtp"}


class RigPeer:
    """A client of such a server, as dialogues need it."""

    def __init__(self, givens: Iterable[str], folder: Path) -> None:
        self._client = STRANGER
        self._relay: dict[str, Any] = {"address_group": GROUP}
        self._rules: dict[str, Any] = {"sender_domain_must_exist": False}
        self._limits: dict[str, Any] = {
            "messages_per_hour": 0,
            "connections_per_client": 0,
            "unknown_recipients": 0,
            "exempt_group": GROUP,
        }
        self._session: dict[str, Any] = {}
        self._service: dict[str, Any] = {}
        sentences = []
        for given in givens:
            name, equals, value = given.partition(" = ")
            if equals:
                self._set(name, value)
            elif given in ("submission", "encrypted", "hide_local_ip"):
                self._switch_on(given)
            else:
                sentences.append(given.split())
        observed = self._limits.get("observed", frozenset())
        self._rules["observed"] = observed
        self._session["observes_failed_commands"] = Limit.MAX_FAILED_COMMANDS in observed
        if "max_message_octets" in self._rules and Limit.MAX_MESSAGE_SIZE not in observed:
            self._session["max_message_octets"] = self._rules["max_message_octets"]
        relay, rules = RelayRules(**self._relay), TransactionRules(**self._rules)
        self.rig = SmtpRig(
            folder, relay, rules, None, self._session, self._service, ClientLimits(**self._limits)
        )
        self.rig.trace.hides_local_ip = self._hides
        for sentence in sentences:
            self._prepare(*sentence)
        self.client = self.rig.connect(self._client)
        self._unread = b""

    _hides = False

    def _set(self, name: str, value: str) -> None:
        match name:
            case "client":
                self._client = value
            case "group":
                self._relay["address_group"] = None
            case "mode":
                self._relay["mode"] = RelayMode(value)
            case "bare_newlines":
                self._session[name] = BareNewlines(value)
            case _ if name in _RELAY:
                self._relay[name] = value == "yes"
            case _ if name in _LIMITS:
                observed = frozenset(map(Limit, value.split())) if name == "observed" else None
                self._limits[name] = _convert(value) if observed is None else observed
            case _ if name in _RULES:
                self._rules[name] = _convert(value)
            case _:
                self._session[name] = _convert(value)

    def _switch_on(self, given: str) -> None:
        match given:
            case "submission":
                self._service["is_submission"] = self._session["needs_authentication"] = True
            case "encrypted":
                self._service["is_tls_at_once"] = True
            case _:
                self._hides = True

    def _prepare(self, what: str, *more: str) -> None:
        rig, value = self.rig, more[-1] if more else ""
        match what:
            case "window":
                result_of(rig.windows.open(ip_address(value), "anna@example.org"))
            case "free":
                rig.free_octets = int(value)
            case "full":
                rig.mailboxes.usages[f"{value}@example.org"] = MailboxUsage(1000, 1)
            case "error-route":
                rig.recipients.error_routes = routes_giving_back(*more)
            case "store":
                rig.database.failures.append(StoreError("the disk is full"))
            case "disk":
                rig.bodies.failures.append(OSError(28, "No space left on device"))
            case "sent" | "connected" | "blocked":
                self._make_busy(what, value)
            case _:
                self._add_record(what, value)

    def _make_busy(self, what: str, value: str) -> None:
        rig, client = self.rig, ip_address(self._client)
        match what:
            case "sent":
                for _ in range(int(value)):
                    rig.ledger.memory.count_message(client_key(client), rig.clock.monotonic())
            case "connected":
                for _ in range(int(value)):
                    rig.connect(self._client)
            case _:
                rig.ledger.block(client_key(client), BlockKind.HARVEST, timedelta(hours=1), "a test")

    def _add_record(self, kind: str, domain: str) -> None:
        resolver = self.rig.resolver
        match kind:
            case "MX":
                resolver.mx[domain] = [(10, "mx." + domain)]
            case "NULL-MX":
                resolver.mx[domain] = [(0, "")]
            case "A":
                resolver.addresses[domain] = ["192.0.2.200"]
            case "NODATA":
                resolver.mx[domain] = []
            case "SERVFAIL":
                resolver.failing.add(domain)
            case "PTR":
                resolver.names[domain] = ["client.example"]
            case "PTR-SERVFAIL":
                resolver.failing.add(domain)
            case _:
                raise ValueError(f"GIVEN what? {kind}")

    # As dialogue.Peer

    def send(self, data: bytes) -> None:
        self.client.send(data)

    def read_line(self) -> bytes | None:
        self._unread += self.client.wire.read()
        if not self._unread:
            self.rig.reactor.advance(0)  # a long pipeline takes the server several turns
            self._unread = self.client.wire.read()
        if not self._unread:
            return None
        line, _, self._unread = self._unread.partition(b"\r\n")
        return line

    def start_tls(self) -> None:
        assert self.client.wire.tls_context is self.rig.tls

    def is_closed(self) -> bool:
        return self.client.is_lost and not self._unread

    def last_event(self) -> str | None:
        envelopes = self.rig.envelopes()
        return envelopes[-1] if envelopes else "none"


def _convert(value: str) -> object:
    return value == "yes" if value in ("yes", "no") else int(value)
