"""What kms did, and would do, told by kmsctl to an administrator."""

import re
from pathlib import Path

import pytest

from tests.e2e.conftest import StartKms
from tests.e2e.peers.clients import Clients
from tests.e2e.peers.kms_server import Kms
from tests.e2e.peers.process import wait_until
from tests.e2e.peers.world import OFFICE, STRANGER

ALICE = "alice@example.test"
FAR = "box@far.test"


@pytest.fixture
def kms(start_kms: StartKms) -> Kms:
    return start_kms()


def refusal_id(text: str) -> str:
    found = re.search(r"\(([0-9A-Z]{6})\)\s*$", text, re.MULTILINE)
    assert found, text
    return found[1]


def test_the_id_of_a_refusal_leads_to_its_reasons_also_after_a_crash(kms: Kms, clients: Clients) -> None:
    text = clients.swaks(kms.smtp, FAR).text
    told = kms.ctl("why", refusal_id(text))
    assert f"client: {STRANGER}" in told
    assert "no relay condition holds" in told
    assert "in relay group: no" in told
    wait_until(lambda: "decision" in str(kms.ctl_json("why", refusal_id(text))))
    kms.kill()
    assert kms.ctl("why", refusal_id(text)) == told
    kms.start()
    assert kms.ctl("why", refusal_id(text)) == told


def test_a_queue_id_leads_to_the_life_of_the_message(kms: Kms, clients: Clients) -> None:
    text = clients.swaks(kms.smtp, ALICE).text
    queue_id = re.search(r"queued as ([0-9A-F]+)", text)
    assert queue_id
    wait_until(lambda: "left the queue" in kms.ctl("why", queue_id[1]))
    told = kms.ctl("why", queue_id[1])
    assert f"accepted from {STRANGER}" in told
    assert f"{ALICE}: delivered, local" in told


def test_explain_says_what_then_happens_and_leaves_no_trace(
    kms: Kms, clients: Clients, tmp_path: Path
) -> None:
    before = (kms.log("mail"), kms.log("security"))
    told = kms.ctl(
        "explain", "--client", STRANGER, "--from", "carol@stranger.test", "--to", FAR, "--to", ALICE
    )
    assert f"S: 550 5.7.1 Relaying to <{FAR}> denied" in told
    assert "S: 250 2.1.5" in told
    assert (kms.log("mail"), kms.log("security")) == before
    assert f"Relaying to <{FAR}> denied" in clients.swaks(kms.smtp, FAR).text


def test_a_candidate_configuration_is_tried_before_it_is_used(kms: Kms, tmp_path: Path) -> None:
    candidate = tmp_path / "candidate.ini"
    text = kms.configuration.read_text()
    candidate.write_text(re.sub(r"(?m)^mode = restricted", "mode = open", text))
    asked = ("explain", "--client", OFFICE, "--to", FAR)
    assert "open relay: any client" not in kms.ctl(*asked)
    assert "open relay: any client" in kms.ctl(*asked, "--config", str(candidate))
    assert "open relay: any client" not in kms.ctl(*asked)
