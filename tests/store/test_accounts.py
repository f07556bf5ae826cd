from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from sqlite3 import Connection

import attrs
import pytest

from kms.domain.account import Account, Alias
from kms.domain.address import Mailbox
from kms.store.accounts import (
    AccountError,
    add_account,
    add_alias,
    change_account,
    list_accounts,
    list_aliases,
    load_account,
    load_accounts_and_aliases,
    parse_alias_address,
    parse_login,
    parse_target,
    remove_account,
    remove_alias,
    set_enabled,
    set_password,
)
from kms.store.credentials import Verifiers, load_password_hash
from kms.store.relay_windows import RelayWindow, load_live, open_windows
from kms.store.schema import IN_MEMORY, StoreError, open_database
from tests.support.queue_entries import NOW

DOMAINS = ("a.test", "b.test")
ANN = Account("ann", "a.test")
BOB = Account("bob", "a.test")
VERIFIERS = Verifiers("hash")
FAR = Mailbox("Far", "away.test")


@pytest.fixture
def connection() -> Iterator[Connection]:
    with closing(open_database(IN_MEMORY)) as connection:
        yield connection


def add(connection: Connection, *accounts: Account) -> None:
    for account in accounts:
        add_account(connection, account, VERIFIERS, DOMAINS)


def open_window(connection: Connection, account: Account) -> None:
    open_windows(connection, [RelayWindow("192.0.2.1", account.login, NOW.replace(year=2027))])


def test_an_account_is_kept_whole(connection: Connection) -> None:
    account = Account(
        name="ann",
        domain="a.test",
        full_name="Ann Ähm",
        is_enabled=False,
        quota_octets=10,
        messages_per_hour=3,
        max_message_octets=0,
        quota_messages=20,
        forward_to=(FAR, Mailbox('odd "one"', "away.test")),
        keeps_copy=False,
        extra_senders=("sales@a.test", "@b.test"),
        own_domains_only=True,
        language="pt-BR",
    )
    assert add_account(connection, account, VERIFIERS, DOMAINS) == account
    assert load_account(connection, "Ann@A.test") == account
    assert load_password_hash(connection, "ann@a.test") == "hash"


def test_an_account_may_have_no_password_yet(connection: Connection) -> None:
    add_account(connection, ANN, None, DOMAINS)
    assert load_password_hash(connection, ANN.login) is None


def test_accounts_keep_the_order_of_their_making(connection: Connection) -> None:
    accounts = [Account(name, "a.test") for name in ("zoe", "ann", "mia")]
    add(connection, *accounts)
    change_account(connection, "zoe@a.test", {"full_name": "Zoe"}, DOMAINS)
    assert [account.name for account in list_accounts(connection)] == ["zoe", "ann", "mia"]
    loaded, _ = load_accounts_and_aliases(connection)
    assert list(loaded) == ["zoe@a.test", "ann@a.test", "mia@a.test"]


def test_an_account_exists_once(connection: Connection) -> None:
    add(connection, ANN, Account("ann", "b.test"))
    with pytest.raises(AccountError, match="exists already"):
        add(connection, ANN)


def test_account_and_alias_cannot_have_one_address(connection: Connection) -> None:
    add(connection, ANN)
    add_alias(connection, Alias("bob", "a.test", (FAR,)), DOMAINS)
    with pytest.raises(AccountError, match="is an alias"):
        add(connection, BOB)
    with pytest.raises(AccountError, match="is an account"):
        add_alias(connection, Alias("Ann", "a.test", (FAR,)), DOMAINS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ann@A.Test", ("ann", "a.test")),
        (" a.b-c_1@b.test ", ("a.b-c_1", "b.test")),
        ("0@a.test", ("0", "a.test")),
        ("a" * 64 + "@a.test", ("a" * 64, "a.test")),
    ],
)
def test_a_login_is_read(text: str, expected: tuple[str, str]) -> None:
    assert parse_login(text, DOMAINS) == expected


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "../x", ".ann", "ann.", "a..b", "-ann", "a/b", "a\\b", "a\0b", "a b", "a+tag", "a*", "ä",
        "ann\n", "%2e", "~ann", "a:b", "a@b", '"ann"', "a" * 65, "\uff41nn", "a,b", "$HOME", "con|cat",
    ],
)  # fmt: skip
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(AccountError):
        parse_login(f"{name}@a.test", DOMAINS)


def test_a_login_needs_a_local_domain() -> None:
    with pytest.raises(
        AccountError, match=r"c\.test is no local domain; the configuration has a\.test, b\.test"
    ):
        parse_login("ann@c.test", DOMAINS)
    with pytest.raises(AccountError, match="NAME@DOMAIN"):
        parse_login("ann", DOMAINS)
    with pytest.raises(AccountError, match="is no domain"):
        parse_login("ann@a..test", DOMAINS)


def test_a_domain_may_be_typed_in_its_own_letters() -> None:
    assert parse_login("ann@bücher.test", ("xn--bcher-kva.test",)) == ("ann", "xn--bcher-kva.test")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"full_name": "x" * 201}, "full name"),
        ({"full_name": "a\nb"}, "full name"),
        ({"quota_octets": -1}, "quota"),
        ({"max_message_octets": -1}, "no limit"),
        ({"quota_messages": 2**63}, "quota"),
        ({"language": "../en"}, "language"),
        ({"language": "EN"}, "language"),
        ({"forward_to": (ANN.mailbox,)}, "forwarded to itself"),
        ({"forward_to": (Mailbox("x", ""),)}, "is no address"),
        ({"forward_to": tuple(Mailbox(f"x{n}", "away.test") for n in range(1001))}, "more than 1000"),
        ({"extra_senders": ("nonsense",)}, "is no address"),
        ({"extra_senders": ("@a..b",)}, "is no sender"),
        ({"extra_senders": tuple(f"x{n}@a.test" for n in range(1001))}, "extra senders"),
        ({"name": "bob"}, "cannot be changed"),
        ({"domain": "b.test"}, "cannot be changed"),
        ({"colour": "red"}, "cannot be changed"),
    ],
)
def test_a_bad_setting_is_refused_and_changes_nothing(
    connection: Connection, changes: dict[str, object], why: str
) -> None:
    add(connection, ANN)
    with pytest.raises(AccountError, match=why):
        change_account(connection, ANN.login, changes, DOMAINS)
    assert list_accounts(connection) == [ANN]


def test_settings_are_changed_and_brought_into_one_form(connection: Connection) -> None:
    add(connection, ANN, BOB)
    changes = {"extra_senders": ("@B.Test", "@b.test", "Sales@A.test"), "forward_to": (FAR, FAR)}
    changed = change_account(connection, ANN.login, changes, DOMAINS)
    assert changed == attrs.evolve(ANN, extra_senders=("@b.test", "Sales@a.test"), forward_to=(FAR,))
    assert list_accounts(connection) == [changed, BOB]


def test_unknown_accounts_are_told(connection: Connection) -> None:
    calls = (
        lambda: load_account(connection, "no@a.test"),
        lambda: change_account(connection, "no@a.test", {}, DOMAINS),
        lambda: set_enabled(connection, "no@a.test", True),
        lambda: set_password(connection, "no@a.test", VERIFIERS),
        lambda: remove_account(connection, "no@a.test"),
    )
    for call in calls:
        with pytest.raises(AccountError, match=r"no account no@a\.test"):
            call()


def test_disabling_ends_the_relay_windows_of_that_account(connection: Connection) -> None:
    add(connection, ANN, BOB)
    open_window(connection, ANN)
    open_window(connection, BOB)
    set_enabled(connection, ANN.login, False)
    assert not load_account(connection, ANN.login).is_enabled
    assert [window.user for window in load_live(connection, NOW)] == [BOB.login]
    set_enabled(connection, ANN.login, True)
    assert load_account(connection, ANN.login).is_enabled


def test_disabling_by_a_change_of_settings_ends_them_too(connection: Connection) -> None:
    add(connection, ANN)
    open_window(connection, ANN)
    change_account(connection, ANN.login, {"full_name": "Ann"}, DOMAINS)
    assert len(load_live(connection, NOW)) == 1
    change_account(connection, ANN.login, {"is_enabled": False}, DOMAINS)
    assert load_live(connection, NOW) == []


def test_a_new_password_ends_the_windows_of_the_old_one(connection: Connection) -> None:
    add(connection, ANN)
    open_window(connection, ANN)
    set_password(connection, "ANN@a.test", Verifiers("new"))
    assert load_password_hash(connection, ANN.login) == "new"
    assert load_live(connection, NOW) == []


def test_a_removed_account_leaves_no_password_and_no_window(connection: Connection) -> None:
    add(connection, ANN, BOB)
    open_window(connection, ANN)
    dangling = add_alias(connection, Alias("both", "a.test", (ANN.mailbox, BOB.mailbox)), DOMAINS)
    assert remove_account(connection, ANN.login) == [dangling]
    assert list_accounts(connection) == [BOB]
    assert load_password_hash(connection, ANN.login) is None
    assert load_live(connection, NOW) == []


def test_aliases_are_kept_by_domain_in_the_order_of_their_making(connection: Connection) -> None:
    made = [
        Alias(local_part, domain, (FAR, ANN.mailbox))
        for local_part, domain in (("z*", "a.test"), ("a?", "a.test"), ("*", "b.test"), ("grün", "a.test"))
    ]
    for alias in made:
        assert add_alias(connection, alias, DOMAINS) == alias
    assert list_aliases(connection) == made
    _, aliases = load_accounts_and_aliases(connection)
    assert aliases == {"a.test": (made[0], made[1], made[3]), "b.test": (made[2],)}


def test_an_alias_is_brought_into_one_form(connection: Connection) -> None:
    alias = add_alias(connection, Alias("SALES", "A.test", (FAR, FAR)), DOMAINS)
    assert alias == Alias("sales", "a.test", (FAR,))
    with pytest.raises(AccountError, match="exists already"):
        add_alias(connection, Alias("Sales", "a.test", (FAR,)), DOMAINS)


@pytest.mark.parametrize(
    ("alias", "why"),
    [
        (Alias("sales", "a.test", ()), "no target"),
        (Alias("sales", "a.test", (Mailbox("sales", "a.test"),)), "lead to itself"),
        (Alias("sales", "c.test", (FAR,)), "no local domain"),
        (Alias("x" * 65, "a.test", (FAR,)), "no address"),
        (Alias("sales", "a.test", (Mailbox("bare", ""),)), "no address"),
    ],
)
def test_a_bad_alias_is_refused(connection: Connection, alias: Alias, why: str) -> None:
    with pytest.raises(AccountError, match=why):
        add_alias(connection, alias, DOMAINS)
    assert list_aliases(connection) == []


def test_an_alias_is_removed_also_from_a_domain_that_is_local_no_more(connection: Connection) -> None:
    add_alias(connection, Alias("sales", "a.test", (FAR,)), DOMAINS)
    remove_alias(connection, *parse_alias_address("Sales@A.test", None))
    assert list_aliases(connection) == []
    with pytest.raises(AccountError, match=r"no alias sales@a\.test"):
        remove_alias(connection, "sales", "a.test")


def test_targets_and_alias_addresses_are_read() -> None:
    assert parse_target(" Far@Away.test ") == FAR
    assert parse_alias_address("*@a.test", DOMAINS) == ("*", "a.test")
    with pytest.raises(AccountError, match="no address"):
        parse_target("nobody")
    with pytest.raises(AccountError, match="no local domain"):
        parse_alias_address("x@c.test", DOMAINS)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE account SET forward_to = '{}'",
        "UPDATE account SET forward_to = '[1]'",
        "UPDATE account SET forward_to = '[[1]]'",
        "UPDATE account SET extra_senders = '['",
        "UPDATE account SET extra_senders = '[1]'",
        "UPDATE alias SET targets = 'x'",
    ],
)
def test_a_damaged_row_is_told_by_name(connection: Connection, change: str) -> None:
    add(connection, ANN)
    add_alias(connection, Alias("sales", "a.test", (FAR,)), DOMAINS)
    connection.execute(change)
    with pytest.raises(StoreError, match=r"(ann|sales)@a\.test in the database is damaged"):
        load_accounts_and_aliases(connection)
