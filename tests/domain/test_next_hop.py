"""The password of a smarthost is never printed."""

from __future__ import annotations

from kms.domain.next_hop import HopCredentials, NextHop


def test_printing_a_hop_shows_no_password() -> None:
    hop = NextHop("smart.test", (), 587, credentials=HopCredentials("kms", "s3cret"))
    assert "kms" in repr(hop)
    assert "s3cret" not in repr(hop)
    assert "s3cret" not in str(hop)
