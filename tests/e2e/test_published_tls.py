"""MTA-STS and DANE towards a real Postfix, with a signed zone, a validating resolver and an HTTPS policy server.

Postfix's own client, `posttls-finger`, is asked about the same servers: what it does not verify gets no mail of ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import DIRECT_PORT, StartKms
from tests.e2e.peers import published_world
from tests.e2e.peers.clients import Clients
from tests.e2e.peers.kms_server import Kms
from tests.e2e.peers.process import wait_until
from tests.e2e.peers.published_world import GOOD, PublishedWorld, ask_posttls_finger, policy
from tests.e2e.peers.world import OFFICE

SENDER = "carol@plain.test"


@pytest.fixture(scope="module")
def world(ground: Path) -> Iterator[PublishedWorld]:
    servers = published_world.start(ground / "published", DIRECT_PORT)
    yield servers
    servers.stop()


def start(
    start_kms: StartKms, world: PublishedWorld, delivery: dict[str, str] | None = None, **more: dict[str, str]
) -> Kms:
    return start_kms(
        {
            "delivery": {"dane": "yes", **(delivery or {})},
            "dns": {"nameservers": world.dns.host},
            "tls": {"ca_file": str(world.ca_file)},
            **more,
        },
        users=(),
    )


def send(clients: Clients, kms: Kms, domain: str) -> None:
    dialogue = clients.swaks(kms.smtp, f"box@{domain}", source=OFFICE, sender=SENDER)
    assert dialogue.status == 0, dialogue.text


def outcome(kms: Kms, domain: str, times: int = 1) -> str:
    """The line of the mail log about the last attempt for this domain."""

    def lines() -> list[str]:
        return [line for line in kms.log().splitlines() if f"to=<box@{domain}>" in line]

    wait_until(lambda: len(lines()) >= times, what=kms.everything)
    return lines()[-1]


def expect_delivery(clients: Clients, kms: Kms, world: PublishedWorld, domain: str, tls: str) -> str:
    send(clients, kms, domain)
    line = outcome(kms, domain)
    assert "status=sent" in line, line
    assert f"tls=({tls})" in line, line
    box = f"box@{domain}"
    wait_until(lambda: len(world.receiver.messages(box)) == 1, what=world.receiver.log)
    assert (b"using TLSv1.3" in world.receiver.messages(box)[0]) == bool(tls)
    return line


def expect_deferral(clients: Clients, kms: Kms, world: PublishedWorld, domain: str, words: str) -> None:
    """Tried twice, in vain: the server was told of no sender, in clear or otherwise, and has no mail."""
    begun = world.receiver.log().count("client=")
    send(clients, kms, domain)
    line = outcome(kms, domain, times=2)
    assert "status=deferred" in line, line
    assert "dsn=4.7." in line, line
    assert words in line, line
    assert "status=bounced" not in kms.log()
    assert kms.queue_length() == 1
    kms.stop()
    assert world.receiver.messages(f"box@{domain}") == []
    assert world.receiver.log().count("client=") == begun


CIPHER = "TLSv1.3 TLS_AES_256_GCM_SHA384"


@pytest.mark.parametrize(
    "domain",
    [
        pytest.param("right", id="the certificate's key is that of the record"),
        pytest.param("anchor", id="the record is of the authority"),
        pytest.param("ended", id="the record is of a certificate that has expired"),
        pytest.param("leaving", id="the host is a signed alias of a name in an unsigned zone"),
    ],
)
def test_a_server_whose_certificate_fits_its_tlsa_records_gets_mail(
    start_kms: StartKms, clients: Clients, world: PublishedWorld, tmp_path: Path, domain: str
) -> None:
    name = f"{domain}.proof.test"
    expect_delivery(clients, start(start_kms, world), world, name, f"{CIPHER}, DANE")
    assert "Verified TLS" in ask_posttls_finger(tmp_path, world, name, DIRECT_PORT, "dane")


@pytest.mark.parametrize(
    ("domain", "words"),
    [
        pytest.param(
            "wrong", "the certificate fits none of the server's TLSA records (DANE)", id="another key"
        ),
        pytest.param(
            "wrongleaving", "fits none of the server's TLSA records (DANE)", id="an alias to without"
        ),
        pytest.param("endedanchor", "certificate has expired (DANE)", id="expired, of the right authority"),
        pytest.param("wrongname", "the certificate is not for nameless.proof.test", id="another name"),
        pytest.param("naked", "TLS is required, and not offered (DANE)", id="STARTTLS was stripped"),
        pytest.param("lost", "TLSA records (DANE) of the server cannot be looked up now", id="no answer"),
    ],
)
def test_a_server_that_does_not_fit_its_tlsa_records_gets_nothing(
    start_kms: StartKms, clients: Clients, world: PublishedWorld, tmp_path: Path, domain: str, words: str
) -> None:
    name = f"{domain}.proof.test"
    expect_deferral(clients, start(start_kms, world), world, name, words)
    if domain != "lost":  # it takes 20 s to say the same
        assert "Verified TLS" not in ask_posttls_finger(tmp_path, world, name, DIRECT_PORT, "dane")


def test_the_next_server_gets_the_mail_where_one_does_not_fit(
    start_kms: StartKms, clients: Clients, world: PublishedWorld
) -> None:
    line = expect_delivery(clients, start(start_kms, world), world, "fallback.proof.test", f"{CIPHER}, DANE")
    assert f"relay=mx.proof.test[{GOOD}]" in line


def test_records_that_are_of_no_use_for_mail_demand_tls_alone(
    start_kms: StartKms, clients: Clients, world: PublishedWorld
) -> None:
    words = f"{CIPHER}, certificate not verified, DANE without usable records"
    expect_delivery(clients, start(start_kms, world), world, "useless.proof.test", words)


def test_a_smarthost_is_held_to_its_tlsa_records_too(
    start_kms: StartKms, clients: Clients, world: PublishedWorld
) -> None:
    for host, words in (("mx.proof.test", f"{CIPHER}, DANE"), ("wrongmx.proof.test", "")):
        smarthost = {"mode": "smarthost", "smarthost": f"{host}:{DIRECT_PORT}"}
        kms = start(start_kms, world, smarthost)
        if words:
            expect_delivery(clients, kms, world, "none.plain.test", words)
        else:
            send(clients, kms, "right.proof.test")
            assert "fits none of the server's TLSA records" in outcome(kms, "right.proof.test")


@pytest.mark.parametrize("domain", ["good", "wild"])
def test_a_server_that_keeps_to_the_domains_policy_gets_mail(
    start_kms: StartKms, clients: Clients, world: PublishedWorld, tmp_path: Path, domain: str
) -> None:
    name = f"{domain}.plain.test"
    expect_delivery(clients, start(start_kms, world), world, name, f"{CIPHER}, MTA-STS")
    assert "Verified TLS" in ask_posttls_finger(tmp_path, world, name, DIRECT_PORT, "verify")


@pytest.mark.parametrize(
    ("domain", "words", "does_finger_agree"),
    [
        pytest.param("ended", "the certificate has expired (MTA-STS)", True, id="expired"),
        pytest.param("naked", "TLS is required, and not offered (MTA-STS)", True, id="STARTTLS was stripped"),
        pytest.param(
            "mismatch",
            "the MTA-STS policy of the domain does not name this server",
            False,  # it knows nothing of policies
            id="the MX record names another server",
        ),
    ],
)
def test_a_server_that_does_not_gets_nothing(
    start_kms: StartKms,
    clients: Clients,
    world: PublishedWorld,
    tmp_path: Path,
    domain: str,
    words: str,
    does_finger_agree: bool,
) -> None:
    name = f"{domain}.plain.test"
    expect_deferral(clients, start(start_kms, world), world, name, words)
    if does_finger_agree:
        assert "Verified TLS" not in ask_posttls_finger(tmp_path, world, name, DIRECT_PORT, "verify")


def test_a_policy_in_testing_hinders_nothing_and_says_what_it_would_have_deferred(
    start_kms: StartKms, clients: Clients, world: PublishedWorld
) -> None:
    kms = start(start_kms, world)
    expect_delivery(clients, kms, world, "testing.plain.test", f"{CIPHER}, MTA-STS testing")
    kms.wait_for_log(
        "output", "would have deferred: the MTA-STS policy of the domain does not name this server"
    )


@pytest.mark.parametrize("domain", ["untrusted", "none"])
def test_a_policy_from_an_untrusted_server_and_one_that_is_none_demand_nothing(
    start_kms: StartKms, clients: Clients, world: PublishedWorld, domain: str
) -> None:
    kms = start(start_kms, world)
    send(clients, kms, f"{domain}.plain.test")
    assert "status=sent" in outcome(kms, f"{domain}.plain.test")
    assert "MTA-STS" not in outcome(kms, f"{domain}.plain.test")
    if domain == "untrusted":
        kms.wait_for_log(
            "output", "The MTA-STS policy of untrusted.plain.test: the certificate is self-signed"
        )
        assert f"mta-sts.{domain}.plain.test/.well-known/mta-sts.txt" not in world.policies.asked


def test_a_policy_counts_after_a_restart_though_its_server_is_gone(
    start_kms: StartKms, clients: Clients, world: PublishedWorld
) -> None:
    name = "later.plain.test"
    world.policies.policies[f"mta-sts.{name}"] = policy("mx.plain.test")
    kms = start(start_kms, world)
    expect_delivery(clients, kms, world, name, f"{CIPHER}, MTA-STS")
    kms.stop()
    del world.policies.policies[f"mta-sts.{name}"]
    kms.start()
    send(clients, kms, name)
    wait_until(lambda: kms.log().count(f"to=<box@{name}>") == 2, what=kms.everything)
    assert kms.log().count(f"tls=({CIPHER}, MTA-STS)") == 2
    assert world.policies.asked.count(f"mta-sts.{name}/.well-known/mta-sts.txt") == 1


def test_without_the_two_settings_nobody_is_asked_and_mail_goes_as_ever(
    start_kms: StartKms, clients: Clients, world: PublishedWorld
) -> None:
    asked = len(world.policies.asked)
    kms = start(start_kms, world, {"dane": "no", "mta_sts": "no"})
    send(clients, kms, "mismatch.plain.test")
    assert f"tls=({CIPHER})" in outcome(kms, "mismatch.plain.test")
    assert len(world.policies.asked) == asked
