"""Every way to start it, from every kind of installation, and what a start that cannot work does."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.e2e.conftest import unused
from tests.e2e.peers.clients import Clients
from tests.e2e.peers.kms_server import CHECKOUT, PASSWORD, Kms
from tests.e2e.peers.process import Program, is_listening, run, wait_until
from tests.e2e.peers.telnet import Telnet

ALICE = "alice@example.test"
TWISTD = Path(sys.executable).parent / "twistd"
TWIST = Path(sys.executable).parent / "twist"
NOT_COPIED = shutil.ignore_patterns(
    ".venv", ".git", "var", "build", "dist", "*.egg-info", ".*_cache", "__pycache__"
)


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installation(request: pytest.FixtureRequest, ground: Path) -> Path:
    """The bin folder of a fresh virtual environment into which kms was installed."""
    folder = ground / f"installed-{request.param}"
    source = folder / "source"
    shutil.copytree(CHECKOUT, source, ignore=NOT_COPIED)
    commands: list[list[str | Path]] = [
        [sys.executable, "-m", "venv", folder / "venv"],
        [folder / "venv/bin/python", "-m", "pip", "install", "-q", *_what(request.param, source)],
    ]
    for command in commands:
        result = run(command, seconds=300)
        assert result.returncode == 0, (result.stdout + result.stderr).decode()
    return folder / "venv" / "bin"


def _what(kind: str, source: Path) -> list[str]:
    if kind == "editable":
        return ["-e", str(source)]
    result = run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", source / "dist", source], seconds=300
    )
    assert result.returncode == 0, (result.stdout + result.stderr).decode()
    [wheel] = (source / "dist").glob("*.whl")
    return [str(wheel)]


def serves(kms: Kms, clients: Clients) -> None:
    """An account can be made, and mail reaches it and can be read."""
    kms.add_user(ALICE)
    assert clients.swaks(kms.smtp, ALICE).status == 0
    wait_until(lambda: len(kms.messages(ALICE)) == 1, what=kms.everything)
    read = clients.curl_read(f"pop3://127.0.0.1:{kms.pop3}/1", f"{ALICE}:{PASSWORD}")
    assert b"This is a test mailing" in read.stdout


@pytest.mark.timeout(600)
@pytest.mark.parametrize("form", [("twistd", "-n", "kms"), ("twist", "kms"), ("python", "-m", "kms")])
def test_it_serves_from_an_installation(
    installation: Path, ground: Path, clients: Clients, form: Sequence[str]
) -> None:
    folder = ground / f"{installation.parents[1].name}-{form[0]}"
    folder.mkdir()
    kms = Kms(folder, launch=[installation / form[0], *form[1:]], cwd=folder)
    kms.start()
    try:
        serves(kms, clients)
    finally:
        status = kms.stop()
    assert status in {0, -signal.SIGTERM, 128 + signal.SIGTERM}


def test_the_wheel_carries_the_sample_and_the_texts(installation: Path) -> None:
    if "wheel" in installation.parents[1].name:
        assert (installation.parent / "share/kms/etc/kms.ini").exists()
        assert (installation.parent / "share/kms/etc/fail2ban/filter.d/kms.conf").exists()
        assert (installation.parent / "share/kms/etc/fail2ban/jail.d/kms.conf").exists()
        assert list((installation.parent / "share/kms/reports/en").glob("*.txt"))


@pytest.mark.timeout(600)
def test_it_serves_as_a_daemon_with_relative_paths(
    installation: Path, ground: Path, clients: Clients
) -> None:
    folder = ground / f"{installation.parents[1].name}-daemon"
    folder.mkdir()
    kms = Kms(folder, launch=[installation / "twistd", "kms"], cwd=folder)
    kms.configure({"server": {"data_dir": "var", "submit_dir": "run"}})
    result = run([installation / "twistd", "kms", "--config", "kms.ini"], cwd=folder)
    pid = int((folder / "twistd.pid").read_text())
    try:
        assert result.returncode == 0, result.stderr.decode()
        wait_until(lambda: is_listening("127.0.0.1", kms.smtp))
        serves(kms, clients)
        assert (folder / "var/kms.sqlite3").exists()
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not is_alive(pid), what="the daemon stops")
    assert not (folder / "twistd.pid").exists()


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


@pytest.fixture
def server(ground: Path, request: pytest.FixtureRequest) -> Iterator[Kms]:
    """A kms of the checkout, configured and not started."""
    kms = Kms(unused(ground, request.node.name))
    yield kms
    kms.stop()


FORMS: dict[str, list[str]] = {
    "python -m kms": [sys.executable, "-m", "kms"],
    "twistd -n kms": [str(TWISTD), "-n", "kms"],
    "twistd kms": [str(TWISTD), "kms"],
    "twist kms": [str(TWIST), "kms"],
}
FOREGROUND = {name: form for name, form in FORMS.items() if name != "twistd kms"}


def start_from(kms: Kms, form: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    """Run a start command that is to end by itself."""
    return run(
        [*form, "--config", kms.configuration],
        cwd=kms.folder,
        environment={"PYTHONPATH": str(CHECKOUT)},
        seconds=30,
    )


@pytest.mark.parametrize("form", FOREGROUND.values(), ids=FOREGROUND)
def test_it_serves_from_a_checkout(ground: Path, clients: Clients, form: Sequence[str]) -> None:
    kms = Kms(ground / f"checkout-{Path(form[0]).name}{len(form)}", launch=form)
    kms.start()
    try:
        serves(kms, clients)
    finally:
        kms.stop()


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_wrong_configuration_ends_with_78_and_lists_every_error(server: Kms, form: Sequence[str]) -> None:
    server.configure(
        {
            "queue": {"retry_intervall": "1 h"},
            "limits": {"max_message_size": "20 bananas"},
            "relay": {"address_group": "No such group"},
        }
    )
    result = start_from(server, form)
    assert result.returncode == 78, (result.stdout + result.stderr).decode()
    message = result.stderr.decode()
    for needed in (
        "retry_intervall",
        "retry_interval",
        "20 bananas",
        "No such group",
        str(server.configuration),
    ):
        assert needed in message, message
    assert not (server.data_dir / "kms.sqlite3").exists()


def test_kmsctl_check_finds_the_same(server: Kms) -> None:
    server.ctl("check")
    server.configure({"limits": {"max_message_size": "20 bananas"}})
    with pytest.raises(AssertionError, match="78"):
        server.ctl("check")


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_busy_port_is_a_clear_error(server: Kms, form: Sequence[str]) -> None:
    with socket.create_server(("127.0.0.1", server.submission)):
        result = start_from(server, form)
    assert result.returncode != 0
    if form != FORMS["twistd kms"]:
        assert result.returncode == 69, (result.stdout + result.stderr).decode()
    assert str(server.submission) in result.stderr.decode(), (result.stdout + result.stderr).decode()
    wait_until(lambda: not is_listening("127.0.0.1", server.smtp), seconds=5, what="nothing is left running")


@pytest.mark.parametrize("whose", ["nobody's", "another's"])
def test_a_stale_pid_file_is_no_hindrance(server: Kms, whose: str) -> None:
    other = Program(["sleep", "60"], server.folder / "sleep.log")
    if whose == "nobody's":
        other.kill()
    (server.folder / "twistd.pid").write_text(str(other.pid))
    server.launch = FORMS["twistd -n kms"]
    server.cwd = server.folder
    program = Program(
        server.command(),
        server.folder / "output",
        cwd=server.folder,
        environment={"PYTHONPATH": str(CHECKOUT)},
    )
    try:
        program.wait_for_port("127.0.0.1", server.smtp)
    finally:
        program.stop()
        other.stop() if other.is_running() else None


def test_a_killed_servers_leavings_are_no_hindrance(server: Kms, clients: Clients) -> None:
    server.start()
    server.kill()
    server.start()
    serves(server, clients)


def test_a_second_instance_on_the_same_folder_refuses_to_start(server: Kms, clients: Clients) -> None:
    server.start()
    second = Kms(server.folder / "second", data_dir=server.data_dir)
    for form in FORMS.values():
        result = start_from(second, form)
        assert result.returncode != 0
        assert result.stderr.strip(), "one clear line on stderr"
    serves(server, clients)


def test_sigterm_tells_idle_sessions_421_and_ends_soon(server: Kms) -> None:
    server.start()
    with Telnet(server.smtp) as session:
        session.say("EHLO client.test")
        os.kill(server.pid, signal.SIGTERM)
        assert session.reply().startswith("421 4.3.2")
    assert server.stop() in {0, -signal.SIGTERM, 128 + signal.SIGTERM}


def test_a_reload_with_a_wrong_file_changes_nothing(server: Kms, clients: Clients) -> None:
    server.start()
    server.configure({"limits": {"max_message_size": "20 bananas"}})
    os.kill(server.pid, signal.SIGHUP)
    with pytest.raises(AssertionError):
        server.ctl("check")
    server.configure({"limits": {"max_message_size": "20 MB"}})
    serves(server, clients)


def test_files_are_for_the_owner_alone(server: Kms, clients: Clients) -> None:
    server.start()
    serves(server, clients)
    for path in server.data_dir.rglob("*"):
        if not path.is_symlink():
            assert path.stat().st_mode & 0o077 == 0, path
