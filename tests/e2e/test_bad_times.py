"""Next hops in bad times: down for long, refusing, dying, hanging after DATA. Nothing lost, nothing comes twice."""

import re
import time
from collections import Counter
from collections.abc import Iterator

import attrs
import pytest

from tests.e2e.conftest import DIRECT_PORT, StartKms
from tests.e2e.peers.clients import Clients
from tests.e2e.peers.kms_server import Kms
from tests.e2e.peers.postfix import Postfix
from tests.e2e.peers.process import wait_until
from tests.e2e.peers.sink import HANG, ScriptedSink
from tests.e2e.peers.world import OFFICE, STRANGER

ALICE = "alice@example.test"
BOX, DOWN = "box@far.test", "box@down.test"
_SUBJECT = re.compile(rb"^Subject: ([\w -]+)", re.MULTILINE)


def send(clients: Clients, kms: Kms, to: str, subject: str) -> None:
    header = ("--header", f"Subject: {subject}")
    sent = clients.swaks(kms.smtp, to, *header, source=OFFICE, sender=ALICE)
    assert sent.status == 0, sent.text


def subjects(messages: list[bytes]) -> Counter[str]:
    return Counter(found[1].decode().strip() for text in messages if (found := _SUBJECT.search(text)))


def longest_delay(kms: Kms) -> float:
    return max(
        (float(delay) for delay in re.findall(r"delay=([\d.]+).*status=deferred", kms.log())), default=0
    )


def measure(clients: Clients, kms: Kms, far: Postfix, kind: str, count: int = 5) -> list[float]:
    """Send to a server that is well, one after the other; gives the seconds until each is there."""
    seconds = []
    for number in range(count):
        subject = f"{kind} {number}"
        began = time.monotonic()
        send(clients, kms, BOX, subject)
        wait_until(lambda name=subject: subjects(far.messages(BOX))[name] == 1, what=kms.everything)  # type: ignore[misc]
        seconds.append(time.monotonic() - began)
    print(f"{kind}: {min(seconds):.2f} to {max(seconds):.2f} s until the mail is at its destination")
    return seconds


def test_a_smarthost_that_is_down_past_bounce_after_costs_one_warning_and_no_mail(
    start_kms: StartKms, clients: Clients, down: Postfix
) -> None:
    smarthost = f"{down.settings.host}:{down.settings.port}"
    kms = start_kms(
        {
            "delivery": {"mode": "smarthost", "smarthost": smarthost},
            "queue": {"warn_after": "2 s", "bounce_after": "4 s"},
        }
    )
    before = len(down.messages(DOWN))
    send(clients, kms, DOWN, "patience")
    wait_until(lambda: longest_delay(kms) > 7, seconds=30, what=kms.everything)
    [warning] = kms.messages(ALICE)
    assert b"Action: delayed" in warning
    down.start()
    wait_until(lambda: len(down.messages(DOWN)) == before + 1, seconds=20, what=kms.everything)
    kms.wait_for_log("mail", "status=sent")
    assert kms.messages(ALICE) == [warning]


def test_a_server_that_refuses_for_a_while_dies_and_recovers_gets_every_message_once(
    start_kms: StartKms, clients: Clients, down: Postfix, far: Postfix
) -> None:
    kms = start_kms()
    wanted = Counter({f"late {number}": 1 for number in range(10)})
    before = subjects(down.messages(DOWN))
    refusing = Postfix(
        down.folder, attrs.evolve(down.settings, more={"smtpd_recipient_restrictions": "defer"})
    )
    refusing.start()
    for subject in wanted:
        send(clients, kms, DOWN, subject)
    wait_until(lambda: kms.log().count("status=deferred") >= 20, seconds=30, what=kms.everything)
    refusing.stop()
    kms.wait_for_log("mail", "Connection refused", 3)
    measure(clients, kms, far, "beside a server that is dead")
    recovered = Postfix(down.folder, down.settings)
    recovered.start()
    try:
        wait_until(lambda: kms.queue_length() == 0, seconds=40, what=kms.everything)
        assert subjects(recovered.messages(DOWN)) - before == wanted
        assert kms.messages(ALICE) == []
    finally:
        recovered.stop()


@pytest.fixture
def silent() -> Iterator[ScriptedSink]:
    """The MX of stranger.test: it takes every content, and then says nothing."""
    sink = ScriptedSink(DIRECT_PORT, {"dot": [HANG] * 100}, STRANGER)
    yield sink
    sink.stop()


def test_a_server_that_hangs_after_data_slows_nobody_else_and_its_copies_are_flagged(
    start_kms: StartKms, clients: Clients, far: Postfix, silent: ScriptedSink
) -> None:
    kms = start_kms()
    measure(clients, kms, far, "alone")
    for number in range(40):
        send(clients, kms, f"box{number}@stranger.test", f"hung {number}")
    wait_until(lambda: silent.hanging >= 2, what=kms.everything)
    measure(clients, kms, far, "beside a server that hangs")
    assert silent.taken == []
    silent.play({})
    silent.let_go()
    wait_until(lambda: kms.queue_length() == 0, seconds=60, what=kms.everything)
    wanted = sorted(f"box{number}@stranger.test" for number in range(40))
    assert sorted(silent.recipients()) == wanted
    assert kms.log().count("ambiguous: lost after the final dot") == silent.hanging
    assert kms.messages(ALICE) == []


def test_mail_for_a_relay_domain_is_kept_while_its_server_is_down(
    start_kms: StartKms, clients: Clients, down: Postfix
) -> None:
    """A backup MX: anyone's mail for the domain is taken, and goes to the better one when that is there again."""
    kms = start_kms({"domains": {"relay": "down.test"}})
    before = len(down.messages(DOWN))
    sent = clients.swaks(kms.smtp, DOWN, source="127.0.0.2", sender=BOX)
    assert sent.status == 0, sent.text
    assert clients.swaks(kms.smtp, "box@nomail.test", source="127.0.0.2", sender=BOX).has_reply("550")
    kms.wait_for_log("mail", "status=deferred")
    down.start()
    wait_until(lambda: len(down.messages(DOWN)) == before + 1, seconds=20, what=kms.everything)
