import os
from pathlib import Path

import pytest

from kms.store import maildrop
from kms.store.maildrop import DropDamaged, Submission

MAIL = Submission("joe@a.test", ("ann@a.test", "x@b.test"), b"Subject: x\r\n\r\ny\r\n")


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    return maildrop.prepare(tmp_path / "run")


def test_what_was_left_is_taken_up_with_the_uid_of_who_left_it(drop: Path) -> None:
    path = maildrop.leave(drop, MAIL)
    assert list(maildrop.waiting(drop)) == [path]
    found = maildrop.take_up(path, 0)
    assert (found.sender, found.recipients, found.data) == (MAIL.sender, MAIL.recipients, MAIL.data)
    assert found.uid == os.getuid()


def test_the_folder_is_for_its_group_to_write_into_and_nobody_to_read(drop: Path) -> None:
    assert drop.stat().st_mode & 0o7777 == 0o1730


def test_a_message_that_is_not_whole_is_no_message(drop: Path) -> None:
    (drop / "x.tmp").write_bytes(b"half")
    assert list(maildrop.waiting(drop)) == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no json\n",
        b"{}\n",
        b'{"sender": 1, "recipients": ["a"], "octets": 1}\nx',
        b'{"sender": "a", "recipients": [], "octets": 1}\nx',
        b'{"sender": "a", "recipients": ["b"], "octets": 2}\nx',
        b'{"sender": "a", "recipients": ["b"], "octets": 1}\nxy',
        b'{"sender": "a", "recipients": ["b"], "octets": 99}\n' + b"x" * 99,
    ],
)
def test_what_is_no_message_is_set_aside_and_kept(drop: Path, data: bytes) -> None:
    path = drop / "x.mail"
    path.write_bytes(data)
    with pytest.raises(DropDamaged):
        maildrop.take_up(path, 50)
    assert maildrop.set_aside(path).read_bytes() == data
    assert list(maildrop.waiting(drop)) == []


def test_links_are_not_followed(drop: Path) -> None:
    secret = drop.parent / "secret"
    secret.write_bytes(MAIL.print_envelope() + MAIL.data)
    (drop / "a.mail").symlink_to(secret)
    os.link(secret, drop / "b.mail")
    with pytest.raises(OSError, match="symbolic"):
        maildrop.take_up(drop / "a.mail", 0)
    with pytest.raises(DropDamaged, match="plain file"):
        maildrop.take_up(drop / "b.mail", 0)


def test_a_maildrop_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        maildrop.leave(tmp_path / "missing", MAIL)
