"""The fields that reception puts before a content: the trace line, and what a submission lacks (RFC 6409 8)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from kms.domain.address import Mailbox
from kms.domain.message import has_field
from kms.domain.queue_entry import format_queue_id
from kms.domain.trace import TraceFacts, compose_received, format_date
from kms.policy.relay import RelayMode, RelayRules
from kms.service.visit import Transaction, Visit


class TraceFields:
    """Composes them.

    Args:
        hostname: of this server.
        relay_rules: give the relay group, whose addresses may be hidden; asked anew for each message.
        hides_local_ip: leave out the address of clients in the relay group.
        discloses_login: name the authenticated account.
    """

    def __init__(
        self,
        hostname: str,
        relay_rules: Callable[[], RelayRules],
        hides_local_ip: bool = False,
        discloses_login: bool = False,
    ) -> None:
        self._hostname = hostname
        self._relay_rules = relay_rules
        self.hides_local_ip = hides_local_ip
        self.discloses_login = discloses_login

    def compose(self, visit: Visit, transaction: Transaction, header: bytes) -> bytes:
        """Compose the fields for one message, given as much of its header as is known."""
        content = transaction.content
        assert content is not None
        recipient = transaction.only_recipient
        if recipient is not None and not recipient.is_ascii and header.isascii():
            recipient = None  # this field alone would bar the message from servers without SMTPUTF8
        fields = self._received(visit, recipient, content.number, content.started_at)
        if visit.is_submission:
            fields += self._missing_fields(header, content.number, content.started_at)
        return fields

    def _received(self, visit: Visit, recipient: Mailbox | None, number: int, at: datetime) -> bytes:
        session = visit.session
        login = visit.account.login if visit.account and self.discloses_login else None
        facts = TraceFacts(
            client_name=session.client_name,
            client_address=None if self.hides_local_ip and self._is_hidden(visit) else visit.client,
            hostname=self._hostname,
            protocol=visit.protocol_word,
            tls=visit.describe_tls(),
            queue_id=format_queue_id(number),
            recipient=recipient,
            login=login,
            at=at,
        )
        return compose_received(facts)

    def _is_hidden(self, visit: Visit) -> bool:
        rules = self._relay_rules()
        if rules.mode is RelayMode.OPEN or rules.address_group is None:
            return False
        return visit.client in rules.address_group

    def _missing_fields(self, header: bytes, number: int, at: datetime) -> bytes:
        fields = b""
        if not has_field(header, b"date"):
            fields += f"Date: {format_date(at)}\r\n".encode("ascii")
        if not has_field(header, b"message-id"):
            fields += f"Message-ID: <{format_queue_id(number)}@{self._hostname}>\r\n".encode("ascii")
        return fields
