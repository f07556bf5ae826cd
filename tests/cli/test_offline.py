import os
from pathlib import Path

import pytest

from kms.cli.offline import become_owner


def test_root_works_as_the_owner_of_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would leave files behind that the server cannot write."""
    became: list[tuple[str, object]] = []

    class Owner:
        st_uid = 1234
        st_gid = 5678

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for name in ("setgroups", "setegid", "seteuid"):
        monkeypatch.setattr(os, name, lambda value, name=name: became.append((name, value)))
    become_owner(tmp_path / "missing")
    assert became == []
    monkeypatch.setattr(Path, "exists", lambda path: True)
    monkeypatch.setattr(Path, "stat", lambda path: Owner)
    become_owner(tmp_path)
    assert became == [("setgroups", []), ("setegid", 5678), ("seteuid", 1234)]
