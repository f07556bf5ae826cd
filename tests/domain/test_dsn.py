import email
import email.policy
import re
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage

import attrs
import pytest

from kms.domain import reply as replies
from kms.domain.address import Mailbox
from kms.domain.dsn import MAX_HEADER_OCTETS, DeliveryReport, RecipientReport, compose
from kms.domain.reply import Reply
from kms.domain.report_text import BUILT_IN, ReportKind, ReportText
from kms.domain.status import EnhancedStatus
from kms.domain.status_sentence import parse_status_sentences

AT = datetime(2026, 11, 24, 13, 0, 0, 123456, UTC)
ARRIVED = AT - timedelta(hours=4)
HEADER = b"From: joe@example.test\r\nTo: bob@far.test\r\nSubject: =?utf-8?q?H=C3=A9?=\r\n"
BOB = Mailbox("bob", "far.test")
REFUSED = Reply(550, EnhancedStatus(5, 1, 1), "No such user here")

FAILED = DeliveryReport(
    kind=ReportKind.FAILED,
    hostname="mail.example.test",
    recipient=Mailbox("joe", "example.test"),
    queue_id="7C2A91F3",
    arrived_at=ARRIVED,
    at=AT,
    recipients=(RecipientReport(BOB, REFUSED, "mx.far.test[192.0.2.1]:25"),),
    original_header=HEADER,
    text=BUILT_IN[ReportKind.FAILED],
    postmaster=Mailbox("postmaster", "example.test"),
)
DELAYED = attrs.evolve(
    FAILED,
    kind=ReportKind.DELAYED,
    recipients=(
        RecipientReport(
            BOB,
            Reply(450, EnhancedStatus(4, 2, 0), "Greylisted"),
            "mx.far.test[192.0.2.1]:25",
            will_retry_until=ARRIVED + timedelta(days=4),
        ),
    ),
    text=BUILT_IN[ReportKind.DELAYED],
)


def about(*items: RecipientReport) -> DeliveryReport:
    return attrs.evolve(FAILED, recipients=items)


def parse(report: DeliveryReport) -> EmailMessage:
    """Compose, check what holds for every report, and parse."""
    data = compose(report)
    assert data.isascii()
    assert re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", data) is None
    lines = data.split(b"\r\n")
    assert lines[-1] == b""
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    assert max(len(line) for line in lines) <= 998
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert [name.lower() for name in message] == [
        "from",
        "to",
        "subject",
        "date",
        "message-id",
        "auto-submitted",
        "mime-version",
        "content-type",
    ]
    assert [part.get_content_type() for part in parts_of(message)] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]
    return message


def parts_of(message: EmailMessage) -> list[EmailMessage]:
    payload = message.get_payload()
    assert isinstance(payload, list)
    return [part for part in payload if isinstance(part, EmailMessage)]


def text_of(message: EmailMessage) -> str:
    return str(parts_of(message)[0].get_content())


def status_of(message: EmailMessage) -> list[dict[str, str]]:
    blocks = parts_of(message)[1].get_payload()
    assert isinstance(blocks, list)
    return [
        {name: re.sub(r"\s+", " ", str(value)) for name, value in block.items()}
        for block in blocks
        if isinstance(block, EmailMessage)
    ]


def header_of(message: EmailMessage) -> bytes:
    payload = parts_of(message)[2].get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload


def test_the_header_says_who_wrote_it_and_that_it_was_a_machine() -> None:
    message = parse(FAILED)
    assert message["From"] == "Mail Delivery System <MAILER-DAEMON@mail.example.test>"
    assert message["To"] == "joe@example.test"
    assert message["Subject"] == "Your message could not be delivered"
    assert message["Date"] == "Tue, 24 Nov 2026 13:00:00 +0000"
    assert message["Message-ID"] == "<20261124130000.123456.7C2A91F3.failed@mail.example.test>"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"


def test_the_facts_of_a_failure_are_for_programs() -> None:
    about_message, about_bob = status_of(parse(FAILED))
    assert about_message == {
        "Reporting-MTA": "dns; mail.example.test",
        "Arrival-Date": "Tue, 24 Nov 2026 09:00:00 +0000",
    }
    assert about_bob == {
        "Final-Recipient": "rfc822; bob@far.test",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; mx.far.test",
        "Diagnostic-Code": "smtp; 550 5.1.1 No such user here",
        "Last-Attempt-Date": "Tue, 24 Nov 2026 13:00:00 +0000",
    }


def test_the_facts_of_a_delay_say_until_when_it_will_be_tried() -> None:
    message = parse(DELAYED)
    _, about_bob = status_of(message)
    assert about_bob["Action"] == "delayed"
    assert about_bob["Status"] == "4.2.0"
    assert about_bob["Will-Retry-Until"] == "Sat, 28 Nov 2026 09:00:00 +0000"
    text = text_of(message)
    assert "until 2026-11-28 09:00 UTC" in text
    assert "You need not do anything" in text


def test_a_delay_without_end_says_so() -> None:
    endless = attrs.evolve(DELAYED, recipients=(attrs.evolve(DELAYED.recipients[0], will_retry_until=None),))
    message = parse(endless)
    assert "Will-Retry-Until" not in status_of(message)[1]
    assert "until further notice" in text_of(message)


def test_the_words_say_what_happened_and_what_to_do() -> None:
    text = text_of(parse(FAILED))
    assert "This is the mail server at mail.example.test." in text
    assert "<bob@far.test>" in text
    assert "There is no such mailbox. Check the address for typing errors" in text
    assert "mx.far.test[192.0.2.1]:25 said: 550 5.1.1 No such user here" in " ".join(text.split())
    assert "postmaster@example.test" in text
    assert "7C2A91F3" in text


def test_the_original_header_is_attached_as_it_was() -> None:
    assert header_of(parse(FAILED)) == HEADER


def test_a_message_without_header_can_be_reported() -> None:
    assert header_of(parse(attrs.evolve(FAILED, original_header=b""))).strip() == b""


def test_several_recipients_stand_in_one_report_with_a_block_each() -> None:
    message = parse(
        about(
            RecipientReport(BOB, REFUSED, "mx.far.test[192.0.2.1]:25"),
            RecipientReport(Mailbox("eve", "none.test"), replies.NO_SUCH_DOMAIN, "none"),
        )
    )
    _, first, second = status_of(message)
    assert first["Final-Recipient"] == "rfc822; bob@far.test"
    assert second == {
        "Final-Recipient": "rfc822; eve@none.test",
        "Action": "failed",
        "Status": "5.1.2",
        "Diagnostic-Code": "x-kms; 550 5.1.2 the domain does not exist",
        "Last-Attempt-Date": "Tue, 24 Nov 2026 13:00:00 +0000",
    }
    assert "The domain does not exist." in text_of(message)


def test_a_message_that_expired_tells_what_the_last_attempt_said() -> None:
    item = RecipientReport(BOB, replies.DELIVERY_EXPIRED, "none", last_status="450 4.2.0 Greylisted")
    message = parse(about(item))
    _, about_bob = status_of(message)
    assert about_bob["Status"] == "5.4.7"
    assert about_bob["Diagnostic-Code"] == "x-kms; 450 4.2.0 Greylisted"
    assert "450 4.2.0 Greylisted" in text_of(message)


def test_a_failure_is_of_class_five_and_a_delay_of_class_four_whatever_a_server_mixed_up() -> None:
    mixed = Reply(550, EnhancedStatus(4, 2, 1), "confused")
    bare = Reply(550, None, "terse")
    _, first, second = status_of(parse(about(*(RecipientReport(BOB, item, "mx") for item in (mixed, bare)))))
    assert first["Status"] == "5.2.1"
    assert second["Status"] == "5.0.0"
    late = attrs.evolve(DELAYED, recipients=(RecipientReport(BOB, REFUSED, "mx"),))
    assert status_of(parse(late))[1]["Status"] == "4.1.1"


@pytest.mark.parametrize(
    ("where", "host"),
    [
        ("mx.far.test[192.0.2.1]:25", "mx.far.test"),
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("[2001:db8::1]:25", "[2001:db8::1]"),
        ("mx.far.test\r\nEvil: yes", "mx.far.test"),
        ("x" * 400, "x" * 255),
    ],
)
def test_the_server_is_named(where: str, host: str) -> None:
    _, about_bob = status_of(parse(about(RecipientReport(BOB, REFUSED, where))))
    assert about_bob["Remote-MTA"] == f"dns; {host}"


@pytest.mark.parametrize("where", ["", "none", "local", "(strange)"])
def test_where_there_was_no_server_none_is_named(where: str) -> None:
    _, about_bob = status_of(parse(about(RecipientReport(BOB, REFUSED, where))))
    assert "Remote-MTA" not in about_bob


@pytest.mark.parametrize(
    "words",
    [
        "a\r\nEvil: yes\r\n\r\nbody",
        "a\rEvil: yes",
        "a\nEvil: yes",
        "\x1b[31mred\x00\x07\x7f\x85\x9b",
        "x" * 3000,
        "word " * 600,
        "naïve ünïcode ☃ \ud800",
        "a\u2028Evil: yes",
        "",
        "   ",
        "--=_20261124130000.123456.7C2A91F3.failed--",
        "=_20261124130000.123456.7C2A91F3.failed =_20261124130000.123456.7C2A91F3.failed.1",
        "$recipients $oops ${hostname}",
    ],
)
def test_a_hostile_reply_harms_nothing(words: str) -> None:
    report = about(RecipientReport(BOB, Reply(550, None, words), "mx.far.test[192.0.2.1]:25"))
    message = parse(report)
    blocks = status_of(message)
    assert len(blocks) == 2
    assert set(blocks[1]) == {
        "Final-Recipient",
        "Action",
        "Status",
        "Remote-MTA",
        "Diagnostic-Code",
        "Last-Attempt-Date",
    }
    assert header_of(message) == HEADER


def test_words_beyond_ascii_go_as_quoted_printable_and_come_back() -> None:
    text = ReportText("Zu spät für alle", "Grüße: $recipients\n" + "für alle " * 130 + "\n")
    message = parse(attrs.evolve(FAILED, text=text))
    assert message["Subject"] == "Zu spät für alle"
    assert parts_of(message)[0]["Content-Transfer-Encoding"] == "quoted-printable"
    assert "Grüße: <bob@far.test>" in text_of(message)
    assert "für alle " * 129 in text_of(message)


def test_a_very_long_line_of_a_template_is_parted() -> None:
    message = parse(attrs.evolve(FAILED, text=ReportText("x" * 400, "$recipients\n" + "y" * 3000)))
    assert "y" * 3000 in text_of(message)
    assert len(message["Subject"]) <= 300


def test_a_template_cannot_break_the_header() -> None:
    text = ReportText("a\r\nEvil: yes", "b\x00\x1b $recipients\r\n.\r\n")
    message = parse(attrs.evolve(FAILED, text=text))
    assert "Evil" in message["Subject"]


@pytest.mark.parametrize(
    "header",
    [
        b"Subject: gr\xc3\xbc\xc3\x9fe\r\nX: \xff\xfe\r\n",
        b"Subject: " + b"x" * 5000 + b"\r\n",
        b"Subject: \x00\x1b\x07\r\n",
        b"Subject: a\nb\rc\r\n",
        b"Subject: 100 % = all \r\nX: \t \r\n",
        b"--=_20261124130000.123456.7C2A91F3.failed\r\n",
    ],
)
def test_any_original_header_comes_back_as_it_was(header: bytes) -> None:
    assert header_of(parse(attrs.evolve(FAILED, original_header=header))) == header


def test_a_long_header_is_cut_after_a_whole_line() -> None:
    header = b"".join(b"X-%05d: %s\r\n" % (number, b"y" * 80) for number in range(1000))
    found = header_of(parse(attrs.evolve(FAILED, original_header=header)))
    assert len(found) <= MAX_HEADER_OCTETS
    assert header.startswith(found)
    assert found.endswith(b"y\r\n")


def test_a_header_of_one_endless_line_is_cut() -> None:
    found = header_of(parse(attrs.evolve(FAILED, original_header=b"x" * (2 * MAX_HEADER_OCTETS))))
    assert len(found) <= MAX_HEADER_OCTETS + 2


def test_an_address_beyond_ascii_is_written_in_ascii() -> None:
    mailbox = Mailbox("jürgen+a", "far.test")
    report = attrs.evolve(about(RecipientReport(mailbox, REFUSED, "mx")), recipient=mailbox)
    message = parse(report)
    assert status_of(message)[1]["Final-Recipient"] == r"utf-8; j\x{FC}rgen\x{2B}a@far.test"
    assert "jürgen" in message["To"]
    assert "<jürgen+a@far.test>" in text_of(message)


def test_a_quoted_local_part_keeps_its_blanks() -> None:
    mailbox = Mailbox("a  " + "b " * 28 + "c", "far.test")
    data = compose(about(RecipientReport(mailbox, REFUSED, "mx")))
    assert f"Final-Recipient: rfc822; {mailbox}\r\n".encode() in data


def test_text_of_another_alphabet_goes_as_base64_and_comes_back() -> None:
    body = "Сообщение не доставлено:\n\n$recipients\n"
    message = parse(attrs.evolve(FAILED, text=ReportText("Не доставлено", body * 2 + "привет " * 90)))
    assert message["Subject"] == "Не доставлено"
    assert parts_of(message)[0]["Content-Transfer-Encoding"] == "base64"
    assert text_of(message).startswith("Сообщение не доставлено:\r\n\r\n<bob@far.test>\r\n")


def test_the_sentences_of_a_language_stand_beside_the_words_of_the_server() -> None:
    sentences, _ = parse_status_sentences("5.1.1 = Gibt es nicht.\nsaid = $server sprach: $words")
    text = text_of(parse(attrs.evolve(FAILED, sentences=sentences))).replace("\r\n", "\n")
    assert (
        "<bob@far.test>\n    Gibt es nicht.\n    (mx.far.test[192.0.2.1]:25 sprach: 550 5.1.1 No such user here)\n"
        in text
    )


@pytest.mark.parametrize("kind", [ReportKind.DELIVERED, ReportKind.RELAYED])
def test_a_success_tells_the_words_of_the_server_without_advice(kind: ReportKind) -> None:
    item = RecipientReport(BOB, Reply(250, EnhancedStatus(2, 1, 5), "Ok"), "mx.far.test[192.0.2.1]:25")
    message = parse(attrs.evolve(about(item), kind=kind, text=BUILT_IN[kind]))
    assert "<bob@far.test>\r\n    (mx.far.test[192.0.2.1]:25 said: 250 2.1.5 Ok)\r\n" in text_of(message)
    about_bob = status_of(message)[1]
    assert about_bob["Action"] == kind.value
    assert about_bob["Status"] == "2.1.5"


JUERGEN = Mailbox("jürgen", "far.test")
DELIVERED = attrs.evolve(
    FAILED,
    kind=ReportKind.DELIVERED,
    recipients=(RecipientReport(BOB, replies.DELIVERED_TO_MAILBOX, "local"),),
    text=BUILT_IN[ReportKind.DELIVERED],
)
RELAYED = attrs.evolve(
    FAILED,
    kind=ReportKind.RELAYED,
    recipients=(
        RecipientReport(BOB, Reply(250, EnhancedStatus(2, 0, 0), "Ok"), "mx.far.test[192.0.2.1]:25"),
    ),
    text=BUILT_IN[ReportKind.RELAYED],
)


class TestASuccess:
    def test_in_a_mailbox_is_delivered(self) -> None:
        _, about_bob = status_of(parse(DELIVERED))
        assert (about_bob["Action"], about_bob["Status"]) == ("delivered", "2.0.0")
        assert "Remote-MTA" not in about_bob

    def test_at_a_hop_that_reports_nothing_is_relayed(self) -> None:
        _, about_bob = status_of(parse(RELAYED))
        assert (about_bob["Action"], about_bob["Status"]) == ("relayed", "2.0.0")
        assert about_bob["Remote-MTA"] == "dns; mx.far.test"
        assert about_bob["Diagnostic-Code"] == "smtp; 250 2.0.0 Ok"

    def test_of_an_address_that_stands_for_several_is_expanded(self) -> None:
        row = RecipientReport(BOB, replies.ADDRESS_EXPANDED, "none", is_expanded=True)
        message = parse(attrs.evolve(RELAYED, recipients=(row,)))
        assert status_of(message)[1]["Action"] == "expanded"
        assert "stands for several" in text_of(message)


class TestWhatTheSenderNamed:
    def test_comes_back_decoded(self) -> None:
        row = attrs.evolve(FAILED.recipients[0], original_recipient="rfc822;bob+2Bx+3Dy@old.test")
        report = attrs.evolve(FAILED, recipients=(row,), envelope_id="QQ+20314+2B")
        about_message, about_bob = status_of(parse(report))
        assert about_message["Original-Envelope-Id"] == "QQ 314+"
        assert about_bob["Original-Recipient"] == "rfc822; bob+x=y@old.test"
        assert about_bob["Final-Recipient"] == "rfc822; bob@far.test"

    @pytest.mark.parametrize("written", [r"utf-8;j\x{FC}rgen@b.test", "utf-8;jürgen@b.test"])
    def test_beyond_ascii_comes_back_in_ascii(self, written: str) -> None:
        row = attrs.evolve(FAILED.recipients[0], original_recipient=written)
        _, about_bob = status_of(parse(about(row)))
        assert about_bob["Original-Recipient"] == r"utf-8; j\x{FC}rgen@b.test"

    @pytest.mark.parametrize(
        "written", [r"utf-8;a\x{0D}\x{0A}Evil:yes\x{D800}@b", "rfc822;a+0D+0AEvil:yes@b", "x;" + "ü" * 250]
    )
    def test_cannot_forge_a_field_nor_make_a_line_too_long(self, written: str) -> None:
        row = attrs.evolve(FAILED.recipients[0], original_recipient=written)
        _, about_bob = status_of(parse(about(row)))
        assert "Evil" not in about_bob

    def test_is_left_out_where_its_line_would_be_too_long(self) -> None:
        row = attrs.evolve(FAILED.recipients[0], original_recipient="utf-8;" + "ü" * 240)
        assert "Original-Recipient" not in status_of(parse(about(row)))[1]


def third_part(report: DeliveryReport) -> EmailMessage:
    message = email.message_from_bytes(compose(report), policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return parts_of(message)[2]


class TestTheWholeMessage:
    BODY = b"\r\nHello,\r\n.\r\n\r\nbye\r\n"

    def test_comes_back_as_it_was(self) -> None:
        data = compose(attrs.evolve(FAILED, original_rest=self.BODY))
        assert data.isascii()
        assert b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\n" in data
        assert b"\r\n\r\n" + HEADER + self.BODY + b"\r\n--=_" in data

    @pytest.mark.parametrize(
        "rest", [b"\r\n\xff\r\n", b"\r\na\x00b\r\n", b"\r\n" + b"x" * 999 + b"\r\n", b"\r\na\nb\r\n"]
    )
    def test_that_no_7bit_way_carries_exactly_is_its_header(self, rest: bytes) -> None:
        message = parse(attrs.evolve(FAILED, original_rest=rest))
        assert header_of(message) == HEADER

    def test_of_8bit_text_comes_back_to_a_reader_that_takes_it(self) -> None:
        rest = "\r\nGrüße\r\n".encode()
        report = attrs.evolve(FAILED, original_rest=rest, takes_utf8=True)
        assert third_part(report).get_content_type() == "message/rfc822"
        assert HEADER + rest in compose(report)

    def test_and_a_boundary_in_it_do_not_meet(self) -> None:
        rest = b"\r\n--=_20261124130000.123456.7C2A91F3.failed--\r\n"
        assert third_part(attrs.evolve(FAILED, original_rest=rest)).get_content_type() == "message/rfc822"


class TestAnAddressBeyondAscii:
    REPORT = attrs.evolve(FAILED, recipients=(RecipientReport(JUERGEN, REFUSED, "mx"),), takes_utf8=True)
    HEADER = "Subject: Grüße\r\n".encode()

    def test_comes_as_it_is_to_a_reader_that_takes_it(self) -> None:
        data = compose(self.REPORT)
        assert b"Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n" in data
        assert "\r\nFinal-Recipient: utf-8; jürgen@far.test\r\n".encode() in data

    @pytest.mark.parametrize(
        ("header", "kind"),
        [
            (HEADER, "message/global-headers"),
            (b"Subject: Gr\xfc\xdfe\r\n", "text/rfc822-headers"),
            (b"Subject: x\r\n", "text/rfc822-headers"),
        ],
    )
    def test_and_its_header_come_in_the_form_that_fits(self, header: bytes, kind: str) -> None:
        part = third_part(attrs.evolve(self.REPORT, original_header=header))
        assert part.get_content_type() == kind

    def test_and_its_whole_message_come_as_global(self) -> None:
        report = attrs.evolve(self.REPORT, original_header=self.HEADER, original_rest=b"\r\nx\r\n")
        assert third_part(report).get_content_type() == "message/global"

    def test_of_the_original_recipient_counts_too(self) -> None:
        row = RecipientReport(BOB, REFUSED, "mx", original_recipient=r"utf-8;j\x{FC}@b.test")
        data = compose(attrs.evolve(self.REPORT, recipients=(row,)))
        assert "\r\nOriginal-Recipient: utf-8; jü@b.test\r\n".encode() in data
