"""The one proof of who may relay, and of who may read: a cred portal.

Its checkers know AUTH credentials and open relay windows. Each proof gives an avatar: `IRelayAvatar` to SMTP,
`IMailboxAvatar` to POP3. A POP3 login opens the relay window of its address; that is the login's effect, done
here and nowhere else, after the mailbox was opened, so that a right password answered [IN-USE] opens none.
(The address group is no proof: it is the relay policy's own fact.)
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import ICredentials
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool
from zope.interface import Interface, implementer

from kms.domain.account import Account
from kms.domain.address_group import ClientAddress
from kms.policy.recipient import find_account
from kms.service.clock import Clock
from kms.service.database import Database
from kms.service.directory import DirectoryCache
from kms.service.relay_windows import RelayWindows
from kms.store import credentials as store
from kms.store.schema import StoreError

_R = TypeVar("_R")
Avatar = tuple[type[Interface], object, Callable[[], None]]
_VERIFIED_SECONDS = 60.0
_MOST_VERIFIED = 10_000
_MOST_HASHING = 100


class IPasswordLogin(ICredentials):
    """A user and a password, from SMTP AUTH or POP3."""


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


@implementer(IPasswordLogin)
@attrs.frozen
class PasswordLogin:
    """A login to be proved. Printing it never shows the password.

    Attributes:
        authorization: whom the client wants to act as; "" = as `user`. Another account is never allowed, but
            another spelling of the same one is (RFC 4616 2).
    """

    user: str
    password: str = attrs.field(repr=False)
    authorization: str = ""


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


class LoginsBusy(Exception):
    """Too many passwords wait to be checked; the client shall try again later (454, [SYS/TEMP])."""


@implementer(ICredentialsChecker)
class PasswordChecker:
    """Proves a user and a password; the avatar id is the account's login name.

    Unknown user, disabled account and wrong password look the same, in error and in time. Hashing happens in
    `pool`, never on the reactor; at most 100 checks wait there. A password that was proved is known for a minute
    by a keyed digest, bound to the stored verifier, so that a mail program that polls costs no hash. `with_scram`
    says whether a password that is hashed anew gets a SCRAM verifier too.
    """

    credentialInterfaces = (IPasswordLogin,)

    def __init__(
        self,
        directory: DirectoryCache,
        database: Database,
        pool: ThreadPool,
        reactor: IReactorFromThreads,
        clock: Clock,
        with_scram: bool = True,
    ) -> None:
        self._directory = directory
        self._database = database
        self._pool = pool
        self._reactor = reactor
        self._clock = clock
        self.with_scram = with_scram
        self._key = os.urandom(32)
        self._verified: dict[bytes, float] = {}
        self._hashing = 0
        self._log = Logger(namespace="kms.portal")

    def requestAvatarId(self, credentials: PasswordLogin) -> Deferred[bytes | tuple[()]]:
        """Prove `credentials`; fails with UnauthorizedLogin, LoginsBusy or a StoreError."""
        return Deferred.fromCoroutine(self._prove(credentials))

    def _acts_as_itself(self, login: PasswordLogin, account: Account | None) -> bool:
        return (
            not login.authorization or find_account(self._directory.current, login.authorization) == account
        )

    async def _prove(self, login: PasswordLogin) -> bytes | tuple[()]:
        account = find_account(self._directory.current, login.user)
        is_usable = account is not None and account.is_enabled and self._acts_as_itself(login, account)
        name = account.login if account is not None and is_usable else ""
        verifier = await self._database.read(lambda connection: store.load_password_hash(connection, name))
        digest = self._digest(name, login.password, verifier or "")
        if verifier is not None and self._verified.get(digest, 0.0) > self._clock.monotonic():
            return name.encode()
        if not await self._hash(store.verify_password, login.password, verifier or store.dummy_verifier()):
            raise UnauthorizedLogin()
        if verifier is None:
            raise UnauthorizedLogin()
        if len(self._verified) >= _MOST_VERIFIED:
            self._verified.clear()
        self._verified[digest] = self._clock.monotonic() + _VERIFIED_SECONDS
        if store.needs_rehash(verifier):
            await self._rehash(name, login.password, verifier)
        return name.encode()

    def _digest(self, name: str, password: str, verifier: str) -> bytes:
        text = "\0".join((name, password, verifier)).encode("utf-8", "surrogatepass")
        return hmac.new(self._key, text, hashlib.sha256).digest()

    async def _hash(self, call: Callable[..., _R], *args: object) -> _R:
        if self._hashing >= _MOST_HASHING:
            raise LoginsBusy()
        self._hashing += 1
        try:
            return await deferToThreadPool(self._reactor, self._pool, call, *args)
        finally:
            self._hashing -= 1

    async def _rehash(self, name: str, password: str, known: str) -> None:
        """Keep the password in today's form. Whatever hinders that, the login was right."""
        try:
            verifiers = await self._hash(store.make_verifiers, password, self.with_scram)
            await self._database.run(
                lambda connection: store.replace_verifiers(connection, name, known, verifiers)
            )
        except Exception:
            self._log.failure("The password of {name} could not be hashed anew", name=name)


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

    def __init__(self, directory: DirectoryCache, mailboxes: OpensMailboxes, windows: RelayWindows) -> None:
        self._directory = directory
        self._mailboxes = mailboxes
        self._windows = windows
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
        return IMailboxAvatar, mailbox, mailbox.close


def _nothing() -> None:
    """Log out of SMTP: nothing is held."""
