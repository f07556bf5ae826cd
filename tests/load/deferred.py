"""A queue full of deferred messages, and how fast a server accepts with it against one without."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from bench.load import Load, Smtpload
from kms.domain.address import Mailbox
from kms.domain.content import InlineContent
from kms.domain.envelope import Envelope, Recipient
from kms.domain.queue_entry import QueueEntry
from kms.store.queue_store import NewEntry, QueueStore
from kms.store.schema import open_database, to_us
from tests.e2e.peers.kms_server import Kms

NO_DNS = {"dns": {"nameservers": "127.0.0.1:9", "timeout": "1 s"}}
LEAST_RATIO = 0.9
_ACCOUNTS = 2
_DATA = InlineContent(b"From: <a@sender.test>\r\nSubject: backlog\r\n\r\n" + b"x" * 2000 + b"\r\n")


def fill(database: Path, messages: int) -> None:
    """Put deferred messages into the store, due from ten minutes from now on, a hundred a second."""
    connection = open_database(database)
    store, arrived = QueueStore(database.parent / "spool"), datetime.now(UTC) - timedelta(hours=1)
    for start in range(0, messages, 1000):
        connection.execute("BEGIN")
        store.add(connection, [_make(arrived, place) for place in range(start, min(start + 1000, messages))])
        connection.execute("COMMIT")
    connection.execute("UPDATE message SET attempts = 1")
    connection.execute("UPDATE recipient SET last_status = 'mx.test: 451 4.7.1 try again later'")
    connection.close()


def _make(arrived: datetime, place: int) -> NewEntry:
    to = Mailbox(f"user{place}", f"far{place % 500}.test")
    envelope = Envelope(Mailbox("a", "sender.test"), (Recipient(1, to, to),))
    due = datetime.now(UTC) + timedelta(minutes=10, milliseconds=10 * place)
    entry = QueueEntry(to_us(arrived) + place, envelope, arrived, _DATA.octets, due, attempts=1)
    return NewEntry(entry, _DATA, is_leased=False)


def compare_accepting(
    folder: Path, smtpload: Smtpload, deferred: int, load_messages: int, rounds: int
) -> list[tuple[float, float]]:
    """Measure accepting (with local delivery going on), one server at a time, in turns of changing order.

    Args:
        folder: for both servers, on the file system that is to be measured.
        deferred: messages in the second server's queue.
        load_messages: sent in each turn.

    Returns:
        For each round messages a second without and with the backlog.
    """
    empty, full = (_make_server(folder / name) for name in ("empty", "full"))
    fill(full.data_dir / "kms.sqlite3", deferred)
    pairs = []
    for number in range(rounds):
        order = (empty, full) if number % 2 == 0 else (full, empty)
        rates = {kms: _turn(kms, smtpload, load_messages) for kms in order}
        pairs.append((rates[empty], rates[full]))
    return pairs


def middle_ratio(pairs: list[tuple[float, float]]) -> float:
    """The median over the rounds of the rate with a backlog against the rate without."""
    return median(full / empty for empty, full in pairs)


def _make_server(folder: Path) -> Kms:
    kms = Kms(folder, NO_DNS)
    kms.start()
    for number in range(_ACCOUNTS):
        kms.add_user(f"user{number}@example.test")
    kms.stop()
    return kms


def _turn(kms: Kms, smtpload: Smtpload, messages: int) -> float:
    kms.start()
    try:
        watched = [kms.maildir(f"user{number}@example.test") / "new" for number in range(_ACCOUNTS)]
        for count in (200, messages):  # the first warms up
            load = Load(count, per_connection=50, accounts=_ACCOUNTS)
            rate = float(smtpload.run(load, kms.host, kms.smtp, watched)["rate"])
            for file in (file for place in watched for file in place.iterdir()):
                file.unlink()
        return rate
    finally:
        kms.stop()
