"""Edge case 6: the MX matrix against a real DNS server and real servers on loopback addresses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import DIRECT_PORT, StartKms
from tests.e2e.peers.clients import Clients
from tests.e2e.peers.mx_matrix import BUSY, DEAD, LIVE, REFUSING, Sinks
from tests.e2e.peers.process import wait_until
from tests.e2e.peers.world import OFFICE


@pytest.fixture(scope="module", autouse=True)
def sinks(ground: Path) -> Iterator[Sinks]:
    servers = Sinks(ground / "sinks", DIRECT_PORT)
    yield servers
    servers.stop()


@pytest.mark.parametrize(
    ("domain", "result", "where"),
    [
        pytest.param(
            "implicit.test", "sent", f"implicit.test[{LIVE}]", id="no MX: the domain is its own host"
        ),
        pytest.param("missing.test", "bounced", "dsn=5.1.2", id="no such domain: failed at once"),
        pytest.param("far.no-answer.invalid", "deferred", "dsn=4.4.3", id="DNS refuses: deferred"),
        pytest.param("nomail.test", "bounced", "dsn=5.1.10", id="null MX: failed at once"),
        pytest.param(
            "own.test", "deferred", f"mx.own.test[{DEAD}]", id="ourselves in the set cut it and worse"
        ),
        pytest.param("self.test", "bounced", "dsn=5.4.6", id="only ourselves: a loop"),
        pytest.param(
            "alias.test", "sent", f"also.alias.test[{LIVE}]", id="an MX that is an alias is followed"
        ),
        pytest.param("renamed.test", "sent", f"[{LIVE}]", id="a domain that is an alias is followed"),
        pytest.param("failover.test", "sent", f"b.failover.test[{LIVE}]", id="a dead host gives way"),
        pytest.param("several.test", "sent", f"mx.several.test[{LIVE}]", id="every address is tried"),
        pytest.param("six.test", "sent", f"mx.six.test[{LIVE}]", id="a dead IPv6 does not stop IPv4"),
        pytest.param("busy.test", "sent", f"b.busy.test[{LIVE}]", id="450 in the greeting gives way"),
        pytest.param("refusing.test", "bounced", f"[{REFUSING}]", id="500 to RCPT does not"),
        pytest.param("ghost.test", "bounced", "dsn=5.4.4", id="no host has an address: failed"),
        pytest.param(
            "halfghost.test", "sent", f"b.halfghost.test[{LIVE}]", id="a host without one is skipped"
        ),
        pytest.param(
            "elsewhere.test", "deferred", "dsn=4.4.3", id="a host that cannot be looked up: deferred"
        ),
        pytest.param(f"[{LIVE}]", "sent", f"[{LIVE}]", id="an IPv4 literal"),
        pytest.param("[IPv6:::1]", "deferred", "[::1]", id="an IPv6 literal, where nobody listens"),
    ],
)
def test_where_mail_goes_and_what_comes_of_it(
    start_kms: StartKms, clients: Clients, domain: str, result: str, where: str
) -> None:
    kms = start_kms()
    sent = clients.swaks(kms.smtp, f"box@{domain}", source=OFFICE, sender="alice@example.test")
    assert sent.status == 0, sent.text
    wait_until(lambda: f"to=<box@{domain}>" in kms.log(), what=kms.everything)
    first = next(line for line in kms.log().splitlines() if f"to=<box@{domain}>" in line)
    assert f"status={result}" in first
    assert where in first
    if result == "deferred":
        assert "status=sent" not in kms.log()


@pytest.mark.parametrize("domain", ["implicit.test", "six.test", f"[{BUSY}]"])
def test_private_addresses_are_not_connected_to_unless_allowed(
    start_kms: StartKms, clients: Clients, domain: str
) -> None:
    kms = start_kms({"delivery": {"allow_private_hosts": "no"}})
    sent = clients.swaks(kms.smtp, f"box@{domain}", source=OFFICE, sender="alice@example.test")
    assert sent.status == 0, sent.text
    kms.wait_for_log("mail", "dsn=4.4.4, status=deferred")
