from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from sqlite3 import Connection
from typing import Any

import pytest

from kms.domain.account import Directory
from kms.store import administration, relay_windows
from kms.store.accounts import AccountError
from kms.store.administration import Conflict, NotFound
from kms.store.credentials import Verifiers
from kms.store.relay_windows import RelayWindow
from kms.store.schema import IN_MEMORY, open_database

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
DOMAINS = Directory(local_domains=("a.test",), domain_aliases={"other.test": "a.test"})
VERIFIERS = Verifiers("hash")


@pytest.fixture
def store() -> Iterator[Connection]:
    with closing(open_database(IN_MEMORY)) as connection:
        yield connection


def add(store: Connection, *logins: str) -> None:
    for login in logins:
        administration.add_user(store, DOMAINS, login, VERIFIERS)


def change(store: Connection, **changes: Any) -> dict[str, Any]:
    return administration.change_user(store, DOMAINS, "joe@a.test", changes)


def open_window(store: Connection) -> None:
    relay_windows.open_windows(store, [RelayWindow("192.0.2.1", "joe@a.test", NOW + timedelta(minutes=1))])


class TestUsers:
    def test_a_new_user_is_described_without_a_word_of_the_password(self, store: Connection) -> None:
        assert administration.add_user(store, DOMAINS, "Joe@A.test", VERIFIERS) == {
            "login": "joe@a.test",
            "name": "joe",
            "domain": "a.test",
            "full_name": "",
            "is_enabled": True,
            "quota_octets": 0,
            "quota_messages": 0,
            "forward_to": [],
            "keeps_copy": True,
            "extra_senders": [],
            "own_domains_only": False,
            "language": "",
            "may_use_apop": False,
            "may_use_cram": False,
            "messages_per_hour": None,
            "messages_per_day": None,
            "max_message_octets": None,
        }

    def test_another_name_of_the_domain_will_do(self, store: Connection) -> None:
        add(store, "joe@Other.test")
        assert [facts["login"] for facts in administration.list_users(store)] == ["joe@a.test"]
        assert administration.find_user(store, DOMAINS, "JOE@other.test").login == "joe@a.test"

    def test_nobody_is_added_twice(self, store: Connection) -> None:
        add(store, "joe@a.test")
        with pytest.raises(Conflict, match="exists already"):
            add(store, "JOE@other.test")

    @pytest.mark.parametrize("login", ["joe", "joe@b.test", "../x@a.test", "joe@-"])
    def test_a_name_that_cannot_be_is_refused(self, store: Connection, login: str) -> None:
        with pytest.raises(AccountError):
            add(store, login)

    def test_changes_come_as_json(self, store: Connection) -> None:
        add(store, "joe@a.test")
        facts = change(
            store,
            full_name="Joe",
            quota_octets=5,
            forward_to=["x@B.test"],
            keeps_copy=False,
            extra_senders=["@B.test"],
            own_domains_only=True,
            language="cs",
            messages_per_hour=5,
            messages_per_day=None,
            max_message_octets=0,
        )
        assert facts["forward_to"] == ["x@b.test"]
        assert facts["extra_senders"] == ["@b.test"]
        assert administration.list_users(store) == [facts]

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("name", "x"),
            ("password", "x"),
            ("full_name", 5),
            ("is_enabled", 1),
            ("quota_octets", True),
            ("quota_octets", "5"),
            ("quota_messages", -1),
            ("forward_to", "x@b.test"),
            ("forward_to", ["nobody"]),
            ("extra_senders", [5]),
            ("language", None),
            ("messages_per_hour", "5"),
            ("messages_per_day", -1),
        ],
    )
    def test_a_value_that_is_none_changes_nothing(self, store: Connection, key: str, value: Any) -> None:
        add(store, "joe@a.test")
        before = administration.list_users(store)
        with pytest.raises(AccountError):
            change(store, **{key: value})
        assert administration.list_users(store) == before

    def test_who_is_not_there_is_not_found(self, store: Connection) -> None:
        attempts: tuple[Callable[[], object], ...] = (
            lambda: change(store, full_name="x"),
            lambda: administration.set_password(store, DOMAINS, "joe@a.test", VERIFIERS),
            lambda: administration.remove_user(store, DOMAINS, "joe@a.test"),
            lambda: administration.remove_user(store, DOMAINS, "no address"),
        )
        for attempt in attempts:
            with pytest.raises(NotFound):
                attempt()

    def test_a_new_password_disabling_and_removing_end_the_windows(self, store: Connection) -> None:
        add(store, "joe@a.test")
        ends: tuple[Callable[[], object], ...] = (
            lambda: administration.set_password(store, DOMAINS, "joe@a.test", VERIFIERS),
            lambda: change(store, is_enabled=False),
            lambda: administration.remove_user(store, DOMAINS, "joe@a.test"),
        )
        for end in ends:
            open_window(store)
            assert len(administration.list_windows(store, NOW)) == 1
            end()
            assert administration.list_windows(store, NOW) == []

    def test_removing_names_the_aliases_that_are_left(self, store: Connection) -> None:
        add(store, "joe@a.test")
        administration.add_alias(store, DOMAINS, "info@a.test", ["joe@a.test"])
        facts = administration.remove_user(store, DOMAINS, "joe@a.test")
        assert facts["named_by"] == ["info@a.test"]
        assert administration.list_users(store) == []


class TestAliases:
    def test_an_alias_tells_where_it_leads(self, store: Connection) -> None:
        add(store, "joe@a.test")
        facts = administration.add_alias(store, DOMAINS, "Info@other.test", ["joe@a.test", "x@b.test"])
        assert facts == {
            "address": "info@a.test",
            "targets": ["joe@a.test", "x@b.test"],
            "leads_to": {
                "address": "Info@other.test",
                "targets": ["joe@a.test", "x@b.test"],
                "problem": "",
            },
        }
        assert administration.list_aliases(store) == [
            {"address": "info@a.test", "targets": ["joe@a.test", "x@b.test"]}
        ]

    def test_what_is_there_is_not_made_again(self, store: Connection) -> None:
        add(store, "joe@a.test")
        administration.add_alias(store, DOMAINS, "*@a.test", ["joe@a.test"])
        with pytest.raises(Conflict, match="exists already"):
            administration.add_alias(store, DOMAINS, "*@a.test", ["x@b.test"])
        with pytest.raises(Conflict, match="is an account"):
            administration.add_alias(store, DOMAINS, "joe@a.test", ["x@b.test"])

    def test_an_alias_is_removed_once(self, store: Connection) -> None:
        administration.add_alias(store, DOMAINS, "info@a.test", ["x@b.test"])
        assert administration.remove_alias(store, DOMAINS, "INFO@a.test") == {"address": "info@a.test"}
        with pytest.raises(NotFound):
            administration.remove_alias(store, DOMAINS, "info@a.test")

    @pytest.mark.parametrize(
        ("address", "problem"),
        [
            ("x@b.test", "b.test is no local domain"),
            ("nobody@a.test", "nobody has this address"),
            ("off@a.test", "the mailbox is disabled"),
            ("one@a.test", "the aliases lead in a circle: one@a.test -> two@a.test -> one@a.test"),
            ("postmaster@a.test", "there is no account yet to be the postmaster"),
        ],
    )
    def test_a_problem_of_resolving_is_told(self, store: Connection, address: str, problem: str) -> None:
        add(store, "off@a.test")
        administration.change_user(store, DOMAINS, "off@a.test", {"is_enabled": False})
        administration.add_alias(store, DOMAINS, "one@a.test", ["two@a.test"])
        administration.add_alias(store, DOMAINS, "two@a.test", ["one@a.test"])
        facts = administration.resolve(store, DOMAINS, address)
        assert facts == {"address": address, "targets": [], "problem": problem}


def test_windows_are_described_with_their_end(store: Connection) -> None:
    open_window(store)
    assert administration.list_windows(store, NOW) == [
        {"address": "192.0.2.1", "user": "joe@a.test", "until": "2026-11-24T03:01:00+00:00"}
    ]
