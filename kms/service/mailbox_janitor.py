"""Has the mailboxes' tmp folders cleaned, at the start and once a day.

Flow: `MailServer` starts and stops it; the work is that of store/maildir_janitor.py, in the mailbox thread.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from kms.service.clock import Clock
from kms.service.mailboxes import Mailboxes, MailboxesStopped
from kms.store.maildir_janitor import TmpSweep

_DAY_SECONDS = 24 * 3600.0


class MailboxJanitor:
    """Cleans by and by.

    Args:
        mailboxes: whose tmp folders are cleaned; started before this.
        clock: for the days.
    """

    def __init__(self, mailboxes: Mailboxes, clock: Clock) -> None:
        self._mailboxes = mailboxes
        self._clock = clock
        self._timer: IDelayedCall | None = None
        self._is_stopped = False
        self._log = Logger(namespace="kms.mailboxes")

    def start(self) -> None:
        """Clean now, and every day from now on; a round that lasts puts off the next one."""
        self._timer = None
        cleaned: Deferred[TmpSweep] = self._mailboxes.sweep_tmp()
        cleaned.addCallbacks(self._cleaned, self._failed)
        cleaned.addBoth(self._wait)

    def stop(self) -> None:
        """Begin no further round; one that is under way ends with the mailbox thread."""
        self._is_stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, _: object) -> None:
        if not self._is_stopped:
            self._timer = self._clock.call_later(_DAY_SECONDS, self.start)

    def _cleaned(self, sweep: TmpSweep) -> None:
        if sweep.removed:
            self._log.info("{count} old files removed from tmp folders of mailboxes", count=sweep.removed)
        for problem in sweep.problems:
            self._log.error("A tmp folder could not be cleaned: {problem}", problem=problem)

    def _failed(self, failure: Failure) -> None:
        if failure.check(MailboxesStopped) is None:
            self._log.failure("The tmp folders of mailboxes could not be cleaned", failure)
