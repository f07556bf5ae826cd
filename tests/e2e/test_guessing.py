"""Who guesses passwords is refused, over SMTP and POP3 alike, for a time, even with the right one."""

import pytest

from tests.e2e.conftest import StartKms
from tests.e2e.peers.kms_server import PASSWORD, Kms
from tests.e2e.peers.process import wait_until
from tests.e2e.peers.telnet import Telnet
from tests.e2e.peers.world import STRANGER, VISITOR

ALICE, BOB = "alice@example.test", "bob@example.test"
BLOCK_SECONDS = 6


@pytest.fixture
def kms(start_kms: StartKms) -> Kms:
    limits = {"exempt_group": "", "failed_logins": "3", "failed_logins_block": f"{BLOCK_SECONDS} s"}
    return start_kms({"limits": limits})


def smtp_login(kms: Kms, user: str, password: str, source: str = STRANGER) -> str:
    with Telnet(kms.smtp, source) as session:
        session.say("EHLO client.stranger.test")
        return session.login(user, password)


def pop3_login(kms: Kms, user: str, password: str, source: str = STRANGER) -> str:
    with Telnet(kms.pop3, source) as session:
        session.say(f"USER {user}")
        return session.say(f"PASS {password}")


def test_a_pair_is_refused_over_smtp_and_pop3_and_let_in_when_the_block_is_over(kms: Kms) -> None:
    assert smtp_login(kms, ALICE, "one").startswith("535 5.7.8")
    assert smtp_login(kms, ALICE, "one").startswith("535 5.7.8")
    assert pop3_login(kms, ALICE, "two").startswith("-ERR [AUTH]")
    assert smtp_login(kms, ALICE, "three").startswith("535 5.7.8")
    assert smtp_login(kms, ALICE, PASSWORD).startswith("454 4.7.0")
    assert pop3_login(kms, ALICE, PASSWORD).startswith("-ERR [SYS/TEMP]")
    assert smtp_login(kms, BOB, PASSWORD).startswith("235")
    assert smtp_login(kms, ALICE, PASSWORD, VISITOR).startswith("235")
    kms.wait_for_log("security", f"Logins from {STRANGER} for user {ALICE} refused")
    wait_until(
        lambda: smtp_login(kms, ALICE, PASSWORD).startswith("235"),
        seconds=BLOCK_SECONDS + 5,
        pause=0.5,
        what="the block ends",
    )
    assert pop3_login(kms, ALICE, PASSWORD).startswith("+OK")


def test_the_third_block_of_an_address_is_told_to_the_postmaster(start_kms: StartKms) -> None:
    kms = start_kms({"limits": {"exempt_group": "", "failed_logins": "1", "alarm_after": "2"}})
    for number in range(3):
        assert smtp_login(kms, f"user{number}@example.test", "x").startswith("535")
    wait_until(lambda: any(b"Alarm: " in mail for mail in kms.messages(ALICE)), what=kms.everything)
    assert len(kms.messages(ALICE)) == 1


def test_one_address_gets_no_more_than_thirty_guesses_a_minute(start_kms: StartKms) -> None:
    limits = {"exempt_group": "", "failed_logins": "0", "failed_logins_per_address": "0"}
    kms = start_kms({"limits": limits})
    said = []
    for session in range(5):
        with Telnet(kms.pop3, STRANGER) as guesser:
            for number in range(9):
                guesser.say(f"USER {ALICE}")
                said.append(guesser.say(f"PASS guess {session} {number}"))
    assert sum(one.startswith("-ERR [AUTH]") for one in said) == 30
