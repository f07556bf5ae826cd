"""Changed keys that wait for a restart."""

from __future__ import annotations

from pathlib import Path

from kms.config.loader import read_settings
from kms.config.restart import find_waiting_keys
from kms.config.settings import Settings


def read(text: str) -> Settings:
    return read_settings("[domains]\nlocal = example.org\n" + text, Path("/srv/etc/kms.ini"))


def test_changed_keys_that_need_a_restart_are_named_in_the_order_of_the_file() -> None:
    changed = read(
        "[dns]\nnameservers = 192.0.2.53\n[listen]\nsmtp = 25\n[queue]\nretry_interval = 7 minutes\n"
    )
    assert find_waiting_keys(read(""), changed) == (
        "[listen] smtp has changed and needs a restart",
        "[dns] nameservers has changed and needs a restart",
    )


def test_a_key_written_at_the_value_of_the_start_is_not_named() -> None:
    assert find_waiting_keys(read(""), read("[listen]\nsmtp = 2525\n")) == ()
