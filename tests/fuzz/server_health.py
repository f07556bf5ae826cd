"""What can be seen of a running server from outside: memory, descriptors, its logs. Shared with tests/load."""

import re
from pathlib import Path

from tests.e2e.peers.kms_server import Kms

MIB = 1024 * 1024


def resident_octets(pid: int) -> int:
    """VmRSS."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def open_descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def find_traceback(kms: Kms) -> str:
    """The first traceback in anything it printed or logged, with what stands around it; "" for none."""
    for name in ("output", "operations", "mail", "security"):
        text = kms.log(name)
        place = max(text.find("Traceback (most recent call last)"), text.find("Unhandled error"))
        if place >= 0:
            return f"{name}: {text[max(place - 500, 0) : place + 3000]}"
    return ""
