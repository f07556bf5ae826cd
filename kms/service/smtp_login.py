"""Answers AUTH: has the portal prove a login, and tells the security log of a wrong one.

Whatever hinders the proof is 454, never 535: a fault of ours is no failed login.
"""

from __future__ import annotations

from twisted.cred.error import UnauthorizedLogin
from twisted.logger import Logger

from kms.domain import reply
from kms.domain.reply import Reply
from kms.protocol.smtp_events import LoginOffered, VerifierWanted
from kms.service.hashing_queue import LoginsBusy
from kms.service.login_checker import Login
from kms.service.login_guard import LoginRefused
from kms.service.portal import IRelayAvatar, LoginPortal, RelayAvatar
from kms.service.security_log import SecurityLog
from kms.service.visit import Visit


class SmtpLogins:
    """Logins over SMTP.

    Args:
        portal: proves them.
        log: is told of wrong ones.
    """

    def __init__(self, portal: LoginPortal, log: SecurityLog) -> None:
        self._portal = portal
        self._security_log = log
        self._log = Logger(namespace="kms.reception")

    async def log_in(self, visit: Visit, event: LoginOffered) -> Reply:
        """Answer a login: 235, 535, or 454 where it cannot be judged now."""
        login = Login(visit.client, event.mechanism, event.user, event.proof, event.authorization)
        try:
            _, avatar, _ = await self._portal.login(login, visit.client, IRelayAvatar)
        except UnauthorizedLogin:
            self._security_log.smtp_login_failed(visit.client, event.mechanism)
            return reply.AUTHENTICATION_FAILED
        except LoginRefused:
            return reply.LOGIN_REFUSED
        except LoginsBusy:
            return reply.AUTHENTICATION_TROUBLE
        except Exception:
            self._log.failure("A login could not be checked")
            return reply.AUTHENTICATION_TROUBLE
        assert isinstance(avatar, RelayAvatar)
        visit.account = avatar.account
        return reply.AUTHENTICATED

    async def fetch_verifier(self, event: VerifierWanted) -> Reply:
        """Answer what SCRAM asks for in the middle of its exchange."""
        try:
            return event.challenge(await self._portal.fetch_verifier(event.user))
        except Exception:
            self._log.failure("A login could not be checked")
            return reply.AUTHENTICATION_TROUBLE
