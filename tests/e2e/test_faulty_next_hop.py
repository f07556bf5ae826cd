"""The next server fails at every stage, for a while or for good: one copy, or one report, of each message."""

import re
import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.faulty_kms import FAR, SENDER, FaultyKms, Letter
from tests.e2e.conftest import unused
from tests.e2e.peers.process import wait_until
from tests.e2e.peers.sink import ABORT, CLOSE

TRANSIENT = (
    ("greeting", "421 4.3.2 going down"),
    ("greeting", "450 4.3.2 later"),
    ("greeting", CLOSE),
    ("greeting", "what is this"),
    ("EHLO", "421 4.3.2 going down"),
    ("EHLO", CLOSE),
    ("MAIL", "451 4.3.0 trouble"),
    ("MAIL", "what is this"),
    ("MAIL", ABORT),
    ("RCPT", "450 4.2.1 busy"),
    ("RCPT", "452 4.5.3 too many"),
    ("RCPT", CLOSE),
    ("DATA", "451 4.3.0 trouble"),
    ("DATA", CLOSE),
    ("dot", "451 4.3.0 trouble"),
    ("dot", CLOSE),
    ("dot", ABORT),
)
PERMANENT = (
    ("MAIL", "550 5.7.1 not you"),
    ("RCPT", "550 5.1.1 nobody"),
    ("RCPT", "553 5.1.3 no such name"),
    ("DATA", "554 5.6.0 no"),
    ("dot", "554 5.7.1 spam"),
    ("dot", "552 5.3.4 too big"),
)


@pytest.fixture(scope="module")
def kms(ground: Path) -> Iterator[FaultyKms]:
    server = FaultyKms(
        unused(ground, "test_faulty-next-hop"),
        {"limits": {"max_recipients": "300"}, "delivery": {"messages_per_connection": "1"}},
    )
    server.begin()
    yield server
    server.end()


def letter_for(kind: str, stage: str, answer: str) -> Letter:
    word = re.sub(r"\W+", "-", answer)
    return Letter(f"{kind}-{stage}-{word}", FAR, 3_000)


@pytest.mark.parametrize(("stage", "answer"), TRANSIENT)
def test_a_fault_for_a_while_gives_one_copy_and_no_report(kms: FaultyKms, stage: str, answer: str) -> None:
    letter = letter_for("transient", stage, answer)
    kms.sink.play({stage: [answer]})
    tries = len(kms.sink.commands)
    assert kms.send(letter)[0] == 250
    wait_until(lambda: kms.queue_length() == 0, seconds=40, what=kms.everything)
    assert stage in kms.sink.commands[tries:]
    assert kms.copies(letter) == 1
    assert kms.reports(letter) == 0


@pytest.mark.parametrize(("stage", "answer"), PERMANENT)
def test_a_fault_for_good_gives_one_report_and_no_copy(kms: FaultyKms, stage: str, answer: str) -> None:
    letter = letter_for("permanent", stage, answer)
    kms.sink.play({stage: [answer] * 5})
    assert kms.send(letter)[0] == 250
    kms.wait_until_idle()
    kms.sink.play({})
    assert kms.reports(letter) == 1
    assert kms.copies(letter) == 0


def send_to(kms: FaultyKms, recipients: list[str], letter: Letter) -> None:
    with smtplib.SMTP("127.0.0.1", kms.smtp, local_hostname="client.test", timeout=20) as session:
        assert session.sendmail(SENDER, recipients, letter.text()) == {}


def test_of_mixed_answers_each_recipient_gets_its_own_end(kms: FaultyKms) -> None:
    letter = Letter("mixed", FAR, 3_000)
    good, late, bad = "good@far.test", "late@far.test", "bad@far.test"
    kms.sink.play({f"RCPT {late}": ["450 4.2.1 busy"] * 2, f"RCPT {bad}": ["550 5.1.1 nobody"] * 5})
    before = len(kms.sink.recipients())
    send_to(kms, [good, late, bad], letter)
    kms.wait_until_idle()
    kms.sink.play({})
    assert sorted(kms.sink.recipients()[before:]) == [good, late]
    assert kms.reports(letter) == 1
    [report] = [text for text in kms.messages(SENDER) if b"Subject: mixed" in text]
    assert bad.encode() in report
    assert good.encode() not in report
    assert late.encode() not in report


def test_250_recipients_get_one_copy_each(kms: FaultyKms) -> None:
    recipients = [f"r{number:03d}@far.test" for number in range(250)]
    before = len(kms.sink.recipients())
    send_to(kms, recipients, Letter("many", FAR, 3_000))
    kms.wait_until_idle()
    assert sorted(kms.sink.recipients()[before:]) == recipients


def test_a_message_that_expires_gives_one_warning_and_one_report(ground: Path) -> None:
    times = {"warn_after": "2 s", "bounce_after": "5 s", "limits_apply_to_smarthost": "yes"}
    kms = FaultyKms(unused(ground, "test_expiry-at-next-hop"), {"queue": times})
    kms.begin()
    try:
        letter = Letter("expired", FAR, 3_000)
        kms.sink.play({"RCPT": ["450 4.2.1 busy"] * 100})
        assert kms.send(letter)[0] == 250
        wait_until(lambda: kms.queue_length() == 0, seconds=40, what=kms.everything)
        actions = sorted(
            action
            for text in kms.messages(SENDER)
            for action in re.findall(rb"^Action: (\w+)", text, re.MULTILINE)
        )
        assert actions == [b"delayed", b"failed"]
        assert kms.copies(letter) == 0
    finally:
        kms.end()
