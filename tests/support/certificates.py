"""A certificate for tests that need some TLS, and do not care which."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

from kms.service.clock import SystemClock
from kms.service.tls import ServerTls, make_self_signed


@lru_cache
def server_tls() -> ServerTls:
    """A server's TLS for mail.example.org, made once."""
    now = SystemClock(None).now()  # type: ignore[arg-type] # OpenSSL compares with the real time
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = Path(folder) / "server.crt", Path(folder) / "server.key"
        make_self_signed("mail.example.org", certificate, key, now)
        return ServerTls.load(certificate, key)
