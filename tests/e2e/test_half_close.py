"""Clients that end their input right after what they sent, as `nc -N` and old mail scripts do, hear every answer."""

import os
import re
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import StartKms
from tests.e2e.peers.kms_server import PASSWORD, Kms
from tests.e2e.peers.knot import Knot
from tests.e2e.peers.process import run, wait_until
from tests.e2e.peers.world import STRANGER

ALICE = "alice@example.test"
HELLO = b"EHLO client.stranger.test\r\n"
MAIL = b"MAIL FROM:<carol@stranger.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"
MESSAGE = b"Subject: piped in\r\n\r\nHello\r\n.\r\n"
TAKEN = ["220", "250", "250", "250", "354", "250"]
POP3_LOGIN = f"USER {ALICE}\r\nPASS {PASSWORD}\r\n".encode()
SLOW_SECONDS = 3
"""So long a DNS server that is silent is waited for, before the next one is asked."""


def netcat(said: bytes, *where: str | int | Path) -> list[str]:
    """Pipe it all in, end the input (-N), and give the lines that come until the server closes."""
    result = run(["nc.openbsd", "-N", "-w", "20", *map(str, where)], stdin=said, seconds=25)
    assert result.returncode == 0, result
    return result.stdout.decode().splitlines()


def codes(lines: list[str]) -> list[str]:
    return [line[:3] for line in lines if line[3] == " "]


def ask_smtp(kms: Kms, said: bytes) -> list[str]:
    return codes(netcat(said, "-s", STRANGER, kms.host, kms.smtp))


def ask_pop3(kms: Kms, said: bytes) -> list[str]:
    return [line.partition(" ")[0] for line in netcat(POP3_LOGIN + said, kms.host, kms.pop3)]


def wait_for_mail(kms: Kms, count: int = 1) -> None:
    wait_until(lambda: len(kms.messages(ALICE)) == count and not kms.queue_length(), what=kms.everything)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_nobody_there(kms: Kms) -> bool:
    """Every session that the mail log has seen begin has ended."""
    log = kms.log()
    return len(re.findall(r": connect from", log)) == len(re.findall(r": disconnect from", log))


@pytest.fixture
def slow_dns(knot: Knot) -> Iterator[dict[str, dict[str, str]]]:
    """The INI lines of a DNS that answers only after three seconds: its first server takes all and says nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((knot.host, 0))
        servers = f"{knot.host}:{silent.getsockname()[1]}, {knot.address}"
        yield {"dns": {"nameservers": servers, "timeout": "10 s"}}


def test_over_smtp_and_lmtp_the_mail_is_taken_once_and_told(start_kms: StartKms, tmp_path: Path) -> None:
    path = tmp_path / "lmtp"
    kms = start_kms({"listen": {"lmtp": f"unix:{path}"}}, users=(ALICE,))
    assert ask_smtp(kms, HELLO + MAIL + MESSAGE) == TAKEN
    assert ask_smtp(kms, HELLO + MAIL + MESSAGE + b"QUIT\r\n") == [*TAKEN, "221"]
    assert codes(netcat(b"L" + HELLO.replace(b"EH", b"H") + MAIL + MESSAGE, "-U", path)) == TAKEN
    large = b"Subject: large\r\n\r\n" + (b"x" * 98 + b"\r\n") * 30_000 + b".\r\n"
    assert ask_smtp(kms, HELLO + MAIL + large) == TAKEN
    wait_for_mail(kms, 4)
    assert ask_smtp(kms, b"NOOP\r\n" * 5000 + b"QUIT") == ["220"] + ["250"] * 5000
    assert ask_smtp(kms, HELLO + MAIL + MESSAGE[:-5]) == TAKEN[:-1]
    assert ask_smtp(kms, b"") in (["220"], [])
    wait_for_mail(kms, 4)
    wait_until(lambda: is_nobody_there(kms), what=kms.everything)


def test_what_waits_for_a_slow_check_is_answered_and_costs_nothing_meanwhile(
    start_kms: StartKms, slow_dns: dict[str, dict[str, str]]
) -> None:
    kms = start_kms(slow_dns, users=(ALICE,))
    begun = time.monotonic()
    with socket.create_connection((kms.host, kms.smtp), 15, (STRANGER, 0)) as client:
        client.sendall(HELLO + MAIL + MESSAGE + b"QUIT\r\n")
        client.shutdown(socket.SHUT_WR)
        time.sleep(0.5)
        used = cpu_seconds(kms.pid)
        time.sleep(SLOW_SECONDS - 1)
        used = cpu_seconds(kms.pid) - used
        heard = client.makefile().read().splitlines()
    assert time.monotonic() - begun > SLOW_SECONDS - 0.5
    assert codes(heard) == [*TAKEN, "221"]
    assert used < 0.3
    print(f"{used} s of processor time in {SLOW_SECONDS - 1} s of waiting")
    wait_for_mail(kms)
    assert ask_smtp(kms, HELLO + MAIL + MESSAGE) == TAKEN
    wait_for_mail(kms, 2)


def test_who_has_gone_while_a_check_waits_holds_nothing_for_long(
    start_kms: StartKms, slow_dns: dict[str, dict[str, str]]
) -> None:
    kms = start_kms(slow_dns, users=(ALICE,))
    for linger in (0, 1):
        for said in (b"", HELLO, HELLO + MAIL, HELLO + MAIL + b"half", HELLO + b"RSET\r\nNOO"):
            client = socket.create_connection((kms.host, kms.smtp), 15, (STRANGER, 0))
            client.sendall(said)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", linger, 0))
            time.sleep(0.2)
            client.close()
    wait_until(lambda: is_nobody_there(kms), seconds=SLOW_SECONDS + 5, what=kms.everything)
    assert kms.messages(ALICE) == []
    assert clients_of(kms) == []


def clients_of(kms: Kms) -> list[str]:
    """The connections to its ports that the server has open."""
    ports = {f"{kms.smtp:04X}", f"{kms.pop3:04X}"}
    table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [" ".join(row) for row in table if row[1].partition(":")[2] in ports and row[3] in ("01", "08")]


def test_over_pop3_quit_deletes_and_the_mere_end_does_not(start_kms: StartKms) -> None:
    kms = start_kms(users=(ALICE,))
    for _ in range(2):
        ask_smtp(kms, HELLO + MAIL + MESSAGE)
    wait_for_mail(kms, 2)
    assert ask_pop3(kms, b"DELE 1\r\nSTAT\r\n") == ["+OK"] * 5
    assert ask_pop3(kms, b"DELE 1\r\nQUIT") == ["+OK"] * 4
    assert len(kms.messages(ALICE)) == 2
    heard = netcat(POP3_LOGIN + b"RETR 1\r\nDELE 1\r\nQUIT\r\n", kms.host, kms.pop3)
    assert "Subject: piped in" in heard
    assert heard[-1].startswith("+OK Bye")
    assert len(kms.messages(ALICE)) == 1
    assert ask_pop3(kms, b"STAT\r\nQUIT\r\n") == ["+OK"] * 5
    wait_until(lambda: not clients_of(kms))
    kms.wait_for_log("mail", ": logout: ", times=4)
    assert re.findall(r"pop3d\[\d+\]: (login|logout):", kms.log()) == ["login", "logout"] * 4


def end_input(client: socket.socket) -> None:
    """Shut the sending side down, also beneath TLS, and wait until the server closes."""
    client.shutdown(socket.SHUT_WR)
    with suppress(ConnectionResetError):
        while client.recv(4096):
            pass


def test_inside_tls_the_end_of_the_input_is_the_end(start_kms: StartKms) -> None:
    kms = start_kms(users=(ALICE,))
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    raw = socket.create_connection((kms.host, kms.submissions), 10, (STRANGER, 0))
    with context.wrap_socket(raw) as client:
        assert client.recv(100).startswith(b"220 ")
        client.sendall(HELLO[:-2])
        end_input(client)
    with socket.create_connection((kms.host, kms.submissions), 10, (STRANGER, 0)) as client:
        client.sendall(b"\x16\x03\x01\x02\x00\x01\x00")  # the beginning of a handshake
        end_input(client)
    wait_until(lambda: is_nobody_there(kms), what=kms.everything)


def test_a_handshake_that_cannot_come_is_not_awaited(start_kms: StartKms) -> None:
    kms = start_kms(users=(ALICE,))
    begun = time.monotonic()
    assert ask_smtp(kms, HELLO + b"STARTTLS\r\n") == ["220", "250", "220"]
    assert len(netcat(b"STLS\r\n", kms.host, kms.pop3)) == 2
    assert time.monotonic() - begun < 5
    wait_until(lambda: not clients_of(kms))
