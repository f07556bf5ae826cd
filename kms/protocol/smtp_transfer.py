"""How the content of a message comes into an SMTP server session: by DATA, or in the chunks of BDAT.

Promises: what is refused, or comes where it may not, is read to its real end and not kept, so that none of it
is ever taken for commands; of a message that has lost one chunk no other is taken (RFC 3030 2).
Flow: `smtp_server` reads commands, and hands all octets over to here while a content comes; `smtp_content` and
`smtp_chunks` know where it ends.
"""

from __future__ import annotations

import attrs

from kms.domain import reply as replies
from kms.protocol import smtp_states as states
from kms.protocol.smtp_chunks import ChunkReader, DiscardedChunk
from kms.protocol.smtp_commands import parse_chunk
from kms.protocol.smtp_content import ContentReader
from kms.protocol.smtp_conversation import Conversation
from kms.protocol.smtp_events import (
    ContentEnded,
    ContentReceived,
    ContentRefused,
    Event,
    TransactionAborted,
)
from kms.protocol.smtp_states import State


@attrs.define(eq=False, repr=False)
class ContentTransfer(Conversation):
    """A conversation in which contents come."""

    _content: ContentReader | ChunkReader | DiscardedChunk | None = attrs.field(default=None, init=False)
    _chunks: ChunkReader | None = attrs.field(default=None, init=False)

    @property
    def is_receiving_content(self) -> bool:
        """DATA was answered 354, or BDAT has come, and the end of the data or chunk has not."""
        return self._content is not None

    def _data(self, _argument: str) -> None:
        self._say(replies.START_CONTENT)
        self._content = ContentReader(self._settings.bare_newlines, self._settings.max_message_octets)

    def _bdat(self, argument: str) -> None:
        chunk = parse_chunk(argument)
        if chunk is None:
            self.close(replies.BAD_CHUNK)  # nobody knows where the next command begins
            return
        refusal = self._state.refusal_of_chunks
        if refusal is not None:
            self._content = DiscardedChunk(*chunk, refusal)
            return
        if self._chunks is None:
            self._chunks = ChunkReader(self._settings.bare_newlines, self._settings.max_message_octets)
        self._chunks.begin(*chunk)
        self._content = self._chunks
        self._state = states.CHUNKS_BEGUN

    def _read_content(self, content: ContentReader | ChunkReader | DiscardedChunk) -> Event | None:
        data = self._lines.take(content.wanted_octets)
        if not data and content.wanted_octets:
            return None
        part = content.feed(data)
        if not content.is_ended:
            return ContentReceived(part) if part else None
        self._content = None
        if isinstance(content, DiscardedChunk):
            return self._end_discarded_chunk(content)
        if content.rest:
            self._lines.append(content.rest)
        if not content.is_last and content.refusal is None:
            self._say(replies.CHUNK_TAKEN)
            return ContentReceived(part) if part else None
        self._chunks = None
        if not content.is_last:
            self._state = states.CHUNK_REFUSED
        self._pending = ContentEnded(part) if content.refusal is None else ContentRefused(content.refusal)
        return self._pending

    def _end_discarded_chunk(self, chunk: DiscardedChunk) -> Event | None:
        """Refuse it; of a message that has lost a part, no other part is taken either."""
        state = self._state
        event = None
        if state is states.CHUNK_REFUSED and chunk.is_last:
            event = self._abort_transaction(states.READY)
        elif state.is_transaction and not chunk.is_last:
            self._state = states.CHUNK_REFUSED
        if "BDAT" in state.excused:
            self._say(chunk.refusal)
        else:
            self._refuse(chunk.refusal)
        return event

    def _abort_transaction(self, next_state: State) -> Event | None:
        was_transaction = self._state.is_transaction
        self._state = next_state
        self._chunks = None
        self.is_smtputf8 = False
        return TransactionAborted() if was_transaction else None

    def _end(self) -> None:
        super()._end()
        self._content = self._chunks = None
