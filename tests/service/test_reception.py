"""Contents and commits behind the session; more stands in tests/dialogues/reception/."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kms.domain.content import FileContent, InlineContent
from kms.domain.dsn_request import MessageRequest, Notify, RecipientRequest, Returned
from kms.policy.transaction import TransactionRules
from kms.protocol.smtp_events import TransactionAborted
from kms.store.bodies import body_path
from kms.store.queue_store import load_entry
from kms.store.schema import StoreError
from tests.support.log_events import logged
from tests.support.results import without_ids
from tests.support.smtp_parts import Client
from tests.support.smtp_rig import MEMBER, SmtpRig

LATER = "451 4.3.0 Temporary trouble here, try again later"
SMALL = b"Subject: hello\r\n\r\nHello\r\n"
LINE = b"x" * 998 + b"\r\n"
LARGE = b"Subject: large\r\n\r\n" + LINE * 200
GOOD = "AUTH PLAIN AGFubmFAZXhhbXBsZS5vcmcAc2VjcmV0"


@pytest.fixture
def rig(tmp_path: Path) -> SmtpRig:
    return SmtpRig(tmp_path)


def begin(client: Client, *recipients: str) -> None:
    """Come to the point where the content is sent."""
    names = recipients or ("anna@example.org",)
    said = client.say("MAIL FROM:<max@stranger.example>", *[f"RCPT TO:<{name}>" for name in names], "DATA")
    assert said[-1].startswith("354 ")


def send(client: Client, content: bytes = SMALL, *recipients: str) -> list[str]:
    """Send one message; what the server says at its end."""
    begin(client, *recipients)
    client.send(content + b".\r\n")
    return client.hear()


def queue_id_of(said: list[str]) -> str:
    [answer] = said
    found = re.fullmatch(r"250 2\.0\.0 Ok: queued as (\w+)", answer)
    assert found is not None, answer
    return found[1]


# What is stored


def test_a_small_message_is_stored_behind_its_trace_line(rig: SmtpRig) -> None:
    queue_id = queue_id_of(send(rig.greeted()))
    [(entry, content)] = rig.stored
    assert isinstance(content, InlineContent)
    trace, _, rest = content.data.partition(b"Subject")
    assert trace.startswith(b"Received: from client.example")
    assert queue_id.encode() in trace
    assert b"Subject" + rest == SMALL
    assert entry.queue_id == queue_id
    assert entry.content_octets == len(content.data)
    assert rig.database.connection.execute("SELECT data FROM content").fetchone()[0] == content.data


def test_a_large_message_is_stored_in_its_body_file(rig: SmtpRig) -> None:
    queue_id = queue_id_of(send(rig.greeted(), LARGE))
    [(entry, content)] = rig.stored
    assert isinstance(content, FileContent)
    assert content.path == str(body_path(rig.spool, entry.number))
    data = Path(content.path).read_bytes()
    assert data.startswith(b"Received: from client.example")
    assert data.endswith(LARGE)
    assert queue_id.encode() in data[:500]
    assert entry.content_octets == len(data)
    assert rig.rows() == 1


def test_a_message_in_many_pieces_is_the_same(rig: SmtpRig) -> None:
    client = rig.greeted()
    begin(client)
    content = b"..Subject: x\r\n\r\n..\r\n" + LINE * 70 + b"..end\r\n.\r\n"
    for start in range(0, len(content), 997):
        client.send(content[start : start + 997])
    queue_id_of(client.hear())
    assert rig.contents()[0].endswith(b".Subject: x\r\n\r\n.\r\n" + LINE * 70 + b".end\r\n")


def test_a_message_in_chunks_is_the_same_as_one_by_data(rig: SmtpRig) -> None:
    client = rig.greeted()
    client.say("MAIL FROM:<max@stranger.example>", "RCPT TO:<anna@example.org>")
    for start in range(0, len(LARGE), 30000):
        chunk = LARGE[start : start + 30000]
        client.send(b"BDAT %d\r\n" % len(chunk) + chunk)
        assert client.hear() == ["250 2.0.0 Chunk received"]
    client.send(b"BDAT 0 LAST\r\n")
    queue_id_of(client.hear())

    [content] = rig.contents()
    assert content.endswith(b"\r\n" + LARGE)
    assert len(rig.body_files()) == 1


def test_chunks_given_up_leave_no_file(rig: SmtpRig) -> None:
    client = rig.greeted()
    client.say("MAIL FROM:<max@stranger.example>", "RCPT TO:<anna@example.org>")
    client.send(b"BDAT %d\r\n" % len(LARGE) + LARGE)
    assert len(rig.body_files()) == 1

    assert client.say("RSET")[-1] == "250 2.0.0 Reset"

    assert (rig.body_files(), rig.rows(), rig.stored) == ([], 0, [])


def test_chunks_on_a_disk_that_fails_are_put_off_at_the_last(rig: SmtpRig) -> None:
    client = rig.greeted()
    rig.bodies.failures.append(OSError(28, "No space left on device"))
    client.say("MAIL FROM:<max@stranger.example>", "RCPT TO:<anna@example.org>")
    with logged("kms.bodies"):
        client.send(b"BDAT %d\r\n" % len(LARGE) + LARGE + b"BDAT 0 LAST\r\n")
        assert client.hear()[-1] == LATER

    assert (rig.body_files(), rig.rows()) == ([], 0)


@pytest.mark.parametrize("rest", [b"", LINE * 200])
@pytest.mark.parametrize(("text", "is_8bit"), [(b"plain", False), (b"k\xc3\xa4se", True)])
def test_octets_above_127_are_noted_in_the_envelope(
    rig: SmtpRig, text: bytes, is_8bit: bool, rest: bytes
) -> None:
    send(rig.greeted(), b"Subject: " + text + b"\r\n\r\n" + rest)
    [(entry, _)] = rig.stored
    assert entry.envelope.is_8bit is is_8bit


def test_the_arrival_is_when_data_began(rig: SmtpRig) -> None:
    client = rig.greeted()
    begin(client)
    at = rig.clock.now()
    client.send(LINE)
    rig.reactor.advance(20)
    client.send(LINE * 100 + b".\r\n")
    [(entry, _)] = rig.stored
    assert entry.arrived_at == entry.due_at == at


@pytest.mark.parametrize("content", [SMALL, LARGE])
def test_the_mail_log_tells_who_brought_the_message(rig: SmtpRig, content: bytes) -> None:
    client = rig.greeted()
    client.say(GOOD)
    queue_id = queue_id_of(send(client, content))
    lines = [re.sub(r"\[\d+\]: ", ": ", line, count=1) for line in rig.mail_lines()]
    assert lines[1].startswith(
        f"smtpd: {queue_id}: client=unknown[203.0.113.9], helo=<client.example>, sasl_user"
    )
    assert lines[2].startswith(f"qmgr: {queue_id}: from=<max@stranger.example>, size=")


def test_a_submission_lacks_neither_date_nor_message_id_whatever_its_text_says(tmp_path: Path) -> None:
    rig = SmtpRig(tmp_path, service={"is_submission": True})
    client = rig.greeted()
    client.say(GOOD)
    send(client, b"Subject: x\r\n\r\nDate: of the meeting\r\nMessage-ID: as above\r\n")
    header = rig.contents()[0].split(b"\r\n\r\n")[0]
    assert b"\r\nDate: " in header
    assert b"\r\nMessage-ID: <" in header


@pytest.mark.parametrize("rest", [b"", LINE * 200])
def test_hidden_addresses_stand_nowhere_in_the_message(rig: SmtpRig, rest: bytes) -> None:
    rig.trace.hides_local_ip = True
    send(rig.greeted(MEMBER), SMALL + rest)
    send(rig.greeted(), SMALL + rest)
    hidden, shown = rig.contents()
    assert MEMBER.encode() not in hidden
    assert b"203.0.113.9" in shown


def test_every_message_has_a_number_of_its_own(rig: SmtpRig) -> None:
    client = rig.greeted()
    ids = {queue_id_of(send(client)) for _ in range(20)}
    assert len(ids) == 20


# When 250 is said


@pytest.mark.parametrize("content", [SMALL, LARGE])
def test_250_is_said_only_after_the_commit(rig: SmtpRig, content: bytes) -> None:
    client = rig.greeted()
    begin(client)
    rig.database.is_held = True
    client.send(content + b".\r\n")
    assert client.hear() == []
    assert rig.stored == []
    rig.database.release()
    queue_id_of(client.hear())
    assert rig.rows() == 1


@pytest.mark.parametrize("content", [SMALL, LARGE])
def test_a_client_that_goes_while_the_commit_is_under_way_has_left_its_message(
    rig: SmtpRig, content: bytes
) -> None:
    client = rig.greeted()
    begin(client)
    rig.database.is_held = True
    client.send(content + b".\r\nMAIL FROM:<next@stranger.example>\r\n")
    client.lose()
    with logged("kms") as told:
        rig.database.release()
    assert told == []
    assert rig.rows() == 1
    assert len(rig.body_files()) == (content is LARGE)


@pytest.mark.parametrize("content", [SMALL, LARGE])
def test_what_the_store_does_not_take_is_put_off_and_not_kept(rig: SmtpRig, content: bytes) -> None:
    client = rig.greeted()
    rig.database.failures.append(StoreError("the disk is full"))
    with logged("kms.reception") as told:
        assert send(client, content) == [LATER]
    assert len(told) == 1
    assert rig.rows() == 0
    assert rig.body_files() == []
    queue_id_of(send(client, content))


def test_a_body_file_that_cannot_be_finished_is_put_off_and_not_kept(rig: SmtpRig) -> None:
    client = rig.greeted()
    begin(client)
    client.send(LARGE)
    rig.bodies.failures.append(OSError(5, "Input/output error"))
    client.send(b".\r\n")
    assert client.hear() == [LATER]
    assert rig.rows() == 0
    assert rig.body_files() == []
    queue_id_of(send(client, LARGE))


def test_a_body_file_that_cannot_be_written_to_its_end_is_put_off_and_not_kept(rig: SmtpRig) -> None:
    client = rig.greeted()
    begin(client)
    client.send(LARGE)
    rig.bodies.failures.append(OSError(28, "No space left on device"))
    client.send(LINE * 64 + b"x\r\n.\r\n")
    assert client.hear() == [LATER]
    assert rig.body_files() == []


def test_after_a_failed_write_the_rest_is_read_and_thrown_away(rig: SmtpRig) -> None:
    client = rig.greeted()
    begin(client)
    rig.bodies.failures.append(OSError(28, "No space left on device"))
    with logged("kms.bodies") as told:
        client.send(LARGE)
        calls = rig.bodies.calls
        client.send(LARGE)
    assert rig.bodies.calls == calls
    assert len(told) == 1
    client.send(b".\r\n")
    assert client.hear() == [LATER]
    assert "END-OF-MESSAGE" in rig.mail_lines()[-1]
    queue_id_of(send(client))


def test_while_a_part_is_written_nothing_more_is_read(rig: SmtpRig) -> None:
    client = rig.greeted()
    begin(client)
    rig.bodies.is_held = True
    for _ in range(9):
        client.send(LINE * 60)
    assert rig.bodies.calls == 1
    assert client.wire.producerState == "paused"
    rig.bodies.is_held = False
    rig.bodies.release()
    assert client.wire.producerState == "producing"
    client.send(b".\r\n")
    queue_id_of(client.hear())
    assert rig.contents()[0].endswith(LINE * 540)


def test_a_prefix_that_cannot_be_made_is_trouble_of_ours(
    rig: SmtpRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = rig.greeted()
    begin(client)

    def fail(*_: object) -> bytes:
        raise RuntimeError("no trace")

    with monkeypatch.context() as patched:
        patched.setattr(rig.trace, "compose", fail)
        client.send(LARGE)
        client.send(b".\r\n")
        assert client.hear() == [LATER]
        assert send(client) == [LATER]
    assert rig.body_files() == []
    queue_id_of(send(client, LARGE))


# What is dropped


def test_a_large_message_that_is_cut_off_leaves_nothing(rig: SmtpRig) -> None:
    client = rig.greeted()
    begin(client)
    client.send(LARGE)
    assert len(rig.body_files()) == 1
    client.lose()
    assert rig.body_files() == []
    assert rig.rows() == 0
    assert "disconnect from unknown[203.0.113.9]" in rig.mail_lines()[-1]


def test_a_large_message_that_is_cut_off_while_a_part_is_written_leaves_nothing(rig: SmtpRig) -> None:
    client = rig.greeted()
    begin(client)
    rig.bodies.is_held = True
    client.send(LARGE)
    client.lose()
    rig.bodies.release()
    assert rig.body_files() == []


def test_a_bare_newline_at_the_end_of_a_large_message_drops_its_file(rig: SmtpRig) -> None:
    client = rig.greeted()
    begin(client)
    client.send(LARGE)
    assert len(rig.body_files()) == 1
    client.send(b"bare\nnewline\r\n.\r\n")
    assert without_ids(client.hear()) == ["550 5.6.0 Bare CR or LF in the message"]
    assert rig.body_files() == []
    assert "END-OF-MESSAGE from unknown[203.0.113.9]: 550 5.6.0" in rig.mail_lines()[-1]
    queue_id_of(send(client))


def test_a_message_that_becomes_too_large_drops_its_file(tmp_path: Path) -> None:
    rig = SmtpRig(tmp_path, session={"max_message_octets": 150_000})
    client = rig.greeted()
    begin(client)
    client.send(LINE * 100)
    assert len(rig.body_files()) == 1
    client.send(LINE * 100 + b".\r\n")
    assert without_ids(client.hear()) == ["552 5.3.4 Message is larger than the limit"]
    assert rig.body_files() == []
    queue_id_of(send(client))


def test_a_large_message_that_went_round_too_often_drops_its_file(rig: SmtpRig) -> None:
    rig.checks.contents.rules = TransactionRules(max_received_hops=2)
    client = rig.greeted()
    assert without_ids(send(client, b"Received: x\r\n" * 3 + LARGE)) == [
        "554 5.4.6 Too many Received fields: a mail loop"
    ]
    assert rig.body_files() == []
    queue_id_of(send(client, b"Received: x\r\n" * 2 + LARGE + b"Received: x\r\n"))


@pytest.mark.parametrize("content", [SMALL, LARGE])
def test_what_lay_in_a_recipients_mailbox_before_is_refused_and_not_reported_later(
    rig: SmtpRig, content: bytes
) -> None:
    loop = ["554 5.4.6 the message was in this mailbox already: a mail loop"]
    client = rig.greeted()
    assert without_ids(send(client, b"delivered-to: Anna@example.org\r\n" + content)) == loop
    refused = send(client, b"Delivered-To: bert@example.org\r\n" + content, "team@example.org")
    assert without_ids(refused) == loop
    assert rig.body_files() == []
    assert rig.rows() == 0
    queue_id_of(send(client, b"Delivered-To: bert@example.org\r\n" + content))
    queue_id_of(send(client, b"Delivered-To: x@relay.example\r\n" + content, "x@relay.example"))


def test_a_new_transaction_begins_empty(rig: SmtpRig) -> None:
    client = rig.greeted()
    client.say("MAIL FROM:<>", "RCPT TO:<bert@example.org>", "RSET")
    send(client)
    assert rig.envelopes() == ["max@stranger.example -> anna@example.org"]
    assert client.connection.visit.transaction is None


def test_ehlo_ends_a_transaction(rig: SmtpRig) -> None:
    client = rig.greeted()
    client.say("MAIL FROM:<>", "RCPT TO:<bert@example.org>", "EHLO again")
    assert client.connection.visit.transaction is None
    assert rig.reception.answer(client.connection.visit, TransactionAborted()) is None


# Mail beyond ASCII (RFC 6531)

JUERGEN = "jürgen@bücher.example"


def send_utf8(
    client: Client, content: str, *recipients: str, sender: str = "max@stranger.example"
) -> list[str]:
    """Send one message with SMTPUTF8."""
    client.send(f"MAIL FROM:<{sender}> SMTPUTF8\r\n".encode())
    client.send("".join(f"RCPT TO:<{name}>\r\n" for name in recipients).encode())
    assert client.say("DATA")[-1].startswith("354 ")
    client.send(content.encode() + b"\r\n.\r\n")
    return client.hear()


@pytest.mark.parametrize(
    "address",
    [JUERGEN, "JÜRGEN@BÜCHER.example", "jürgen+x@xn--bcher-kva.example", "ju\u0308rgen@bu\u0308cher.example"],
)
def test_one_mailbox_is_found_by_all_its_spellings(rig: SmtpRig, address: str) -> None:
    queue_id_of(send_utf8(rig.greeted(), "Subject: x\r\n\r\n", address))
    [(entry, _)] = rig.stored
    assert [str(item.forward_path) for item in entry.envelope.recipients] == ["anna@example.org"]


def test_a_domain_is_local_also_in_u_labels_and_logged_in_a_labels(rig: SmtpRig) -> None:
    client = rig.greeted()
    client.send("MAIL FROM:<> SMTPUTF8\r\nRCPT TO:<nobody@bücher.example>\r\n".encode())
    assert client.hear()[-1].startswith("550 5.1.1 ")
    assert "<nobody@xn--bcher-kva.example>" in rig.security_lines()[-1]
    client.send("RCPT TO:<jörg@bücher.far.example>\r\n".encode())
    assert client.hear()[-1].startswith("550 5.7.1 Relaying to <jörg@xn--bcher-kva.far.example> denied")
    assert "j\\xf6rg@xn--bcher-kva.far.example" in rig.mail_lines()[-1]


@pytest.mark.parametrize("body", ["", "x" * 998 + "\r\n"])
@pytest.mark.parametrize(("subject", "is_utf8"), [("Gruesse", False), ("Grüße", True)])
def test_mail_is_international_where_its_header_really_is(
    rig: SmtpRig, subject: str, is_utf8: bool, body: str
) -> None:
    send_utf8(rig.greeted(), f"Subject: {subject}\r\n\r\nGrüße\r\n{body * 200}", JUERGEN)
    [(entry, _)] = rig.stored
    assert entry.envelope.has_utf8_header is is_utf8
    assert entry.envelope.is_8bit
    [content] = rig.contents()
    trace = content.partition(b"Subject")[0].decode()
    assert "with UTF8SMTP\r\n" in trace
    assert ("for <jürgen@xn--bcher-kva.example>" in trace) is is_utf8
    assert trace.isascii() is not is_utf8
    assert any("proto=UTF8SMTP" in line for line in rig.mail_lines())


def test_a_header_beyond_ascii_without_smtputf8_is_kept_and_noted(rig: SmtpRig) -> None:
    queue_id = queue_id_of(send(rig.greeted(), "Subject: Grüße\r\n\r\n".encode()))
    note = f"{queue_id}: warning: octets above 127 in the header without SMTPUTF8"
    assert any(note in line for line in rig.mail_lines())
    [(entry, _)] = rig.stored
    assert (entry.envelope.is_8bit, entry.envelope.has_utf8_header) == (True, False)
    assert rig.contents()[0].endswith("Subject: Grüße\r\n\r\n".encode())


def test_the_next_message_is_a_plain_one_again(rig: SmtpRig) -> None:
    client = rig.greeted()
    send_utf8(client, "Subject: Grüße\r\n\r\n", JUERGEN)
    send(client)
    assert b"with ESMTP\r\n" in rig.contents()[1]


# What is asked of reports (RFC 3461)


def test_what_mail_and_rcpt_ask_of_reports_is_stored(tmp_path: Path) -> None:
    rig = SmtpRig(tmp_path, session={"offers_dsn": True})
    client = rig.greeted()
    client.say(
        "MAIL FROM:<max@stranger.example> RET=HDRS ENVID=x1",
        "RCPT TO:<team@example.org> NOTIFY=NEVER ORCPT=rfc822;team@example.net",
        "RCPT TO:<fritz@example.org>",
        "DATA",
    )
    client.send(SMALL + b".\r\n")
    queue_id_of(client.hear())

    entry = load_entry(rig.database.connection, rig.stored[0][0].number)
    assert entry is not None
    asked = RecipientRequest(Notify.NEVER, "rfc822;team@example.net")
    assert entry.envelope.request == MessageRequest(Returned.HEADER, "x1")
    assert [item.request for item in entry.envelope.recipients] == [asked, asked, None]
