"""The server's POP3 session: a client that says anything, after or without a login that is right."""

import attrs

from kms.protocol.pop3_events import (
    DeletionRequested,
    LoginOffered,
    LoginRefusal,
    MessageRequested,
    Pop3ServerSettings,
    TlsRequested,
)
from kms.protocol.pop3_server import Pop3ServerSession
from tests.fuzz.promises import check_pop3_replies, pieces, split_options

MOST_BUFFERED_OCTETS = 2 * 12288
LOGIN = b"USER anna\r\nPASS secret\r\n"


@attrs.frozen
class _Listed:
    octets: int
    uidl: str


_MAILDROP = (_Listed(24, "1.a"), _Listed(4, "2.b"))
_MESSAGE = b"Subject: \xc3\xa4\n\n.\n..\r\ntext\n"


def _answer(session: Pop3ServerSession, options: int) -> bool:
    """Serve all events; False once TLS is to begin: what follows would be its handshake."""
    while (event := session.next_event()) is not None:
        match event:
            case LoginOffered(user="anna", proof="secret"):
                session.log_in(_MAILDROP)
            case LoginOffered():
                session.refuse_login(LoginRefusal.IN_USE if options & 4 else LoginRefusal.WRONG)
            case MessageRequested(number):
                if options & 8 and number == 2:
                    session.refuse_message("[SYS/TEMP] gone")
                else:
                    session.send_content(_MESSAGE[:11], is_last=False)
                    session.send_content(_MESSAGE[11:], is_last=True)
            case DeletionRequested(numbers):
                assert set(numbers) <= {1, 2}
                session.finish_update(not options & 8)
            case TlsRequested():
                return False
    return True


def _play(stream: bytes, size: int, options: int) -> tuple[bytes, bool]:
    settings = Pop3ServerSettings("mail.example.org", bool(options & 1), 2, 3 if options & 2 else 100)
    session = Pop3ServerSession(settings, is_encrypted=bool(options & 32), may_send_plain_passwords=True)
    session.greet()
    said = b""
    for piece in pieces((LOGIN if options & 16 else b"") + stream, size):
        session.receive_data(piece)
        is_in_clear = True
        while is_in_clear and session.buffered_octets:
            is_in_clear = _answer(session, options)
            more = session.data_to_send()  # it reads on only once this is sent
            said += more
            if not more:
                break
        if not is_in_clear:
            break
        assert session.buffered_octets <= MOST_BUFFERED_OCTETS
    return said, session.is_closing


def run(data: bytes) -> None:
    options, size, stream = split_options(data)
    whole = _play(stream, 0, options)
    check_pop3_replies(whole[0])
    if not options & 1:
        assert _play(stream, size, options) == whole, f"another session in pieces of {size}"
