"""What the end-to-end tests start: DNS, the foreign world, a smarthost, and kms.

These tests are collected only where they are named (`make e2e`, or `pytest tests/e2e`): they need root, Debian
packages and real ports. Missing packages fail the run with their names.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.e2e.peers.clients import Clients
from tests.e2e.peers.kms_server import Kms
from tests.e2e.peers.knot import Knot
from tests.e2e.peers.mx_matrix import MATRIX_RECORDS
from tests.e2e.peers.postfix import Postfix, PostfixSettings
from tests.e2e.peers.process import free_port, missing_packages
from tests.e2e.peers.world import DOWN_HOST, FAR_HOST, OFFICE, RECORDS, SMARTHOST, Smarthost, make_far

StartKms = Callable[..., Kms]

DIRECT_PORT = free_port(FAR_HOST)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """These files are collected only where the command line names this folder or a file in it."""
    here = Path(__file__).parent
    for argument in config.invocation_params.args:
        path = Path(config.invocation_params.dir, str(argument).partition("::")[0]).resolve()
        if path == here or here in path.parents:
            return None
    return True


@pytest.fixture(scope="session", autouse=True)
def real_peers() -> None:
    """Everything needed is installed, or the run fails and says what to install."""
    missing = missing_packages()
    if missing:
        pytest.exit(f"the end-to-end tests need: apt-get install {' '.join(missing)}", returncode=1)
    if os.getuid() != 0:
        pytest.exit("the end-to-end tests start Postfix and so need root", returncode=1)


@pytest.fixture(scope="session")
def ground() -> Iterator[Path]:
    """A folder that the peers' own users can reach, removed afterwards (kept with KMS_KEEP=1)."""
    folder = Path(tempfile.mkdtemp(prefix="kms-e2e-"))
    folder.chmod(0o755)
    yield folder
    if not os.environ.get("KMS_KEEP"):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def knot(ground: Path) -> Iterator[Knot]:
    """DNS with the test zones."""
    server = Knot(ground / "knot", (*RECORDS, *MATRIX_RECORDS))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def far(ground: Path) -> Iterator[Postfix]:
    """The foreign world: the MX of far.test, with one mailbox."""
    server = make_far(ground / "far", DIRECT_PORT)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def down(ground: Path) -> Iterator[Postfix]:
    """The MX of down.test; not started."""
    settings = PostfixSettings(
        hostname="mx.down.test",
        host=DOWN_HOST,
        port=DIRECT_PORT,
        mailboxes=["box@down.test"],
        domains=["down.test"],
    )
    server = Postfix(ground / "down", settings)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def smarthost(ground: Path) -> Iterator[Postfix]:
    """A Postfix that takes mail only after AUTH (`office`, `let me relay`), in clear or after STARTTLS."""
    world = Smarthost(ground, free_port(SMARTHOST))
    yield world.server
    world.stop()


def unused(ground: Path, name: str) -> Path:
    """A folder name in the ground that nobody has used, with the test's name in it."""
    word = "".join(c if c.isalnum() else "-" for c in name)[5:29].strip("-")
    return ground / f"{len(list(ground.iterdir())):03d}-{word}"


@pytest.fixture
def start_kms(ground: Path, knot: Knot, request: pytest.FixtureRequest) -> Iterator[StartKms]:
    """Start a kms whose world is the test zones; overrides are INI sections. What runs at the end is stopped."""
    running: list[Kms] = []

    def start(
        overrides: Mapping[str, Mapping[str, str]] | None = None,
        *,
        users: tuple[str, ...] = ("alice@example.test", "bob@example.test"),
    ) -> Kms:
        server = Kms(unused(ground, request.node.name))
        server.configure(
            {
                "address_groups": {"Office": OFFICE},
                "relay": {"address_group": "Office", "pop_window": "30 minutes"},
                "delivery": {"direct_port": str(DIRECT_PORT), "allow_private_hosts": "yes"},
                "dns": {"nameservers": knot.address, "timeout": "3 s"},
                "limits": {"sender_domain_must_exist": "yes"},
                "queue": {"retry_interval": "1 s"},
            }
        )
        server.configure(overrides or {})
        running.append(server)
        server.start()
        for user in users:
            server.add_user(user)
        return server

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def clients(tmp_path: Path) -> Clients:
    """swaks, curl, msmtp, mpop, fetchmail and openssl as a user would call them."""
    return Clients(tmp_path)
