"""Slow clients of every kind hold nobody up, and are cut in their time."""

import socket
import time

from tests.e2e.conftest import StartKms
from tests.e2e.peers.kms_server import Kms
from tests.e2e.peers.process import wait_until

SLOW = "127.0.0.21"
HELLO = b"EHLO slow.stranger.test\r\n"
MAIL = HELLO + b"MAIL FROM:<carol@stranger.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"
CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00"  # the first octets of a handshake that never goes on


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(SLOW, 0))


def say(client: socket.socket, data: bytes, until: bytes) -> socket.socket:
    heard = b""
    client.sendall(data)
    while until not in heard:
        more = client.recv(4096)
        assert more, heard
        heard += more
    return client


def is_closed(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        while client.recv(4096):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    return True


def seconds_of_another(kms: Kms) -> float:
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", kms.smtp), timeout=10) as other:
        say(other, b"EHLO client.test\r\nNOOP\r\nQUIT\r\n", b"221 2.0.0")
    return time.monotonic() - begun


def test_slow_commands_slow_messages_and_stalled_handshakes(start_kms: StartKms) -> None:
    limits = {"command_timeout": "8 s", "connections_per_client": "0", "minimum_data_rate": "100"}
    kms = start_kms({"limits": limits}, users=("alice@example.test",))
    commands = [say(connect(kms.smtp), HELLO, b"250 ") for _ in range(60)]
    contents = [say(connect(kms.smtp), MAIL, b"354 ") for _ in range(30)]
    stalled = [connect(kms.submissions) for _ in range(10)]
    stalled += [say(connect(kms.smtp), HELLO + b"STARTTLS\r\n", b"220 2.0.0") for _ in range(10)]
    for client in stalled:
        client.sendall(CLIENT_HELLO)
    waits = []
    for _ in range(7):
        for client in commands + contents:
            client.sendall(b"x")
        waits.append(seconds_of_another(kms))
        time.sleep(1)
    assert max(waits) < 2, waits
    print("another client was answered within", max(waits), "s")
    left = commands + stalled
    wait_until(
        lambda: all(is_closed(client) for client in left), seconds=25, what="slow clients are still there"
    )
    for _ in range(60):
        for client in contents:
            if not is_closed(client):
                client.setblocking(True)
                client.sendall(b"x")
        time.sleep(1)
    wait_until(
        lambda: all(is_closed(client) for client in contents), what="trickling messages are still there"
    )
    for client in commands + contents + stalled:
        client.close()
    assert kms.queue_length() == 0
    assert "Traceback" not in kms.log("output")
