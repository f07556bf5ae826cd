"""The portal behind the login guard: every login of SMTP and POP3 passes here, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred
from zope.interface import Interface

from kms.domain.address_group import ClientAddress
from kms.service.login_guard import LoginGuard
from kms.service.portal import PasswordLogin


class GuardedPortal(Portal):
    """A portal that asks the guard before a password is checked, and tells it of a wrong one.

    Args:
        realm, checkers: as those of a portal.
        guard: refuses with LoginRefused.
    """

    def __init__(self, realm: IRealm, checkers: Iterable[ICredentialsChecker], guard: LoginGuard) -> None:
        super().__init__(realm, checkers)
        self._guard = guard

    def login(self, credentials: Any, mind: object, *interfaces: type[Interface]) -> Deferred[Any]:
        """See `Portal`; `mind` is the client's address."""
        prove = super().login
        if not isinstance(credentials, PasswordLogin):
            return prove(credentials, mind, *interfaces)
        assert isinstance(mind, ClientAddress)
        watched = self._guard.watch(
            mind, credentials.user, credentials.password, lambda: prove(credentials, mind, *interfaces)
        )
        return Deferred.fromCoroutine(watched)
