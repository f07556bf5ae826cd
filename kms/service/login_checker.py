"""Proves logins of every mechanism, for SMTP and POP3 alike.

Promises: unknown user, disabled account, an account without what the mechanism needs, and a wrong password look
the same, in error and in time. Passwords are hashed in threads, by turns of the clients (hashing_queue.py); the
other proofs cost some microseconds. A password that was proved is known for a minute by a keyed digest, bound to
the stored verifier, so that a mail program that polls costs no hash.
Flow: asked by the portal. The outcome of every login is known at the end of `_judge`, and only there.
"""

from __future__ import annotations

import hashlib
import hmac
import os

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import ICredentials
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from kms.domain.account import Account
from kms.domain.address_group import ClientAddress
from kms.domain.login import ApopDigest, CramDigest, Proof, ScramProof
from kms.domain.scram import ScramVerifier, make_fake_verifier
from kms.policy.recipient import find_account, spell_login
from kms.service.clock import Clock
from kms.service.database import Database
from kms.service.directory import DirectoryCache
from kms.service.hashing_queue import HashingQueue
from kms.store import credentials as store

_VERIFIED_SECONDS = 60.0
_MOST_VERIFIED = 10_000


class ILogin(ICredentials):
    """A user and a proof, from SMTP AUTH or POP3."""


@implementer(ILogin)
@attrs.frozen
class Login:
    """A login to be proved. Printing it never shows the password.

    Attributes:
        client: where it comes from.
        mechanism: such as PLAIN, SCRAM-SHA-256 or APOP.
        user: as the client wrote it.
        proof: the password, where the mechanism shows it to us; otherwise what can be checked only.
        authorization: whom the client wants to act as; "" = as `user`. Another account is never allowed, but
            another spelling of the same one is (RFC 4616 2).
    """

    client: ClientAddress
    mechanism: str
    user: str
    proof: Proof = attrs.field(repr=False)
    authorization: str = ""


@implementer(ICredentialsChecker)
class LoginChecker:
    """Proves a `Login`; the avatar id is the account's login name.

    Attributes:
        with_scram: a password that is hashed anew gets a SCRAM verifier too. A reload replaces it.
    """

    credentialInterfaces = (ILogin,)

    def __init__(
        self,
        directory: DirectoryCache,
        database: Database,
        hashing: HashingQueue,
        clock: Clock,
        with_scram: bool = True,
    ) -> None:
        self._directory = directory
        self._database = database
        self._hashing = hashing
        self._clock = clock
        self.with_scram = with_scram
        self._key = os.urandom(32)
        self._verified: dict[bytes, float] = {}
        self._log = Logger(namespace="kms.portal")

    def requestAvatarId(self, credentials: Login) -> Deferred[bytes | tuple[()]]:
        """Prove `credentials`; fails with UnauthorizedLogin, LoginsBusy or a StoreError."""
        return Deferred.fromCoroutine(self._judge(credentials))

    async def fetch_verifier(self, user: str) -> ScramVerifier:
        """Find a user's SCRAM verifier; where there is none, one that looks like it, the same for ever.

        Args:
            user: as a client wrote it.
        """
        name = self._find_name(user, "")
        found, secret = await self._database.read(
            lambda connection: (
                store.load_scram_verifier(connection, name),
                store.load_fake_secret(connection),
            )
        )
        return found or make_fake_verifier(secret, spell_login(self._directory.current, user) or user)

    async def _judge(self, login: Login) -> bytes | tuple[()]:
        name = self._find_name(login.user, login.authorization)
        is_right = await self._is_right(login, name)
        # Here, and nowhere earlier, the outcome is known: of `login`, for the account `name` ("" = no usable one).
        if not is_right:
            raise UnauthorizedLogin()
        return name.encode()

    def _find_name(self, user: str, authorization: str) -> str:
        """Find the login name of a user who may log in and act so; "" where there is none."""
        account = find_account(self._directory.current, user)
        is_usable = account is not None and account.is_enabled and self._is_same(authorization, account)
        return account.login if account is not None and is_usable else ""

    def _is_same(self, authorization: str, account: Account) -> bool:
        return not authorization or find_account(self._directory.current, authorization) == account

    async def _is_right(self, login: Login, name: str) -> bool:
        match login.proof:
            case ScramProof() as proof:
                verifier = await self.fetch_verifier(name)
                return verifier.accepts(proof.proof, proof.auth_message) and bool(name)
            case CramDigest() | ApopDigest() as digest:
                load = store.load_cram_secret if isinstance(digest, CramDigest) else store.load_apop_secret
                secret = await self._database.read(lambda connection: load(connection, name))
                return digest.fits(secret or "") and secret is not None
            case str() as password:
                return await self._is_right_password(login.client, name, password)

    async def _is_right_password(self, client: ClientAddress, name: str, password: str) -> bool:
        verifier = await self._database.read(lambda connection: store.load_password_hash(connection, name))
        digest = self._digest(name, password, verifier or "")
        if verifier is not None and self._verified.get(digest, 0.0) > self._clock.monotonic():
            return True
        to_fit = verifier or store.dummy_verifier()
        if not await self._hashing.run(client, store.verify_password, password, to_fit) or verifier is None:
            return False
        if len(self._verified) >= _MOST_VERIFIED:
            self._verified.clear()
        self._verified[digest] = self._clock.monotonic() + _VERIFIED_SECONDS
        if store.needs_rehash(verifier):
            await self._rehash(client, name, password, verifier)
        return True

    def _digest(self, name: str, password: str, verifier: str) -> bytes:
        text = "\0".join((name, password, verifier)).encode("utf-8", "surrogatepass")
        return hmac.new(self._key, text, hashlib.sha256).digest()

    async def _rehash(self, client: ClientAddress, name: str, password: str, known: str) -> None:
        """Keep the password in today's form. Whatever hinders that, the login was right."""
        try:
            verifiers = await self._hashing.run(client, store.make_verifiers, password, self.with_scram)
            await self._database.run(
                lambda connection: store.replace_verifiers(connection, name, known, verifiers)
            )
        except Exception:
            self._log.failure("The password of {name} could not be hashed anew", name=name)
