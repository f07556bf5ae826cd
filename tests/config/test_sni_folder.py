from __future__ import annotations

from pathlib import Path

import pytest

from kms.config.sni_folder import SniFolderError, find_pairs, list_keys


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_text("")
    return folder


def test_each_host_has_its_pair_and_other_files_are_no_matter(tmp_path: Path) -> None:
    put(tmp_path, "Mail.Example.net.crt", "Mail.Example.net.key", "README", ".hidden.crt", "x.pem")
    put(tmp_path, "bücher.example.crt", "bücher.example.key", "*.example.org.crt", "*.example.org.key")
    assert find_pairs(tmp_path) == {
        "mail.example.net": (tmp_path / "Mail.Example.net.crt", tmp_path / "Mail.Example.net.key"),
        "xn--bcher-kva.example": (tmp_path / "bücher.example.crt", tmp_path / "bücher.example.key"),
        "*.example.org": (tmp_path / "*.example.org.crt", tmp_path / "*.example.org.key"),
    }


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["a.example.crt"], r"a\.example\.crt: a\.example\.key is missing beside it"),
        (["a.example.key"], r"a\.example\.key: a\.example\.crt is missing beside it"),
        (["a b.crt", "a b.key"], r"'a b' is no host name"),
        (
            ["a.example.crt", "a.example.key", "A.example.crt", "A.example.key"],
            r"A\.example\.crt is for the same",
        ),
    ],
)
def test_what_cannot_be_right_is_told(tmp_path: Path, names: list[str], complaint: str) -> None:
    with pytest.raises(SniFolderError, match=complaint):
        find_pairs(put(tmp_path, *names))


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SniFolderError, match=r"nowhere: cannot be read: No such file"):
        find_pairs(tmp_path / "nowhere")


def test_a_wildcard_stands_for_one_label() -> None:
    assert list_keys("mail.example.net") == ("mail.example.net", "*.example.net")
