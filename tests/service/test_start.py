from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from twisted.logger import Logger, capturedLogs

from kms.domain.account import Account
from kms.domain.content import FileContent
from kms.domain.published_tls import StsMode, StsPolicy
from kms.domain.queue_entry import format_queue_id
from kms.service.app import App
from kms.service.clock import ClockOf
from kms.service.start import load_store
from kms.store.accounts import add_account
from kms.store.bodies import BodyWriter, body_path
from kms.store.queue_store import NewEntry, QueueStore
from kms.store.relay_windows import RelayWindow, open_windows
from kms.store.schema import StoreError, open_database
from kms.store.sts_policies import KeptPolicy, save
from tests.service.test_app import settings_in
from tests.support.memory_reactor import ThreadedMemoryReactor
from tests.support.queue_entries import CONTENT, NOW, make_entry

LOG = Logger(namespace="kms.test")


@pytest.fixture
def app(tmp_path: Path) -> App:
    reactor = ThreadedMemoryReactor()
    reactor.advance(NOW.timestamp())
    made = App(settings_in(tmp_path), reactor, ClockOf(reactor))
    made.settings.spool_dir.mkdir()
    return made


def store(app: App, *items: NewEntry) -> None:
    connection = open_database(app.settings.database_path)
    QueueStore(app.settings.spool_dir).add(connection, items)
    connection.close()


def rows(app: App, query: str) -> list[tuple[object, ...]]:
    connection = open_database(app.settings.database_path)
    found = connection.execute(query).fetchall()
    connection.close()
    return found


class TestTheFirstStart:
    def test_makes_the_store(self, app: App) -> None:
        load_store(app, LOG)
        assert app.settings.database_path.exists()
        assert app.directory.current.accounts == {}


class TestALaterStart:
    def test_knows_the_accounts_before_the_first_client_is_answered(self, app: App) -> None:
        connection = open_database(app.settings.database_path)
        add_account(connection, Account("alice", "example.test"), None, ["example.test"])
        connection.close()
        load_store(app, LOG)
        assert "alice@example.test" in app.directory.current.accounts
        assert app.directory.current.local_domains == ("example.test",)

    def test_knows_the_windows_that_are_still_open(self, app: App) -> None:
        connection = open_database(app.settings.database_path)
        add_account(connection, Account("alice", "example.test"), None, ["example.test"])
        until = NOW + timedelta(minutes=30)
        open_windows(connection, [RelayWindow("192.0.2.1", "alice@example.test", until)])
        connection.close()
        load_store(app, LOG)
        assert [window.user for window in app.windows.list()] == ["alice@example.test"]

    def test_knows_the_mta_sts_policies_that_still_count(self, app: App) -> None:
        policy = StsPolicy(StsMode.ENFORCE, timedelta(days=1), ("mx.far.test",))
        connection = open_database(app.settings.database_path)
        save(connection, KeptPolicy("far.test", "1", policy, NOW, NOW + policy.life, NOW))
        connection.close()
        load_store(app, LOG)
        assert app.sts._entries["far.test"].kept.policy == policy

    def test_makes_numbers_above_those_of_before_though_the_clock_was_set_back(self, app: App) -> None:
        number = int(datetime(2040, 1, 1, tzinfo=UTC).timestamp() * 1_000_000)
        store(app, NewEntry(make_entry(number), CONTENT, is_leased=False))
        load_store(app, LOG)
        assert app.queue.next_number()[0] > number

    def test_frees_what_was_under_way_and_says_how_much(self, app: App) -> None:
        store(app, *(NewEntry(make_entry(number), CONTENT, is_leased=True) for number in (1, 2)))
        with capturedLogs() as events:
            load_store(app, LOG)
        assert [event["count"] for event in events] == [2]
        assert rows(app, "SELECT count(*) FROM message WHERE lease_owner <> ''") == [(0,)]

    def test_says_nothing_where_nothing_was_under_way(self, app: App) -> None:
        with capturedLogs() as events:
            load_store(app, LOG)
        assert not events

    def test_removes_body_files_of_which_nobody_was_told_250(self, app: App) -> None:
        open_database(app.settings.database_path).close()
        writer = BodyWriter(app.settings.spool_dir, 77)
        writer.write(b"x")
        writer.finish()
        path = body_path(app.settings.spool_dir, 77)
        app.reactor.advance(10**9)  # the file is older than this start
        load_store(app, LOG)
        assert not path.exists()

    def test_names_the_entries_whose_body_file_is_missing(self, app: App) -> None:
        content = FileContent(str(body_path(app.settings.spool_dir, 78)), 10, 1)
        store(app, NewEntry(make_entry(78, content=content), content, is_leased=False))
        with capturedLogs() as events:
            load_store(app, LOG)
        assert [event["queue_id"] for event in events] == [format_queue_id(78)]

    def test_sets_aside_what_would_never_be_due_and_says_so(self, app: App) -> None:
        store(app, NewEntry(make_entry(79), CONTENT, is_leased=False))
        connection = open_database(app.settings.database_path)
        connection.execute("UPDATE message SET due_us = ?", (2**62,))
        connection.close()
        app.mail_log.lines.open()
        with capturedLogs() as events:
            load_store(app, LOG)
        app.mail_log.lines.close()
        assert "impossible" in events[0]["reason"]
        assert "set aside" in (app.settings.server.data_dir / "log" / "mail.log").read_text()

    def test_with_a_damaged_store_changes_nothing(self, app: App) -> None:
        app.settings.database_path.write_bytes(b"no database" * 500)
        before = app.settings.database_path.read_bytes()
        with pytest.raises(StoreError):
            load_store(app, LOG)
        assert app.settings.database_path.read_bytes() == before
