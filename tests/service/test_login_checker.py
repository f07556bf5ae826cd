"""Logins that do not show the password; those that do stand in test_portal.py."""

from __future__ import annotations

import hashlib
import hmac
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred

from kms.domain.login import ApopDigest, CramDigest, Proof, ScramProof
from kms.domain.scram import SCRAM_ITERATIONS, make_proof
from kms.service.login_checker import Login
from kms.service.login_delay import LoginTooSoon
from kms.service.portal import IMailboxAvatar, IRelayAvatar
from kms.store.accounts import change_account, set_password
from kms.store.credentials import make_verifiers
from kms.store.schema import StoreError
from tests.support.results import result_of
from tests.support.smtp_rig import SETTINGS, SmtpRig

HOME = ip_address("203.0.113.9")
ANNA, BERT = "anna@example.org", "bert@example.org"


@pytest.fixture
def rig(tmp_path: Path) -> SmtpRig:
    rig = SmtpRig(tmp_path)
    change(rig, may_use_cram=True, may_use_apop=True)
    set_password(rig.database.connection, ANNA, make_verifiers("secret", True, True, True))
    return rig


def change(rig: SmtpRig, login: str = ANNA, **changes: Any) -> None:
    change_account(rig.database.connection, login, changes, SETTINGS.domains.local)
    result_of(rig.directory.load())


def log_in(rig: SmtpRig, user: str, proof: Proof, wants: Any = IRelayAvatar, act_as: str = "") -> Any:
    return result_of(rig.portal.login(Login(HOME, "ANY", user, proof, act_as), HOME, wants))[1]


def prove(rig: SmtpRig, user: str, password: str) -> ScramProof:
    verifier = result_of(fetch(rig, user))
    message = b"n=anna,r=1,r=12,s=salt,i=100000,c=biws,r=12"
    return ScramProof(message, make_proof(password, verifier.salt, verifier.iterations, message))


def fetch(rig: SmtpRig, user: str) -> Any:
    return Deferred.fromCoroutine(rig.portal.fetch_verifier(user))


def cram(password: str) -> CramDigest:
    return CramDigest(b"<1@x>", hmac.new(password.encode(), b"<1@x>", "md5").hexdigest())


def apop(password: str) -> ApopDigest:
    return ApopDigest(b"<1@x>", hashlib.md5(b"<1@x>" + password.encode()).hexdigest())


@pytest.mark.parametrize("make", [cram, apop])
def test_a_right_digest_proves_the_account_and_costs_no_hash(rig: SmtpRig, make: Any) -> None:
    assert log_in(rig, "anna", make("secret")).account.login == ANNA
    assert rig.hashing.calls == 0


def test_a_right_scram_proof_likewise(rig: SmtpRig) -> None:
    assert log_in(rig, "anna", prove(rig, "anna", "secret")).account.login == ANNA
    assert rig.hashing.calls == 0


@pytest.mark.parametrize("make", [cram, apop])
@pytest.mark.parametrize(
    ("user", "password"),
    [(ANNA, "wrong"), (ANNA, ""), (BERT, "secret"), ("nobody", "secret"), ("nobody", "")],
)
def test_every_other_digest_is_refused(rig: SmtpRig, make: Any, user: str, password: str) -> None:
    with pytest.raises(UnauthorizedLogin):
        log_in(rig, user, make(password), IMailboxAvatar)
    assert not rig.windows.has_open(HOME)


@pytest.mark.parametrize(
    ("user", "password"), [(ANNA, "wrong"), (BERT, "secret"), ("nobody", "secret"), ("dora", "secret")]
)
def test_every_other_scram_proof_is_refused(rig: SmtpRig, user: str, password: str) -> None:
    proof = prove(rig, user, password)
    with pytest.raises(UnauthorizedLogin):
        log_in(rig, user, proof)


@pytest.mark.parametrize("proof", [b"", bytes(32), bytes(33)])
def test_a_proof_of_nothing_is_refused(rig: SmtpRig, proof: bytes) -> None:
    with pytest.raises(UnauthorizedLogin):
        log_in(rig, ANNA, ScramProof(b"", proof))


def test_no_digest_may_act_as_another(rig: SmtpRig) -> None:
    with pytest.raises(UnauthorizedLogin):
        log_in(rig, ANNA, prove(rig, ANNA, "secret"), act_as=BERT)
    assert log_in(rig, ANNA, prove(rig, ANNA, "secret"), act_as="ANNA").account.login == ANNA


def test_who_may_not_use_a_digest_any_more_is_refused_and_the_secret_is_gone(rig: SmtpRig) -> None:
    change(rig, may_use_cram=False)
    with pytest.raises(UnauthorizedLogin):
        log_in(rig, ANNA, cram("secret"))
    log_in(rig, ANNA, apop("secret"))
    change(rig, may_use_cram=True)
    with pytest.raises(UnauthorizedLogin):
        log_in(rig, ANNA, cram("secret"))


def test_a_password_set_before_it_was_allowed_is_not_kept(rig: SmtpRig) -> None:
    set_password(rig.database.connection, BERT, make_verifiers("secret", True, True, True))
    change(rig, BERT, may_use_cram=True, may_use_apop=True)
    for digest in (cram("secret"), apop("secret")):
        with pytest.raises(UnauthorizedLogin):
            log_in(rig, BERT, digest)


# What SCRAM tells of a user


def test_a_user_who_does_not_exist_has_a_salt_that_never_changes(rig: SmtpRig) -> None:
    one = result_of(fetch(rig, "nobody"))
    assert one == result_of(fetch(rig, "nobody"))
    assert (len(one.salt), one.iterations) == (16, SCRAM_ITERATIONS)
    real = result_of(fetch(rig, "anna"))
    assert (len(real.salt), real.iterations) == (16, SCRAM_ITERATIONS)
    assert real == result_of(fetch(rig, "anna"))


@pytest.mark.parametrize("user", ["nobody", "anna", "bert", "dora"])
def test_all_spellings_of_a_user_have_one_salt_whether_it_exists_or_not(rig: SmtpRig, user: str) -> None:
    spellings = [user, user.upper(), f"{user}@example.org", f"{user}@EXAMPLE.org", f"{user}@example.net"]
    assert len({result_of(fetch(rig, spelling)).salt for spelling in spellings}) == 1


def test_different_users_have_different_salts(rig: SmtpRig) -> None:
    users = ["anna", "bert", "dora", "nobody", "x@second.example", "", "@", "a@b@", "\udc80"]
    assert len({result_of(fetch(rig, user)).salt for user in users}) == len(users)


def test_a_store_that_cannot_be_read_is_no_wrong_proof(rig: SmtpRig) -> None:
    rig.database.failures.append(StoreError("the disk is gone"))
    with pytest.raises(StoreError):
        log_in(rig, ANNA, cram("secret"))


# LOGIN-DELAY


def test_a_second_login_to_a_mailbox_waits_and_opens_no_window(rig: SmtpRig) -> None:
    rig.login_delay.length = timedelta(minutes=2)
    log_in(rig, ANNA, "secret", IMailboxAvatar)
    result_of(rig.windows.revoke(HOME, None))
    with pytest.raises(LoginTooSoon):
        log_in(rig, ANNA, "secret", IMailboxAvatar)
    assert not rig.windows.has_open(HOME)
    log_in(rig, ANNA, "secret")
    rig.advance(120)
    log_in(rig, ANNA, "secret", IMailboxAvatar)


def test_a_mailbox_in_use_does_not_count_as_a_login(rig: SmtpRig) -> None:
    rig.login_delay.length = timedelta(minutes=2)
    rig.mailboxes.failure = RuntimeError("in use")
    with pytest.raises(RuntimeError):
        log_in(rig, ANNA, "secret", IMailboxAvatar)
    rig.mailboxes.failure = None
    log_in(rig, ANNA, "secret", IMailboxAvatar)
