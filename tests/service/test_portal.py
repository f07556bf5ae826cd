from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred

from kms.service import hashing_queue, login_checker
from kms.service import portal as module
from kms.service.hashing_queue import LoginsBusy
from kms.service.login_checker import Login
from kms.service.portal import (
    IMailboxAvatar,
    IRelayAvatar,
    OpenWindow,
    RelayAvatar,
)
from kms.store.accounts import remove_account, set_password
from kms.store.credentials import Verifiers, load_password_hash, verify_password
from kms.store.schema import StoreError
from tests.support.log_events import logged
from tests.support.results import result_of
from tests.support.smtp_parts import FakeMailbox
from tests.support.smtp_rig import ACCOUNTS, SmtpRig, verifiers_of

HOME = ip_address("203.0.113.9")
ANNA = "anna@example.org"
# Of the same password, in the form of a machine without Argon2id, and weaker than what is made today.
WEAK = "$scrypt$ln=4,r=8,p=1$c2FsdHNhbHRzYWx0c2FsdA$8fMVNQRIS3XNsc6gAOqWRDEoI09km9Ol5J49QfkUo8E"


@pytest.fixture
def rig(tmp_path: Path) -> SmtpRig:
    return SmtpRig(tmp_path)


def of_password(user: str, password: str, authorization: str = "") -> Login:
    return Login(HOME, "PLAIN", user, password, authorization)


def log_in(rig: SmtpRig, user: str = ANNA, password: str = "secret", wants: Any = IRelayAvatar) -> Any:
    interface, avatar, log_out = result_of(rig.portal.login(of_password(user, password), HOME, wants))
    assert interface is wants
    return avatar, log_out


def test_a_right_password_gives_smtp_the_account(rig: SmtpRig) -> None:
    avatar, log_out = log_in(rig)
    assert avatar == RelayAvatar(ACCOUNTS[0])
    log_out()


@pytest.mark.parametrize("user", ["anna", "anna@example.net", "ANNA@Example.ORG"])
def test_a_login_name_may_be_short_or_in_another_name_of_the_domain(rig: SmtpRig, user: str) -> None:
    assert log_in(rig, user)[0].account.login == ANNA


@pytest.mark.parametrize(
    ("user", "password"),
    [
        (ANNA, "wrong"),
        (ANNA, ""),
        (ANNA, "secret "),
        ("nobody@example.org", "secret"),
        ("anna@second.example", "secret"),
        ("dora@example.org", "secret"),
        ("", ""),
        ("@", "secret"),
        ("\udc80", "\udc80"),
    ],
)
@pytest.mark.parametrize("wants", [IRelayAvatar, IMailboxAvatar])
def test_every_other_login_is_refused_in_the_same_way_and_costs_one_hash(
    rig: SmtpRig, user: str, password: str, wants: Any
) -> None:
    with pytest.raises(UnauthorizedLogin):
        log_in(rig, user, password, wants)
    assert rig.hashing.calls == 1
    assert not rig.windows.has_open(HOME)
    assert rig.mailboxes.opened == []


def test_another_spelling_of_the_same_account_may_be_acted_as(rig: SmtpRig) -> None:
    login = of_password(ANNA, "secret", authorization="anna")
    _, avatar, _ = result_of(rig.portal.login(login, HOME, IRelayAvatar))
    assert isinstance(avatar, RelayAvatar)
    assert avatar.account is not None
    assert avatar.account.login == ANNA


@pytest.mark.parametrize("other", ["bert@example.org", "nobody", "@"])
def test_another_account_may_not_be_acted_as(rig: SmtpRig, other: str) -> None:
    with pytest.raises(UnauthorizedLogin):
        result_of(rig.portal.login(of_password(ANNA, "secret", other), HOME, IRelayAvatar))
    assert rig.hashing.calls == 1


def test_a_mailbox_opens_without_a_window_where_the_window_cannot_be_stored(rig: SmtpRig) -> None:
    rig.database.failures.extend((None, StoreError("the disk is full")))
    with logged("kms.portal") as told:
        log_in(rig, wants=IMailboxAvatar)
    assert not rig.windows.has_open(HOME)
    assert len(told) == 1


def test_printing_a_login_never_shows_the_password() -> None:
    assert "secret" not in repr(of_password(ANNA, "secret"))


def test_a_proved_password_is_known_for_a_minute(rig: SmtpRig) -> None:
    for _ in range(5):
        log_in(rig)
    assert rig.hashing.calls == 1
    rig.advance(60)
    log_in(rig)
    assert rig.hashing.calls == 2


def test_a_wrong_password_is_hashed_each_time(rig: SmtpRig) -> None:
    log_in(rig)
    for _ in range(2):
        with pytest.raises(UnauthorizedLogin):
            log_in(rig, password="wrong")
    assert rig.hashing.calls == 3


def test_a_changed_password_acts_at_once(rig: SmtpRig) -> None:
    log_in(rig)
    set_password(rig.database.connection, ANNA, verifiers_of("another"))
    with pytest.raises(UnauthorizedLogin):
        log_in(rig)
    log_in(rig, password="another")


def test_a_removed_account_is_refused_at_once(rig: SmtpRig) -> None:
    log_in(rig)
    remove_account(rig.database.connection, ANNA)
    result_of(rig.directory.load())
    with pytest.raises(UnauthorizedLogin):
        log_in(rig)


def test_an_account_removed_while_its_password_is_checked_is_refused(rig: SmtpRig) -> None:
    rig.hashing.is_held = True
    waiting = rig.portal.login(of_password(ANNA, "secret"), HOME, IRelayAvatar)
    remove_account(rig.database.connection, ANNA)
    result_of(rig.directory.load())
    rig.hashing.release()
    with pytest.raises(UnauthorizedLogin):
        result_of(waiting)


def test_passwords_are_checked_in_the_pool_and_not_on_the_reactor(rig: SmtpRig) -> None:
    rig.hashing.is_held = True
    waiting = rig.portal.login(of_password(ANNA, "secret"), HOME, IRelayAvatar)
    assert isinstance(waiting, Deferred)
    assert not waiting.called
    rig.hashing.release()
    assert result_of(waiting)[0] is IRelayAvatar


def test_too_many_waiting_checks_are_put_off_and_later_ones_pass_again(
    rig: SmtpRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing_queue, "_MOST_WAITING", 1)
    rig.hashing.is_held = True
    waiting = [rig.portal.login(of_password(ANNA, "secret"), HOME, IRelayAvatar) for _ in range(3)]
    with pytest.raises(LoginsBusy):
        log_in(rig)
    rig.hashing.release()
    for one in waiting:
        result_of(one)
    rig.hashing.is_held = False
    log_in(rig)


def test_known_passwords_are_bounded_in_memory(rig: SmtpRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_checker, "_MOST_VERIFIED", 1)
    log_in(rig)
    log_in(rig, "bert")
    log_in(rig)
    assert rig.hashing.calls == 3


def test_a_store_that_cannot_be_read_is_no_wrong_password(rig: SmtpRig) -> None:
    rig.database.failures.append(StoreError("the disk is gone"))
    with pytest.raises(StoreError):
        log_in(rig)


# Hashing anew


def stored_hash(rig: SmtpRig) -> str:
    found = load_password_hash(rig.database.connection, ANNA)
    assert found is not None
    return found


def weaken(rig: SmtpRig) -> None:
    assert verify_password("secret", WEAK)
    set_password(rig.database.connection, ANNA, Verifiers(WEAK))


def test_a_weak_hash_is_replaced_after_a_login(rig: SmtpRig) -> None:
    weaken(rig)
    log_in(rig)
    assert stored_hash(rig) != WEAK
    log_in(rig)
    assert verify_password("secret", stored_hash(rig))


def test_a_password_changed_while_the_old_one_was_hashed_anew_stays_changed(rig: SmtpRig) -> None:
    weaken(rig)
    rig.hashing.is_held = True
    waiting = rig.portal.login(of_password(ANNA, "secret"), HOME, IRelayAvatar)
    changed = verifiers_of("another")
    set_password(rig.database.connection, ANNA, changed)
    rig.hashing.release()
    result_of(waiting)
    assert stored_hash(rig) == changed.password_hash


def test_a_hash_that_cannot_be_replaced_does_not_refuse_the_login(rig: SmtpRig) -> None:
    weaken(rig)
    rig.database.failures.extend((None, StoreError("the disk is full")))
    with logged("kms.portal") as told:
        avatar, _ = log_in(rig)
    assert avatar.account.login == ANNA
    assert len(told) == 1
    assert stored_hash(rig) == WEAK


# POP3


def test_a_pop3_login_opens_the_mailbox_and_then_the_window_of_its_address(rig: SmtpRig) -> None:
    mailbox, log_out = log_in(rig, wants=IMailboxAvatar)
    assert isinstance(mailbox, FakeMailbox)
    assert rig.windows.has_open(HOME)
    assert mailbox.is_open
    log_out()
    assert not mailbox.is_open


def test_an_smtp_login_opens_no_window(rig: SmtpRig) -> None:
    log_in(rig)
    assert not rig.windows.has_open(HOME)


def test_a_right_password_for_a_mailbox_in_use_opens_no_window(rig: SmtpRig) -> None:
    rig.mailboxes.failure = RuntimeError("in use")
    with pytest.raises(RuntimeError, match="in use"):
        log_in(rig, wants=IMailboxAvatar)
    assert not rig.windows.has_open(HOME)


def test_a_fault_while_the_window_is_opened_gives_the_mailbox_back(rig: SmtpRig) -> None:
    rig.database.failures.extend((None, RuntimeError("a fault of ours")))
    with pytest.raises(RuntimeError):
        log_in(rig, wants=IMailboxAvatar)
    assert [mailbox.is_open for mailbox in rig.mailboxes.opened] == [False]
    assert not rig.windows.has_open(HOME)


# Windows


def test_an_open_window_proves_a_nameless_client(rig: SmtpRig) -> None:
    log_in(rig, wants=IMailboxAvatar)
    interface, avatar, _ = result_of(rig.portal.login(OpenWindow(HOME), HOME, IRelayAvatar))
    assert interface is IRelayAvatar
    assert avatar == RelayAvatar(None)


def test_an_address_without_window_proves_nothing(rig: SmtpRig) -> None:
    with pytest.raises(UnauthorizedLogin):
        result_of(rig.portal.login(OpenWindow(HOME), HOME, IRelayAvatar))


def test_an_open_window_opens_no_mailbox(rig: SmtpRig) -> None:
    log_in(rig, wants=IMailboxAvatar)
    with pytest.raises(UnauthorizedLogin):
        result_of(rig.portal.login(OpenWindow(HOME), HOME, IMailboxAvatar))


def test_a_login_gives_nothing_else(rig: SmtpRig) -> None:
    with pytest.raises(UnauthorizedLogin):
        log_in(rig, wants=module.IOpenWindow)
