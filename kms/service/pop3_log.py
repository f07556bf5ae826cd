"""Where POP3 sessions are told of: the mail log, and failures in the security log."""

from __future__ import annotations

from typing import Protocol

from kms.domain.address_group import ClientAddress
from kms.service.mail_log import MailLog
from kms.service.security_log import SecurityLog


class Pop3Log(Protocol):
    """Where logins and their ends are written."""

    def logged_in(self, login: str, client: ClientAddress, tls: str | None) -> None:
        """A login succeeded; `tls` names version and cipher."""
        ...

    def login_failed(self, login: str, client: ClientAddress, mechanism: str) -> None:
        """A login was answered [AUTH]; `login` is as the client wrote it."""
        ...

    def ended(self, login: str, client: ClientAddress, deleted: int) -> None:
        """A session that was logged in is over, and has removed so many messages."""
        ...


class Pop3Logs:
    """Writes into the server's own logs."""

    def __init__(self, mail_log: MailLog, security_log: SecurityLog) -> None:
        self._mail_log = mail_log
        self._security_log = security_log

    def logged_in(self, login: str, client: ClientAddress, tls: str | None) -> None:
        """A login succeeded."""
        self._mail_log.logged_in(login, client, tls)

    def ended(self, login: str, client: ClientAddress, deleted: int) -> None:
        """A session that was logged in is over."""
        self._mail_log.ended(login, client, deleted)

    def login_failed(self, login: str, client: ClientAddress, mechanism: str) -> None:
        """A login was answered [AUTH]."""
        self._security_log.pop3_login_failed(client, mechanism)
