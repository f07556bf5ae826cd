from __future__ import annotations

import attrs
import pytest
from twisted.internet.defer import Deferred

from kms.domain.account import Account, Alias
from kms.domain.address import Mailbox
from kms.policy.recipient import Resolved, UnknownRecipient
from kms.service import directory as module
from kms.service.directory import DirectoryCache
from kms.store.accounts import add_account, add_alias
from kms.store.schema import StoreError
from tests.support.results import result_of
from tests.support.smtp_rig import DOMAINS, SETTINGS
from tests.support.synchronous_database import SynchronousDatabase

ANNA = Mailbox("anna", "example.org")
TEAM = Mailbox("team", "example.org")


@pytest.fixture
def database() -> SynchronousDatabase:
    return SynchronousDatabase()


@pytest.fixture
def directory(database: SynchronousDatabase) -> DirectoryCache:
    return DirectoryCache(database, SETTINGS)


def add(database: SynchronousDatabase, name: str) -> None:
    add_account(database.connection, Account(name, "example.org"), None, SETTINGS.domains.local)


def test_before_it_is_loaded_it_knows_the_domains_only(directory: DirectoryCache) -> None:
    assert directory.current == SETTINGS.directory
    assert directory.resolve(ANNA) == UnknownRecipient()


def test_accounts_and_aliases_come_from_the_store(
    directory: DirectoryCache, database: SynchronousDatabase
) -> None:
    add(database, "anna")
    add_alias(database.connection, Alias("team", "example.org", (ANNA,)), SETTINGS.domains.local)
    result_of(directory.load())
    assert list(directory.current.accounts) == ["anna@example.org"]
    assert directory.resolve(TEAM) == Resolved((ANNA,))
    assert directory.current.local_domains == SETTINGS.domains.local


def test_a_change_acts_at_once_although_answers_are_remembered(
    directory: DirectoryCache, database: SynchronousDatabase
) -> None:
    assert directory.resolve(ANNA) == UnknownRecipient()
    add(database, "anna")
    assert directory.resolve(ANNA) == UnknownRecipient()
    result_of(directory.load())
    assert directory.resolve(ANNA) == Resolved((ANNA,))
    directory.take({}, {})
    assert directory.resolve(ANNA) == UnknownRecipient()


def test_a_reload_takes_the_domains_of_the_new_settings(
    directory: DirectoryCache, database: SynchronousDatabase
) -> None:
    add(database, "anna")
    changed = attrs.evolve(SETTINGS, domains=attrs.evolve(DOMAINS, local=("example.org", "third.example")))
    result_of(directory.load(changed))
    assert directory.current.local_domains == ("example.org", "third.example")
    assert directory.resolve(ANNA) == Resolved((ANNA,))
    result_of(directory.load())
    assert directory.current.local_domains == ("example.org", "third.example")


def test_a_store_that_cannot_be_read_leaves_the_snapshot_of_before(
    directory: DirectoryCache, database: SynchronousDatabase
) -> None:
    add(database, "anna")
    result_of(directory.load())
    before = directory.current
    database.failures.append(StoreError("the disk is gone"))
    with pytest.raises(StoreError):
        result_of(directory.load(attrs.evolve(SETTINGS, domains=attrs.evolve(DOMAINS, local=("x.example",)))))
    assert directory.current is before


def test_a_change_while_a_reload_waits_does_not_bring_the_old_domains_back(
    directory: DirectoryCache, database: SynchronousDatabase
) -> None:
    database.is_held = True
    changed = attrs.evolve(SETTINGS, domains=attrs.evolve(DOMAINS, local=("third.example",)))
    reload = Deferred.fromCoroutine(directory.load(changed))
    change = Deferred.fromCoroutine(directory.load())
    database.release()
    result_of(reload)
    result_of(change)
    assert directory.current.local_domains == ("third.example",)


def test_a_flood_of_unknown_addresses_does_not_fill_the_memory(
    directory: DirectoryCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_RESOLVED", 10)
    for number in range(100):
        directory.resolve(Mailbox(f"x{number}", "example.org"))
        assert len(directory._resolved) <= 10


def test_the_aliases_of_the_file_act_at_once_and_outlast_changes_of_the_store(
    directory: DirectoryCache, database: SynchronousDatabase
) -> None:
    add(database, "anna")
    assert directory.resolve(TEAM) == UnknownRecipient()
    directory.take_file((Alias("team", "", (ANNA,)),))
    result_of(directory.load())
    assert directory.resolve(TEAM) == Resolved((ANNA,))
