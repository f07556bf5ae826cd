"""Who may send where, shown with real clients from several addresses and a real Postfix that gets the mail or not."""

import base64

import pytest

from tests.e2e.conftest import StartKms
from tests.e2e.peers.clients import Clients
from tests.e2e.peers.kms_server import PASSWORD, Kms
from tests.e2e.peers.postfix import Postfix
from tests.e2e.peers.process import wait_until
from tests.e2e.peers.telnet import Telnet
from tests.e2e.peers.world import OFFICE, STRANGER, VISITOR

ALICE = "alice@example.test"
FAR = "box@far.test"


def arrives(far: Postfix, subject: str, address: str = FAR) -> None:
    """Returns once the foreign Postfix has exactly one message with that subject."""
    line = f"\nSubject: {subject}\n".encode()
    wait_until(lambda: any(line in message for message in far.messages(address)), what=f"{subject} arrives")
    assert sum(line in message for message in far.messages(address)) == 1


def subject(text: str) -> tuple[str, str]:
    return ("--header", f"Subject: {text}")


@pytest.fixture
def kms(start_kms: StartKms, far: Postfix) -> Kms:
    return start_kms()


def test_a_stranger_reaches_a_local_mailbox(kms: Kms, clients: Clients) -> None:
    dialogue = clients.swaks(kms.smtp, ALICE)
    assert dialogue.status == 0, dialogue.text + kms.everything()
    assert dialogue.has_reply("250 2.0.0"), dialogue.text
    wait_until(lambda: len(kms.messages(ALICE)) == 1, what=kms.everything)


def test_a_stranger_is_refused_for_a_foreign_domain(kms: Kms, clients: Clients) -> None:
    dialogue = clients.swaks(kms.smtp, FAR)
    assert dialogue.has_reply("550 5.7.1"), dialogue.text
    assert dialogue.status == 24
    line = f"Relay attempt from IP address {STRANGER}, mail from <carol@stranger.test> to <{FAR}> rejected"
    kms.wait_for_log("security", line)


def test_an_unknown_local_recipient_is_refused_at_rcpt(kms: Kms, clients: Clients) -> None:
    dialogue = clients.swaks(kms.smtp, "nobody@example.test")
    assert dialogue.has_reply("550 5.1.1"), dialogue.text


def test_a_sender_whose_domain_does_not_exist_is_refused(kms: Kms, clients: Clients) -> None:
    dialogue = clients.swaks(kms.smtp, ALICE, sender="x@no-such-domain.test")
    assert dialogue.has_reply("550 5.1.8"), dialogue.text


def test_the_verdict_is_per_recipient(kms: Kms, clients: Clients) -> None:
    dialogue = clients.swaks(kms.smtp, f"{ALICE},{FAR}")
    assert dialogue.has_reply("550 5.7.1"), dialogue.text
    assert dialogue.has_reply("250 2.0.0"), dialogue.text
    wait_until(lambda: len(kms.messages(ALICE)) == 1)


def test_who_has_authenticated_may_send_anywhere(kms: Kms, clients: Clients, far: Postfix) -> None:
    login = ("-a", "PLAIN", "-au", ALICE, "-ap", PASSWORD)
    dialogue = clients.swaks(kms.smtp, FAR, *login, *subject("after auth plain"), sender=ALICE)
    assert dialogue.status == 0, dialogue.text
    arrives(far, "after auth plain")


def test_msmtp_authenticates_by_login_on_the_submission_port(
    kms: Kms, clients: Clients, far: Postfix
) -> None:
    dialogue = clients.msmtp(
        kms.submission,
        FAR,
        b"Subject: from msmtp\n\nhello\n",
        "--auth=login",
        f"--user={ALICE}",
        f"--passwordeval=echo {PASSWORD}",
        sender=ALICE,
    )
    assert dialogue.status == 0, dialogue.text
    arrives(far, "from msmtp")
    [message] = [m for m in far.messages(FAR) if b"Subject: from msmtp" in m]
    assert b"\nDate: " in message
    assert b"\nMessage-ID: " in message


def test_a_wrong_password_is_refused_like_an_unknown_user(kms: Kms) -> None:
    with Telnet(kms.smtp) as session:
        session.say("EHLO client.stranger.test")
        wrong = session.login(ALICE, "wrong")
        unknown = session.login("nobody@example.test", "wrong")
    assert wrong.startswith("535 5.7.8")
    assert wrong == unknown
    kms.wait_for_log("security", "Failed SMTP login from 127.0.0.2 with SASL method PLAIN.")


def test_a_pop3_login_lets_its_address_send_until_the_window_ends(
    start_kms: StartKms, clients: Clients, far: Postfix
) -> None:
    kms = start_kms({"relay": {"pop_window": "3 s"}})
    assert clients.swaks(kms.smtp, FAR, source=VISITOR).has_reply("550 5.7.1")
    wrong = clients.curl_read(f"pop3://127.0.0.1:{kms.pop3}/", f"{ALICE}:wrong", source=VISITOR)
    assert wrong.returncode != 0
    assert clients.swaks(kms.smtp, FAR, source=VISITOR).has_reply("550 5.7.1")
    login = clients.curl_read(f"pop3://127.0.0.1:{kms.pop3}/", f"{ALICE}:{PASSWORD}", source=VISITOR)
    assert login.returncode == 0, login.stderr
    dialogue = clients.swaks(kms.smtp, FAR, *subject("in the window"), source=VISITOR)
    assert dialogue.status == 0, dialogue.text
    assert clients.swaks(kms.smtp, FAR, source=STRANGER).has_reply("550 5.7.1")
    arrives(far, "in the window")
    wait_until(
        lambda: clients.swaks(kms.smtp, FAR, "--quit-after", "RCPT", source=VISITOR).has_reply("550 5.7.1"),
        seconds=8,
        pause=0.3,
        what="the window ends",
    )


def test_windows_can_be_listed_and_revoked(kms: Kms, clients: Clients) -> None:
    login = clients.curl_read(f"pop3://127.0.0.1:{kms.pop3}/", f"{ALICE}:{PASSWORD}", source=VISITOR)
    assert login.returncode == 0, login.stderr
    assert VISITOR in kms.ctl("windows", "list")
    kms.ctl("windows", "revoke", VISITOR)
    assert clients.swaks(kms.smtp, FAR, source=VISITOR).has_reply("550 5.7.1")


def test_a_window_outlives_a_restart(kms: Kms, clients: Clients, far: Postfix) -> None:
    clients.curl_read(f"pop3://127.0.0.1:{kms.pop3}/", f"{ALICE}:{PASSWORD}", source=VISITOR)
    kms.stop()
    kms.start()
    dialogue = clients.swaks(kms.smtp, FAR, *subject("after a restart"), source=VISITOR)
    assert dialogue.status == 0, dialogue.text
    arrives(far, "after a restart")


def test_a_member_of_the_group_may_send_anywhere(kms: Kms, clients: Clients, far: Postfix) -> None:
    dialogue = clients.swaks(kms.smtp, FAR, *subject("from the office"), source=OFFICE)
    assert dialogue.status == 0, dialogue.text
    arrives(far, "from the office")


def test_a_failed_auth_voids_the_group_and_a_good_one_restores_it(kms: Kms, far: Postfix) -> None:
    with Telnet(kms.smtp, OFFICE) as session:
        session.say("EHLO client.stranger.test")
        assert session.login(ALICE, "wrong").startswith("535 5.7.8")
        assert session.say("MAIL FROM:<carol@stranger.test>").startswith("250")
        assert session.say(f"RCPT TO:<{FAR}>").startswith("550 5.7.1")
        assert session.say(f"RCPT TO:<{ALICE}>").startswith("250")
        assert session.say("RSET").startswith("250")
        assert session.say("MAIL FROM:<carol@stranger.test>").startswith("250")
        assert session.say(f"RCPT TO:<{FAR}>").startswith("550 5.7.1")
        session.say("RSET")
        assert session.login(ALICE, PASSWORD).startswith("235 2.7.0")
        assert session.say("MAIL FROM:<carol@stranger.test>").startswith("250")
        assert session.say(f"RCPT TO:<{FAR}>").startswith("250")
        assert session.say("DATA").startswith("354")
        assert session.say("Subject: after a good one\r\n\r\nx\r\n.").startswith("250 2.0.0")
    arrives(far, "after a good one")


def test_swaks_with_a_wrong_password_loses_the_groups_right(kms: Kms, clients: Clients) -> None:
    login = ("--auth-optional", "PLAIN", "-au", ALICE, "-ap", "wrong")
    dialogue = clients.swaks(kms.smtp, FAR, *login, source=OFFICE)
    assert dialogue.has_reply("535 5.7.8"), dialogue.text
    assert dialogue.has_reply("550 5.7.1"), dialogue.text


def test_a_member_that_cancels_auth_may_still_send(kms: Kms, far: Postfix) -> None:
    with Telnet(kms.smtp, OFFICE) as session:
        session.say("EHLO client.stranger.test")
        assert session.say("AUTH PLAIN").startswith("334")
        assert session.say("*").startswith("501")
        assert session.say("AUTH GUESS").startswith("504")
        assert session.say("MAIL FROM:<carol@stranger.test>").startswith("250")
        assert session.say(f"RCPT TO:<{FAR}>").startswith("250")
        assert session.say("DATA").startswith("354")
        assert session.say("Subject: after a cancelled auth\r\n\r\nx\r\n.").startswith("250 2.0.0")
    arrives(far, "after a cancelled auth")


def test_auth_login_works_word_by_word(kms: Kms) -> None:
    def word(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    with Telnet(kms.smtp) as session:
        session.say("EHLO client.stranger.test")
        assert session.say("AUTH LOGIN").startswith("334")
        assert session.say(word(ALICE)).startswith("334")
        assert session.say(word(PASSWORD)).startswith("235 2.7.0")
        assert session.say("AUTH LOGIN").startswith("503")


def test_open_mode_lets_all_through_and_says_so(start_kms: StartKms, clients: Clients, far: Postfix) -> None:
    kms = start_kms({"relay": {"mode": "open"}})
    dialogue = clients.swaks(kms.smtp, FAR, *subject("open relay"))
    assert dialogue.status == 0, dialogue.text
    arrives(far, "open relay")
    assert "open" in (kms.log("security") + kms.log("operations") + kms.log("output")).lower()


def test_open_mode_on_a_public_interface_needs_the_second_switch(start_kms: StartKms) -> None:
    kms = start_kms()
    kms.stop()
    kms.configure({"relay": {"mode": "open"}, "listen": {"smtp": str(kms.smtp)}})
    with pytest.raises(AssertionError, match="ended with 78"):
        kms.start()


@pytest.mark.parametrize(
    "recipient",
    [
        "box%far.test@example.test",
        "far.test!box@example.test",
        '"box@far.test"@example.test',
        "box@far.test@example.test",
        "@example.test:box@far.test",
    ],
)
def test_no_trick_makes_it_relay_for_a_stranger(kms: Kms, recipient: str) -> None:
    with Telnet(kms.smtp) as session:
        session.say("EHLO client.stranger.test")
        assert session.say("MAIL FROM:<carol@stranger.test>").startswith("250")
        assert session.say(f"RCPT TO:<{recipient}>")[:3] in {"501", "550", "553"}


def test_hide_local_ip_leaves_the_address_out_of_received(
    start_kms: StartKms, clients: Clients, far: Postfix
) -> None:
    kms = start_kms({"relay": {"hide_local_ip": "yes"}})
    dialogue = clients.swaks(kms.smtp, FAR, *subject("no address"), source=OFFICE)
    assert dialogue.status == 0, dialogue.text
    arrives(far, "no address")
    [message] = [m for m in far.messages(FAR) if b"Subject: no address" in m]
    assert OFFICE.encode() not in message
