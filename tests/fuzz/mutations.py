"""Sessions made of a seed number: dialogues as they are meant, mutations of them, and structured garbage."""

import base64
import random
from collections.abc import Callable, Sequence

import attrs

from tests.fuzz.seeds import dialogue_seeds

SMTP, POP3 = "smtp", "pop3"
MOST_SESSION_OCTETS = 16 * 1024


@attrs.frozen
class Session:
    """What one client sends.

    Attributes:
        service: SMTP or POP3.
        is_tls: within TLS from the first octet.
        pieces: sent one after the other.
        is_rude: close at once after the last piece; otherwise say that nothing follows, and read to the end.
    """

    service: str
    is_tls: bool
    pieces: tuple[bytes, ...]
    is_rude: bool


def _plain(user: str, password: str) -> bytes:
    return b"AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode())


def _smtp_words(user: str, password: str) -> list[bytes]:
    return [
        b"EHLO client.example", b"HELO [192.0.2.1]", b"MAIL FROM:<anna@client.example>", b"MAIL FROM:<> SIZE=9",
        b"MAIL FROM:<a@b.example> BODY=8BITMIME SIZE=999999999999", f"RCPT TO:<{user}>".encode(),
        b"RCPT TO:<nobody@example.test>", b"RCPT TO:<far@elsewhere.example>", b"RCPT TO:<Postmaster>", b"DATA", b".",
        b"Subject: x\r\n\r\ntext\r\n.", b"RSET", b"NOOP", b"VRFY anna", b"HELP", b"EXPN list", b"QUIT", b"STARTTLS",
        b"BDAT 5 LAST\r\nhello", b"BDAT 99999999999", b"LHLO x", b"AUTH LOGIN", b"AUTH PLAIN",
        b"AUTH SCRAM-SHA-256 biws",        b"AUTH CRAM-MD5", b"*", _plain(user, "wrong"), _plain(user, password),
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2",
    ]  # fmt: skip


def _pop3_words(user: str, password: str) -> list[bytes]:
    return [
        f"USER {user}\r\nPASS {password}".encode(), f"USER {user}".encode(), b"PASS wrong", b"CAPA", b"STAT", b"LIST",
        b"LIST 1", b"UIDL", b"UIDL 2", b"RETR 1", b"RETR 2", b"TOP 1 1", b"TOP 2 99999", b"DELE 3", b"RSET", b"NOOP",
        b"QUIT", b"STLS", b"AUTH PLAIN", _plain(user, password), _plain(user, "wrong"), b"APOP anna 0123", b"LANG *",
        b"UTF8", b"AUTH SCRAM-SHA-256", b"*",
    ]  # fmt: skip


def _garbage(random_: random.Random) -> bytes:
    return random_.choice(
        (
            random_.randbytes(random_.randrange(1, 200)),
            random_.choice((b"x", b"\0", b"\xff", b"<", b'"', b"@", b" ")) * random_.randrange(1, 5000),
            b"\x16\x03\x01" + random_.randbytes(60),
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\r\n" * random_.randrange(1, 50),
            random_.choice((b"\n", b"\r", b"\r\r\n", b"\n.\n", b"\r.\r", b"\r\n.\n")),
            b"MAIL FROM:<" + random_.randbytes(random_.randrange(40)) + b">",
            b"AUTH PLAIN " + base64.b64encode(random_.randbytes(random_.randrange(60))),
        )
    )


def _mutate(data: bytes, random_: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random_.choice((1, 1, 2, 4, 16))):
        place = random_.randrange(len(changed) + 1)
        match random_.randrange(6):
            case 0:
                changed[place : place + 1] = bytes([random_.randrange(256)])
            case 1:
                del changed[place : place + random_.randrange(1, 9)]
            case 2:
                changed[place:place] = changed[place : place + random_.randrange(1, 40)]
            case 3:
                changed[place:place] = random_.choice(
                    (b"\r\n", b"\n", b"\r", b".", b"\r\n.\r\n", b"\0", b"<>")
                )
            case 4:
                changed[place : place + 1] = b""
            case _:
                changed[place:place] = _garbage(random_)
    return bytes(changed)


def _cut(data: bytes, random_: random.Random) -> tuple[bytes, ...]:
    if random_.random() < 0.6:
        return (data,)
    size = random_.randrange(1, 1 + max(1, len(data) // random_.randrange(1, 6)))
    return tuple(data[start : start + size] for start in range(0, len(data), size))


class Sessions:
    """All sessions of a seed: the same number gives the same session, on every machine."""

    def __init__(self, seed: str, user: str, password: str) -> None:
        self._seed = seed
        self._words = {SMTP: _smtp_words(user, password), POP3: _pop3_words(user, password)}
        self._dialogues = [data[2:] for _, data in dialogue_seeds() if len(data) > 2]

    def make(self, number: int) -> Session:
        random_ = random.Random(f"{self._seed}/{number}")
        service = POP3 if random_.random() < 0.25 else SMTP
        ways: Sequence[Callable[[str, random.Random], bytes]] = (
            self._said,
            self._said,
            self._mutated,
            self._mixed,
        )
        data = random_.choice(ways)(service, random_)[:MOST_SESSION_OCTETS]
        return Session(service, random_.random() < 0.1, _cut(data, random_), random_.random() < 0.2)

    def _said(self, service: str, random_: random.Random) -> bytes:
        """Any commands in any order."""
        words = random_.choices(self._words[service], k=random_.randrange(1, 14))
        return b"".join(word + b"\r\n" for word in words)

    def _mutated(self, service: str, random_: random.Random) -> bytes:
        """A dialogue with some octets changed."""
        meant = random_.choice(self._dialogues) if service == SMTP else self._said(service, random_)
        return _mutate(meant, random_)

    def _mixed(self, service: str, random_: random.Random) -> bytes:
        """Commands and garbage in turn."""
        words = self._words[service]
        return b"".join(
            _garbage(random_) if random_.random() < 0.4 else random_.choice(words) + b"\r\n"
            for _ in range(random_.randrange(1, 12))
        )
