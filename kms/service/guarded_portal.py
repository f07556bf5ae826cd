"""The portal behind the login guard: every login of SMTP and POP3 passes here, and nothing else does."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import Interface

from kms.domain.address_group import ClientAddress
from kms.service.login_checker import Login, LoginChecker
from kms.service.login_guard import LoginGuard
from kms.service.portal import LoginPortal, Realm, WindowChecker


class GuardedPortal(LoginPortal):
    """A portal that asks the guard before a login is checked, and tells it of a wrong one.

    Args:
        realm, logins, windows: as those of a login portal.
        guard: refuses with LoginRefused.
    """

    def __init__(self, realm: Realm, logins: LoginChecker, windows: WindowChecker, guard: LoginGuard) -> None:
        super().__init__(realm, logins, windows)
        self._guard = guard

    def login(self, credentials: Any, mind: object, *interfaces: type[Interface]) -> Deferred[Any]:
        """See `Portal`; `mind` is the client's address."""
        prove = super().login
        if not isinstance(credentials, Login):
            return prove(credentials, mind, *interfaces)
        assert isinstance(mind, ClientAddress)
        secret = credentials.proof if isinstance(credentials.proof, str) else None
        watched = self._guard.watch(
            mind, credentials.user, secret, lambda: prove(credentials, mind, *interfaces)
        )
        return Deferred.fromCoroutine(watched)
