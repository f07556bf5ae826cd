"""What is read from the store before the first client is answered.

It is read at once, not by and by: a client that came between would be told that nobody lives here.
"""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

from twisted.logger import Logger

from kms.domain.queue_entry import format_queue_id
from kms.service.app import App
from kms.service.sts_policies import MAX_POLICIES
from kms.store import account_counts, decisions, relay_windows, sts_policies
from kms.store.accounts import load_accounts_and_aliases
from kms.store.bodies import require_database, sweep
from kms.store.queue_leases import release_leases, set_aside_unreachable
from kms.store.queue_store import greatest_number
from kms.store.schema import open_database


def load_store(app: App, log: Logger) -> None:
    """Take over accounts, windows and the queue of before.

    Nothing of the queue is loaded but its greatest number. Leases of an earlier process are freed (this one
    holds the data folder's lock), and body files that no entry names are removed.

    Raises:
        StoreError: the database does not open, or is damaged; nothing was changed.
    """
    settings = app.settings
    now = app.clock.now()
    require_database(settings.database_path, settings.spool_dir)
    with closing(open_database(settings.database_path)) as connection:
        app.directory.take(*load_accounts_and_aliases(connection))
        app.windows.take(relay_windows.load_live(connection, now))
        a_day_ago = now - timedelta(days=1)
        app.account_counts.take(
            account_counts.load_messages(connection, a_day_ago),
            account_counts.load_contacts(connection, a_day_ago),
        )
        app.sts.take(sts_policies.load_live(connection, now, MAX_POLICIES))
        app.ledger.take(connection)
        app.queue.start(greatest_number(connection))
        app.decisions.start(decisions.greatest_number(connection))
        freed = release_leases(connection)
        app.queue_control.load(connection)
        damaged = set_aside_unreachable(connection)
        swept = sweep(connection, settings.spool_dir, now)
        connection.commit()
    if freed:
        log.info("{count} messages were under way when the server ended; they are tried again", count=freed)
    for bad in damaged:
        app.mail_log.set_aside(format_queue_id(bad.number), bad.reason)
        log.error(
            "{queue_id} was set aside: {reason}", queue_id=format_queue_id(bad.number), reason=bad.reason
        )
    for number in swept.missing:
        log.error("{queue_id}: its body file is missing", queue_id=format_queue_id(number))
