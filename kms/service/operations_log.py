"""The operations log: what the server did and what operators changed, one event a line.

It is an observer of Twisted's log: everything that kms logs at level info and above comes here, with the traceback on
the same line. Twisted's own log (`--logfile`, or stdout under -n) has it too.
"""

from __future__ import annotations

import time

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    globalLogPublisher,
)
from zope.interface import implementer

from kms.service.clock import Clock
from kms.service.line_log import LineLog, escape


def _stamp(second: int) -> str:
    return time.strftime("[%d/%b/%Y %H:%M:%S] ", time.localtime(second))


@implementer(ILogObserver)
class OperationsLog:
    """The operations log.

    Args:
        path: absolute file name, or the name of a stream.
        clock: for the stamps.
    """

    def __init__(self, path: str, clock: Clock) -> None:
        self.lines = LineLog(path, clock, _stamp)
        self._observer = FilteringLogObserver(self, [LogLevelFilterPredicate(LogLevel.info)])

    def __call__(self, event: LogEvent) -> None:
        """Take one event; called by Twisted's log."""
        if not str(event.get("log_namespace", "")).startswith("kms"):
            return
        text = formatEvent(event)
        failure = event.get("log_failure")
        if failure is not None:
            text = f"{text} | {failure.getTraceback()}"
        level = event["log_level"].name
        parts = (escape(part.strip()) for part in text.splitlines() if part.strip())
        self.lines.write(f"{level}: {' | '.join(parts)}")

    def start(self) -> None:
        """Open the file, and listen."""
        self.lines.open()
        globalLogPublisher.addObserver(self._observer)

    def stop(self) -> None:
        """Listen no more, and close the file."""
        globalLogPublisher.removeObserver(self._observer)
        self.lines.close()
