import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor as _chosen  # noqa: F401, TID251 (so that no test chooses one for the others)

import kms.__main__ as command
from kms.service.mail_server import MailServer
from kms.tap import EX_CONFIG, Options, install_reactor, makeService, remove_stale_pidfile

CONFIGURATION = """
[server]
hostname = mail.example.test
data_dir = var
[domains]
local = example.test
"""
NO_PROCESS = "4194999"  # above the greatest pid that Linux gives


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "kms.ini"
    path.write_text(CONFIGURATION)
    return path


def options(path: Path, parent: dict[str, Any] | None = None) -> Options:
    made: Any = Options()  # type: ignore[no-untyped-call]
    made.parent = {} if parent is None else parent
    made.parseOptions(["--config", str(path)])
    assert isinstance(made, Options)
    return made


@contextmanager
def process(*command: str) -> Iterator[int]:
    """Run a program that says what it is told until the end of its stdin; gives its pid once it does."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(b"there\n")
        running.stdin.flush()
        assert running.stdout.readline() == b"there\n"
        yield running.pid


class TestTheService:
    def test_is_made_of_the_configuration_and_touches_nothing(self, configuration: Path) -> None:
        service = makeService(options(configuration))
        assert isinstance(service, MailServer)
        assert service.app.hostname == "mail.example.test"
        assert os.listdir(configuration.parent) == ["kms.ini"]

    def test_finds_its_configuration_again_after_twistd_has_changed_the_folder(
        self, configuration: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(configuration.parent)
        service = makeService(options(Path("kms.ini")))
        monkeypatch.chdir("/")
        assert isinstance(service, MailServer)
        assert service._path == configuration

    def test_prints_the_warnings_of_the_configuration(
        self, configuration: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        configuration.write_text(CONFIGURATION + "[greylisting]\nenabled = yes\n")
        makeService(options(configuration))
        assert capsys.readouterr().err.startswith("kms: warning: ")

    @pytest.mark.parametrize(
        ("parent", "is_foreground"),
        [
            ({}, True),
            ({"nodaemon": True}, True),
            ({"nodaemon": False}, False),
            ({"nodaemon": False, "debug": True}, True),
        ],
    )
    def test_knows_whether_twistd_forks(
        self, configuration: Path, parent: dict[str, Any], is_foreground: bool
    ) -> None:
        service = makeService(options(configuration, parent))
        assert isinstance(service, MailServer)
        assert service._is_foreground is is_foreground


class TestAWrongConfiguration:
    def test_ends_with_status_78_and_every_fault_on_stderr(
        self, configuration: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        configuration.write_text(CONFIGURATION + "[queue]\nretry_interval = soon\n[relay]\nmode = opne\n")
        with pytest.raises(SystemExit) as error:
            makeService(options(configuration))
        assert error.value.code == EX_CONFIG == 78
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 2
        assert all(line.startswith(f"{configuration}:") for line in lines)
        assert any("retry_interval" in line for line in lines)
        assert any("opne" in line for line in lines)

    def test_that_is_missing_ends_with_status_78(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as error:
            makeService(options(tmp_path / "none.ini"))
        assert error.value.code == EX_CONFIG
        assert "none.ini" in capsys.readouterr().err

    def test_of_the_certificate_ends_with_status_78(
        self, configuration: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (configuration.parent / "own.crt").write_text("nothing")
        configuration.write_text(CONFIGURATION + "[tls]\ncertificate = own.crt\nprivate_key = own.crt\n")
        with pytest.raises(SystemExit) as error:
            makeService(options(configuration))
        assert error.value.code == EX_CONFIG
        assert "own.crt" in capsys.readouterr().err


class TestAPidFile:
    def test_of_a_process_that_is_gone_is_removed(self, tmp_path: Path) -> None:
        path = tmp_path / "kms.pid"
        path.write_text(NO_PROCESS)
        remove_stale_pidfile(path)
        assert not path.exists()

    def test_of_a_process_that_is_no_twistd_is_removed(self, tmp_path: Path) -> None:
        path = tmp_path / "pid"
        with process("/bin/cat") as pid:
            path.write_text(f"{pid}\n")
            remove_stale_pidfile(path)
        assert not path.exists()

    def test_of_a_live_twistd_is_kept(self, tmp_path: Path) -> None:
        path = tmp_path / "pid"
        echo = "import sys; print(sys.stdin.readline(), end='', flush=True); sys.stdin.read()"
        with process(sys.executable, "-c", echo, "twistd", "kms") as pid:
            path.write_text(f"{pid}\n")
            remove_stale_pidfile(path)
        assert path.read_text() == f"{pid}\n"

    def test_that_holds_no_number_is_removed(self, tmp_path: Path) -> None:
        path = tmp_path / "kms.pid"
        path.write_text("")
        remove_stale_pidfile(path)
        assert not path.exists()

    def test_that_does_not_exist_is_well(self, tmp_path: Path) -> None:
        remove_stale_pidfile(tmp_path / "kms.pid")

    def test_that_cannot_be_read_is_left_to_twistd(self, tmp_path: Path) -> None:
        path = tmp_path / "kms.pid"
        path.mkdir()
        remove_stale_pidfile(path)
        assert path.exists()

    def test_is_looked_at_before_twistd_looks(self, configuration: Path, tmp_path: Path) -> None:
        path = tmp_path / "kms.pid"
        path.write_text(NO_PROCESS)
        options(configuration, {"pidfile": str(path)})
        assert not path.exists()


class TestTheReactor:
    def test_that_was_chosen_stays(self, monkeypatch: pytest.MonkeyPatch) -> None:
        installed: list[bool] = []
        monkeypatch.setattr("kms.service.thin_reactor.install", lambda: installed.append(True))
        install_reactor()
        assert not installed

    def test_is_the_thin_one_where_none_was_chosen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        installed: list[bool] = []
        monkeypatch.setattr("kms.service.thin_reactor.install", lambda: installed.append(True))
        monkeypatch.delitem(sys.modules, "twisted.internet.reactor")
        install_reactor()
        assert installed

    def test_is_twisteds_own_where_there_is_no_epoll(self, monkeypatch: pytest.MonkeyPatch) -> None:
        installed: list[bool] = []
        monkeypatch.setattr("kms.service.thin_reactor.install", lambda: installed.append(True))
        monkeypatch.delitem(sys.modules, "twisted.internet.reactor")
        monkeypatch.delattr("select.epoll")
        install_reactor()
        assert not installed


class TestTheCommand:
    def test_is_twistd_in_the_foreground_without_a_pid_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[list[str]] = []
        monkeypatch.setattr("twisted.scripts.twistd.run", lambda: seen.append(list(sys.argv)))
        monkeypatch.setattr(sys, "argv", ["kms", "--config", "etc/kms.ini"])
        command.main()
        assert seen == [["twistd", "-n", "--pidfile=", "kms", "--config", "etc/kms.ini"]]

    def test_is_known_to_twistd(self) -> None:
        from twisted.application.service import IServiceMaker
        from twisted.plugin import getPlugins

        assert "kms" in {plugin.tapname for plugin in getPlugins(IServiceMaker)}
