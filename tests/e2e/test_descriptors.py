"""kms with 64 descriptors, and 200 clients that take them."""

import socket
import time
from pathlib import Path

from tests.e2e.conftest import StartKms
from tests.e2e.peers.clients import Clients
from tests.e2e.peers.kms_server import Kms
from tests.e2e.peers.process import wait_until
from tests.e2e.peers.world import STRANGER

ALICE = "alice@example.test"
FLOODER = "127.0.0.21"
DESCRIPTORS = 64
CLIENTS = 200


def processor_seconds(pid: int) -> float:
    """What the process has used so far, user and system (proc(5), fields 14 and 15 of stat, in ticks)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def flood(kms: Kms) -> list[socket.socket]:
    return [
        socket.create_connection(("127.0.0.1", kms.smtp), timeout=5, source_address=(FLOODER, 0))
        for _ in range(CLIENTS)
    ]


def has_heard(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(3) == b"220"
    except BlockingIOError:
        return False


def test_accepting_pauses_without_descriptors_and_everyone_is_served_in_the_end(
    start_kms: StartKms, clients: Clients
) -> None:
    kms = start_kms({"limits": {"connections_per_client": "0"}}, users=(ALICE,))
    kms.stop()
    kms.start(open_files=DESCRIPTORS)
    crowd = flood(kms)
    kms.wait_for_log("output", "Descriptors are short")
    before = processor_seconds(kms.pid)
    time.sleep(5)
    used = processor_seconds(kms.pid) - before
    assert used < 2.5, f"{used} s of processor time in 5 s"
    served = [client for client in crowd if has_heard(client)]
    assert 10 <= len(served) < DESCRIPTORS, "some are served, the others wait"
    descriptors = len(list(Path(f"/proc/{kms.pid}/fd").iterdir()))
    assert descriptors <= DESCRIPTORS * 3 // 4 + 1, "some descriptors are kept for the mail"

    served[0].setblocking(True)
    speak(served[0])
    wait_until(lambda: len(kms.messages(ALICE)) == 1, what=kms.everything)

    for client in crowd:
        client.close()
    closed = time.monotonic()
    dialogue = clients.swaks(kms.smtp, ALICE, source=STRANGER)
    assert dialogue.status == 0, dialogue.text
    assert time.monotonic() - closed < 5
    wait_until(lambda: len(kms.messages(ALICE)) == 2)
    assert "Traceback" not in kms.log("output")


def speak(client: socket.socket) -> None:
    """Bring a message of 200 KB, which needs a file, over a connection that was greeted."""
    client.settimeout(10)
    client.sendall(b"EHLO crowd.stranger.test\r\nMAIL FROM:<carol@stranger.test>\r\n")
    client.sendall(f"RCPT TO:<{ALICE}>\r\nDATA\r\n".encode())
    heard = b""
    while b"354" not in heard:
        heard += client.recv(4096)
    client.sendall(b"Subject: crowd\r\n\r\n" + (b"x" * 70 + b"\r\n") * 3000 + b".\r\n")
    while b"queued as" not in heard:
        more = client.recv(4096)
        assert more, heard
        heard += more
