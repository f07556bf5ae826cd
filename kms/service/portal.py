"""The one proof of who may relay, and of who may read: a cred portal.

Its checkers know logins (login_checker.py) and open relay windows. Each proof gives an avatar: `IRelayAvatar` to
SMTP, `IMailboxAvatar` to POP3. A POP3 login opens the relay window of its address; that is the login's effect, done
here and nowhere else, after the mailbox was opened, so that a right password answered [IN-USE] opens none.
(The address group is no proof: it is the relay policy's own fact.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import ICredentials
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from zope.interface import Interface, implementer

from kms.domain.account import Account
from kms.domain.address_group import ClientAddress
from kms.domain.scram import ScramVerifier
from kms.service.directory import DirectoryCache
from kms.service.login_checker import LoginChecker
from kms.service.login_delay import LoginDelay
from kms.service.relay_windows import RelayWindows
from kms.store.schema import StoreError

Avatar = tuple[type[Interface], object, Callable[[], None]]


class IOpenWindow(ICredentials):
    """An address that claims to have an open relay window."""


class IRelayAvatar(Interface):
    """What a proof gives to SMTP: a client that may relay, with its account where it logged in."""


class IMailboxAvatar(Interface):
    """What a proof gives to POP3: an open mailbox, locked for this session."""


class OpenedMailbox(Protocol):
    """A mailbox that was opened; `close` gives its lock back."""

    def close(self) -> None:
        """Let go of the mailbox."""
        ...


class OpensMailboxes(Protocol):
    """The part of `Mailboxes` that the realm needs."""

    def open(self, account: Account) -> Deferred[Any]:
        """Open and lock a mailbox, giving an `OpenedMailbox`; fails with MailboxInUse."""
        ...


@implementer(IOpenWindow)
@attrs.frozen
class OpenWindow:
    """A client whose address may have a relay window that is open now, or will be so many seconds later."""

    client: ClientAddress
    ahead_seconds: float = 0.0


@implementer(IRelayAvatar)
@attrs.frozen
class RelayAvatar:
    """A client that has proved a right to relay; `account` is None where an open window proved it."""

    account: Account | None


@implementer(ICredentialsChecker)
class WindowChecker:
    """Proves that an address has an open relay window; the avatar is anonymous, for no user is asked."""

    credentialInterfaces = (IOpenWindow,)

    def __init__(self, windows: RelayWindows) -> None:
        self._windows = windows

    def requestAvatarId(self, credentials: OpenWindow) -> Deferred[bytes | tuple[()]]:
        """Prove `credentials`; fails with UnauthorizedLogin."""
        if self._windows.has_open(credentials.client, credentials.ahead_seconds):
            return succeed(())
        return fail(UnauthorizedLogin())


@implementer(IRealm)
class Realm:
    """Turns a proof into what the client may do."""

    def __init__(
        self, directory: DirectoryCache, mailboxes: OpensMailboxes, windows: RelayWindows, delay: LoginDelay
    ) -> None:
        self._directory = directory
        self._mailboxes = mailboxes
        self._windows = windows
        self._delay = delay
        self._log = Logger(namespace="kms.portal")

    def requestAvatar(
        self, avatarId: bytes | tuple[()], mind: object, *interfaces: type[Interface]
    ) -> Deferred[Avatar]:
        """Make the avatar for an account that was proved; `mind` is the address that it was proved from."""
        name = avatarId.decode() if isinstance(avatarId, bytes) else ""
        return Deferred.fromCoroutine(self._avatar(name, mind, interfaces))

    async def _avatar(self, name: str, client: object, interfaces: tuple[type[Interface], ...]) -> Avatar:
        account = self._directory.current.accounts.get(name)
        if name and account is None:
            raise UnauthorizedLogin()  # it was removed while its password was proved
        if IRelayAvatar in interfaces:
            return IRelayAvatar, RelayAvatar(account), _nothing
        if account is None or IMailboxAvatar not in interfaces:
            raise UnauthorizedLogin()
        assert isinstance(client, ClientAddress)
        self._delay.check(account.login)
        mailbox = await self._mailboxes.open(account)
        try:
            await self._windows.open(client, account.login)
        except StoreError as error:  # a full disk must not keep people from deleting their mail
            self._log.error(
                "The relay window of {client} cannot be stored: {error}", client=client, error=error
            )
        except BaseException:
            mailbox.close()
            raise
        self._delay.note(account.login)
        return IMailboxAvatar, mailbox, mailbox.close


def _nothing() -> None:
    """Log out of SMTP: nothing is held."""


class LoginPortal(Portal):
    """The portal, which also tells what SCRAM needs of a user in the middle of an exchange."""

    def __init__(self, realm: Realm, logins: LoginChecker, windows: WindowChecker) -> None:
        super().__init__(realm, (logins, windows))
        self._logins = logins

    async def fetch_verifier(self, user: str) -> ScramVerifier:
        """See `LoginChecker.fetch_verifier`."""
        return await self._logins.fetch_verifier(user)
