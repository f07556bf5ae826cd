"""`python -m tests.load.logins`: what a password guesser can learn, how far he comes, and what he costs others.

- An unknown user and a wrong password are answered alike: the same words, and of 40 each the medians are within
  20 % or 3 ms of each other (PLAIN, LOGIN, SCRAM-SHA-256's first answer, USER and PASS).
- 50 logins at once leave every command of other sessions under 0.2 s; what is stored is salted and slow.
- A session ends after 10 wrong logins; one address gets 30 guesses a minute; the right login from elsewhere works
  meanwhile.
- Credentials that nobody has are refused, however odd, and the server stands.

Ends with 1 where that is not so. Needs no root; it takes about a minute.
"""

import base64
import re
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from tests.e2e.peers.kms_server import PASSWORD, Kms
from tests.e2e.peers.telnet import Telnet
from tests.fuzz.server_health import find_traceback
from tests.load.odd_credentials import ODD_PASSWORDS, ODD_USERS

USER, GUEST = "anna@example.test", "bert@example.test"
NOBODY = "nora@example.test"
TRIES = 40
MOST_APART, MOST_APART_SECONDS = 0.2, 0.003
LOGINS_AT_ONCE = 50
MOST_SECONDS = 0.2
MOST_FAILURES, MOST_GUESSES = 10, 30

Timed = tuple[str, float]


def make_server(folder: Path) -> Kms:
    """A server at its default limits, but that no group is exempt and passwords may go in clear."""
    kms = Kms(
        folder,
        {
            "address_groups": {"Nobody": "192.0.2.255"},
            "limits": {"exempt_group": "Nobody"},
            "tls": {"plaintext_auth": "always"},
            "dns": {"nameservers": "127.0.0.1:9", "timeout": "1 s"},
        },
    )
    kms.start()
    kms.add_user(USER)
    kms.add_user(GUEST)
    return kms


def encode(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "surrogatepass")).decode()


# What is told of a user who is not there


def by_plain(kms: Kms, user: str, password: str) -> Timed:
    with Telnet(kms.smtp, "127.0.0.1") as session:
        session.say("EHLO client.example")
        return timed(lambda: session.login(user, password))


def by_login(kms: Kms, user: str, password: str) -> Timed:
    with Telnet(kms.smtp, "127.0.0.1") as session:
        session.say("EHLO client.example")
        session.say(f"AUTH LOGIN {encode(user)}")
        return timed(lambda: session.say(encode(password)))


def by_scram(kms: Kms, user: str, password: str) -> Timed:
    with Telnet(kms.smtp, "127.0.0.1") as session:
        session.say("EHLO client.example")
        answer, seconds = timed(lambda: session.say(f"AUTH SCRAM-SHA-256 {encode(f'n,,n={user},r=abc')}"))
        form = re.sub(r"r=abc[^,]*,s=[^,]*", "r=…,s=…", base64.b64decode(answer[4:]).decode())
        return answer[:4] + form, seconds


def by_pop3(kms: Kms, user: str, password: str) -> Timed:
    with Telnet(kms.pop3, "127.0.0.1") as session:
        session.pop3(f"USER {user}")
        return timed(lambda: session.pop3(f"PASS {password}"))


def timed(say: Callable[[], str]) -> Timed:
    began = time.perf_counter()
    said = say()
    return said, time.perf_counter() - began


def compare_unknown_and_wrong(kms: Kms) -> Iterator[str]:
    for way in (by_plain, by_login, by_scram, by_pop3):
        way(kms, USER, "wrong")  # the first one warms up
        wrong: list[Timed] = []
        unknown: list[Timed] = []
        for _ in range(TRIES):
            wrong.append(way(kms, USER, "wrong"))
            unknown.append(way(kms, NOBODY, "wrong"))
        answers = {said for said, _ in wrong + unknown}
        first, second = (statistics.median(seconds for _, seconds in times) for times in (wrong, unknown))
        print(
            f"{way.__name__[3:]}: wrong password {first * 1000:.1f} ms, unknown user {second * 1000:.1f} ms "
            f"(medians of {TRIES}); {answers}"
        )
        if len(answers) != 1:
            yield f"{way.__name__}: different answers"
        if abs(first - second) > max(MOST_APART * first, MOST_APART_SECONDS):
            yield f"{way.__name__}: {first:.4f} s for a wrong password, {second:.4f} s for an unknown user"
    with Telnet(kms.smtp, "127.0.0.1") as session:
        session.say("EHLO client.example")
        verified = {session.say(f"VRFY <{user}>") for user in (USER, NOBODY)}
        if len(verified) != 1:
            yield f"VRFY tells who is there: {verified}"


# What logins cost others


def load_with_logins(kms: Kms) -> Iterator[str]:
    sessions = [Telnet(kms.smtp, f"127.0.21.{number}") for number in range(1, LOGINS_AT_ONCE + 1)]
    for session in sessions:
        session.say("EHLO client.example")
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda session=session: answers.append(session.login(USER, PASSWORD)))
        for session in sessions
    ]
    slowest, others = 0.0, 0
    with Telnet(kms.smtp, "127.0.22.1") as smtp, Telnet(kms.pop3, "127.0.22.1") as pop3:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            for say in (lambda: smtp.say("EHLO other.example"), lambda: pop3.pop3("LANG *")):
                slowest = max(slowest, timed(say)[1])
                others += 1
            time.sleep(0.005)
    for session in sessions:
        session.__exit__(None, None, None)
    right = sum(answer.startswith("235") for answer in answers)
    print(
        f"{LOGINS_AT_ONCE} logins at once: {right} right; {others} commands of others, {slowest:.3f} s at most"
    )
    if right != LOGINS_AT_ONCE:
        yield f"of {LOGINS_AT_ONCE} right logins at once {right} succeeded: {set(answers)}"
    if slowest >= MOST_SECONDS:
        yield f"a command of another session took {slowest:.3f} s while passwords were hashed"


def look_at_what_is_stored(kms: Kms) -> Iterator[str]:
    with closing(sqlite3.connect(kms.data_dir / "kms.sqlite3")) as connection:
        hashes = [text for (text,) in connection.execute("SELECT password_hash FROM credential")]
    for text in hashes:
        found = re.fullmatch(r"\$(?:argon2id\$v=19\$[^$]+|scrypt\$ln=(\d+)[^$]*)\$([^$]+)\$[^$]+", text)
        if not found or int(found[1] or 99) < 14 or len(base64.b64decode(found[2] + "==")) < 16:
            yield f"a password is stored as {text[:20]}…"
    print(f"{len(hashes)} passwords are stored as {hashes[0].split('$')[1]}, salted")
    for name in ("mail", "security", "operations", "output"):
        if PASSWORD in kms.log(name) or encode(f"\0{USER}\0{PASSWORD}") in kms.log(name):
            yield f"a password stands in the {name} log"


# How far a guesser comes


def guess(kms: Kms) -> Iterator[str]:
    with Telnet(kms.smtp, "127.0.23.1") as smtp, Telnet(kms.pop3, "127.0.23.2") as pop3:
        smtp.say("EHLO client.example")
        smtp_said = _until_closed(lambda: smtp.login(NOBODY, "always the same"))
        pop3_said = _until_closed(lambda: _guess_by_pop3(pop3, NOBODY, "always the same"))
    print(f"wrong logins until the session is closed: SMTP {smtp_said}, POP3 {pop3_said}")
    if (smtp_said, pop3_said) != (MOST_FAILURES, MOST_FAILURES):
        yield "a session does not end after 10 wrong logins"
    judged = 0
    began = time.monotonic()
    for session in range(12):
        with Telnet(kms.pop3, "127.0.23.3") as guesser:
            for number in range(9):
                answer = _guess_by_pop3(guesser, f"user{session}{number}@example.test", f"guess {number}")
                judged += answer.startswith("-ERR [AUTH]")
    seconds = time.monotonic() - began
    print(f"one address, 108 guesses in {seconds:.0f} s: {judged} were looked at")
    if judged > MOST_GUESSES * (1 + seconds // 60):
        yield f"one address got {judged} guesses in {seconds:.0f} s"
    said, seconds = _timed_right_login(kms)
    print(f"meanwhile the right login from elsewhere: {said[:3]} after {seconds:.3f} s")
    if not said.startswith("235"):
        yield f"a right login from elsewhere was answered {said}"


def _until_closed(say: Callable[[], str]) -> int:
    for count in range(1, 3 * MOST_FAILURES):
        try:
            if say()[:3] in ("", "421"):
                return count - 1
        except OSError:
            return count - 1
    return 3 * MOST_FAILURES


def _guess_by_pop3(session: Telnet, user: str, password: str) -> str:
    session.pop3(f"USER {user}")
    return session.pop3(f"PASS {password}")


def _timed_right_login(kms: Kms) -> Timed:
    with Telnet(kms.smtp, "127.0.23.4") as session:
        session.say("EHLO client.example")
        return timed(lambda: session.login(GUEST, PASSWORD))


# Odd credentials


def try_odd_credentials(kms: Kms) -> Iterator[str]:
    odd = [*((user, PASSWORD) for user in ODD_USERS), *((USER, password) for password in ODD_PASSWORDS)]
    got_in = []
    for user, password in odd:
        with Telnet(kms.smtp, "127.0.0.1") as session:  # an own address, which is never refused
            session.say("EHLO client.example")
            said = session.say(f"AUTH PLAIN {encode(f'{chr(0)}{user}{chr(0)}{password}')}")
        if not said.startswith(("535", "500", "501")):
            got_in.append((user[:40], password[:40], said))
        if user != user.strip() or "\r" in password:  # blanks around a name are no part of USER's argument
            continue
        with Telnet(kms.pop3, "127.0.0.1") as session:
            said = _guess_by_pop3(session, user, password)
        if not said.startswith("-ERR"):
            got_in.append((user[:40], password[:40], said))
    print(f"odd credentials: {len(odd)}, {len(got_in)} of them not refused")
    yield from (f"odd credentials were answered otherwise: {one}" for one in got_in)
    if not _timed_right_login(kms)[0].startswith("235"):
        yield "after odd credentials a right login fails"


def main() -> int:
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        kms = make_server(Path(folder) / "kms")
        try:
            for judge in (
                compare_unknown_and_wrong,
                load_with_logins,
                guess,
                try_odd_credentials,
                look_at_what_is_stored,
            ):
                faults += [*judge(kms)]
            if traceback := find_traceback(kms):
                faults.append(f"a traceback in its log:\n{traceback}")
        finally:
            kms.stop()
    for fault in faults:
        print(f"FAULT: {fault}")
    print(f"{len(faults)} faults" if faults else "as promised")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
