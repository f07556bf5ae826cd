"""The owners of MTA-STS policies: their HTTPS servers, as the services see them."""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred

from kms.service.https_fetch import FetchError
from tests.support.wire import SILENCE, ScriptedServer


class FakeFetch:
    """Gives the texts it was told to, one for each call, or raises; then there is no server any more.

    Attributes:
        answers: what the next calls give; a Deferred holds the call until it fires.
        asked: host, path and most octets of the calls so far.
    """

    def __init__(self, *answers: bytes | Exception | Deferred[bytes]) -> None:
        self.answers = deque(answers)
        self.asked: list[tuple[str, str, int]] = []

    async def __call__(self, host: str, path: str, max_octets: int) -> bytes:
        self.asked.append((host, path, max_octets))
        answer = self.answers.popleft() if self.answers else FetchError("nobody answers")
        if isinstance(answer, Exception):
            raise answer
        return await answer if isinstance(answer, Deferred) else answer


class ScriptedHttps(ScriptedServer):
    """Takes one request and answers with these octets; closes then, where it is told to."""

    def __init__(self, answer: bytes, *, tls: str = "works", closes: bool = False) -> None:
        super().__init__(greeting=SILENCE, tls=tls)
        self._answer = answer
        self._closes = closes
        self.request = b""

    def receive_data(self, data: bytes) -> None:
        self.request += data
        if self.request.endswith(b"\r\n\r\n"):
            self.output += self._answer
            self.is_closed = self._closes
