"""The limits of one client against the real server: a harvest, its block, and who is not concerned."""

import time

from tests.e2e.conftest import StartKms
from tests.e2e.peers.kms_server import PASSWORD, Kms
from tests.e2e.peers.process import wait_until
from tests.e2e.peers.telnet import Telnet
from tests.e2e.peers.world import STRANGER

ALICE = "alice@example.test"
EXEMPT = "127.0.0.99"
LIMITS = {
    "address_groups": {"Friends": EXEMPT},
    "limits": {"exempt_group": "Friends", "unknown_recipients": "3", "messages_per_hour": "2"},
}


def harvest(kms: Kms, names: str, source: str = STRANGER) -> list[str]:
    with Telnet(kms.smtp, source) as client:
        client.say("EHLO x.test")
        client.say("MAIL FROM:<>")
        return [client.say(f"RCPT TO:<{name}@example.test>") for name in names]


def greeting(kms: Kms, source: str = STRANGER) -> str:
    with Telnet(kms.smtp, source) as client:
        return client.greeting


def send(kms: Kms) -> str:
    with Telnet(kms.smtp, STRANGER) as client:
        client.say("EHLO x.test")
        answer = client.say("MAIL FROM:<>")
        if answer.startswith("250"):
            client.say(f"RCPT TO:<{ALICE}>")
            client.say("DATA")
            answer = client.say("Subject: x\r\n\r\nx\r\n.")
        return answer


def test_a_harvest_block_survives_kill_9_and_is_listed_and_lifted(start_kms: StartKms) -> None:
    kms = start_kms(LIMITS, users=(ALICE,))
    assert [answer[:9] for answer in harvest(kms, "ab")] == ["550 5.1.1"] * 2
    assert [answer[:9] for answer in harvest(kms, "cd")] == ["550 5.1.1", "421 4.7.0"]
    time.sleep(0.2)  # the block is stored within a few ms
    kms.kill()
    kms.start()
    assert greeting(kms).startswith("421 4.7.0 Your address is blocked")
    kms.wait_for_log("security", f"SMTP connection from {STRANGER} rejected: directory harvest attack")
    with Telnet(kms.pop3, STRANGER) as reader:
        assert reader.login(ALICE, PASSWORD).startswith("+OK")
    assert all(answer.startswith("550 5.1.1") for answer in harvest(kms, "abcdef", EXEMPT))
    assert greeting(kms, EXEMPT).startswith("220 ")
    assert "harvest" in kms.ctl("blocks", "list")
    assert "harvest" in kms.ctl("limits", "show", STRANGER)
    assert kms.ctl("blocks", "lift", STRANGER) == "1 lifted\n"
    assert greeting(kms).startswith("220 ")
    wait_until(lambda: "was lifted: harvest" in kms.log("security"))


def test_the_messages_of_an_hour_survive_kill_9(start_kms: StartKms) -> None:
    kms = start_kms(LIMITS, users=(ALICE,))
    assert send(kms).startswith("250 2.0.0")
    assert send(kms).startswith("250 2.0.0")
    kms.kill()
    kms.start()
    assert send(kms).startswith("450 4.7.1")
    assert kms.ctl_json("limits", "show", STRANGER)["messages"] == 2  # type: ignore[index]
