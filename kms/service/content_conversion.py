"""Converts a content for a server without 8BITMIME; what is large stays in its file.

Promises: no more of a large content is in memory than a piece; it is read and written anew in a thread, a piece at a
time, so that others have their turns between. The file itself is left as it is: what is sent is made while it is
read, by the plan of a pass before.
Flow: remote_delivery.py asks where a server has no 8BITMIME, and reads every content by `read_content`.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from kms.domain.content import Content, FileContent, InlineContent
from kms.protocol.mime_walker import CannotConvert
from kms.protocol.outgoing_message import OutgoingMessage
from kms.protocol.seven_bit import Plan, SevenBitPlanner, convert
from kms.service.client_connection import RunInThread
from kms.store.bodies import read_chunks


@attrs.frozen
class ConvertedFile(FileContent):
    """A content that is converted while it is read.

    Attributes:
        source: the file as it is; `octets` counts what comes out.
        plan: how it is converted.
    """

    source: FileContent = attrs.field(kw_only=True)
    plan: Plan = attrs.field(kw_only=True)


def read_content(content: FileContent) -> Iterator[bytes]:
    """Read a file piece by piece, converted where it is to be; raises as `read_chunks`, in a thread."""
    if isinstance(content, ConvertedFile):
        return convert(content.plan, read_chunks(content.source))
    return read_chunks(content)


@attrs.define
class Conversion:
    """A content in seven bits, made when it is first wanted, once for all servers that a message is offered to."""

    content: Content
    _run_in_thread: RunInThread
    _is_made: bool = False
    _made: Content | None = None

    async def apply(self, message: OutgoingMessage) -> tuple[OutgoingMessage, Content] | None:
        """Make a message of seven bits of another; None where that cannot be. OSError: the file cannot be read."""
        if not self._is_made:
            self._made = await self._convert()
            self._is_made = True
        made = self._made
        if made is None:
            return None
        data = made.data if isinstance(made, InlineContent) else None
        return attrs.evolve(message, octets=made.octets, is_8bit=False, data=data), made

    async def _convert(self) -> Content | None:
        content = self.content
        try:
            if isinstance(content, InlineContent):
                return _convert_inline(content)
            return await _convert_file(content, self._run_in_thread)
        except CannotConvert:
            return None


def _convert_inline(content: InlineContent) -> InlineContent:
    planner = SevenBitPlanner()
    planner.feed(content.data)
    return InlineContent(b"".join(convert(planner.finish(), (content.data,))))


async def _convert_file(content: FileContent, run: RunInThread) -> ConvertedFile:
    planner = SevenBitPlanner()
    chunks = await run(read_chunks, content)
    while chunk := await run(next, chunks, b""):
        await run(planner.feed, chunk)
    plan = planner.finish()
    pieces = convert(plan, await run(read_chunks, content))
    octets = 0
    while piece := await run(next, pieces, b""):
        octets += len(piece)
    return ConvertedFile(content.path, octets, source=content, plan=plan)
