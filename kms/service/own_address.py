"""Is an address one of this machine's own?

The kernel is asked which address it would use to reach it; nothing is sent. For one of its own that is the
address itself, so there is no list of interfaces to keep up to date.
"""

from __future__ import annotations

import socket

from kms.domain.address_group import ClientAddress

_DISCARD_PORT = 9


def is_own_address(address: ClientAddress) -> bool:
    """Say whether programs of this machine speak from this address: 127.0.0.1, ::1, its interfaces' addresses."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), _DISCARD_PORT))
            return bool(probe.getsockname()[0] == str(address))
    except OSError:
        return False
