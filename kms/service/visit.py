"""One SMTP session as the reception sees it: who is there, and the transaction under way."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from kms.domain.account import Account
from kms.domain.address import Mailbox
from kms.domain.address_group import ClientAddress
from kms.domain.decision import Decision, Stage
from kms.domain.dsn_request import MessageRequest, RecipientRequest
from kms.domain.envelope import Recipient
from kms.policy.limits import client_key
from kms.policy.relay import Authentication
from kms.protocol.smtp_server import SmtpServerSession
from kms.service.client_ledger import Place
from kms.service.incoming import IncomingContent


@attrs.define
class Transaction:
    """From an accepted MAIL to the end of data (RFC 5321 3.3).

    Attributes:
        recipients: final targets so far, nobody twice.
        accepted: how many RCPT were answered 250; more or fewer than the targets, because of aliases.
        only_recipient: what the only accepted RCPT named; None with none, or with several.
        content: what has come of the message; None before DATA.
        place: of the message among those of its client in an hour; None where it is not counted.
        decisions: why it has come so far: when, about whom, and what was decided.
        request: what MAIL asked of reports.
    """

    reverse_path: Mailbox | None
    recipients: dict[Mailbox, Recipient] = attrs.field(factory=dict)
    accepted: int = 0
    only_recipient: Mailbox | None = None
    content: IncomingContent | None = None
    place: Place | None = None
    decisions: list[tuple[Stage, str, Decision]] = attrs.field(factory=list)
    request: MessageRequest | None = None

    def give_back_place(self) -> None:
        """The transaction is over; nothing happens where its message was counted."""
        if self.place is not None:
            self.place.give_back()

    def add(
        self, targets: tuple[Mailbox, ...], original: Mailbox, request: RecipientRequest | None = None
    ) -> None:
        """Add the targets of one accepted RCPT."""
        self.accepted += 1
        self.only_recipient = original if self.accepted == 1 else None
        if request is not None and len(targets) > 1:
            request = request.expand()
        for target in targets:
            if target not in self.recipients:
                self.recipients[target] = Recipient(len(self.recipients) + 1, target, original, request)


def _no_tls() -> None:
    return None


def _no_address() -> None:
    return None


@attrs.define
class Visit:
    """One SMTP session.

    Attributes:
        client: its IP address.
        session: the protocol session.
        is_submission: the service is submission (587, 465), where only AUTH counts for relaying.
        describe_tls: describes the encryption, for the trace line; None in clear text.
        server_address: tells the address of ours that the client has connected to; asked only where it
            matters, for it costs a system call.
        account: who logged in; None before the session has said so.
        ahead_seconds: how far ahead of now a made-up session is (`kmsctl explain --at`); 0 for a real one.
        made_up_unknown_recipients: those of a made-up session, which nobody counts.
        is_counted: it is one of the connections of its client in the ledger.
        is_over: the connection is lost; what is still waited for has no effect.
        client_key: whom the client is counted for (see policy/limits.py).
    """

    client: ClientAddress
    session: SmtpServerSession
    is_submission: bool = False
    describe_tls: Callable[[], str | None] = _no_tls
    server_address: Callable[[], ClientAddress | None] = _no_address
    _account: Account | None = None
    is_counted: bool = False
    is_over: bool = False
    transaction: Transaction | None = None
    ahead_seconds: float = 0.0
    made_up_unknown_recipients: int = 0
    client_key: str = attrs.field(init=False)

    @client_key.default
    def _name_client(self) -> str:
        return client_key(self.client)

    @property
    def account(self) -> Account | None:
        """Who logged in: known once 235 is said, and no longer than that holds."""
        return None if self.session.login_name is None else self._account

    @account.setter
    def account(self, account: Account | None) -> None:
        self._account = account

    @property
    def authentication(self) -> Authentication:
        """The three-valued fact of the relay policy."""
        if self.session.login_name is not None:
            return Authentication.SUCCEEDED
        return Authentication.FAILED if self.session.has_failed_login else Authentication.NONE

    @property
    def protocol_word(self) -> str:
        """The word for trace line and log (RFC 3848): S for TLS, A for AUTH, both only with EHLO.

        RFC 6531 4.3: in a transaction with SMTPUTF8 it is another one.
        """
        session = self.session
        if not session.is_extended and not session.is_smtputf8:
            return "SMTP"
        if session.is_lmtp:
            word = "UTF8LMTP" if session.is_smtputf8 else "LMTP"
        else:
            word = "UTF8SMTP" if session.is_smtputf8 else "ESMTP"
        return word + ("S" if session.is_encrypted else "") + ("A" if session.login_name is not None else "")

    def drop_transaction(self) -> None:
        """Forget the transaction and whatever came of its content."""
        if self.transaction is not None:
            if self.transaction.content is not None:
                self.transaction.content.discard()
            self.transaction.give_back_place()
        self.transaction = None


def transaction_of(visit: Visit) -> Transaction:
    """The transaction that is under way, as it must be at RCPT."""
    assert visit.transaction is not None, "the session lets RCPT through only within a transaction"
    return visit.transaction
