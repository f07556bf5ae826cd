import re
from email import message_from_bytes
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from kms.domain.dsn import MAX_HEADER_OCTETS, RecipientReport, compose
from kms.domain.reply import Reply
from kms.domain.report_text import ReportText
from tests.domain.test_dsn import BOB, FAILED

FIELDS = (
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Auto-Submitted",
    "MIME-Version",
    "Content-Type",
)
WORDS = st.text(max_size=600)
# The alphabet that breaks things, dense enough to be hit.
NASTY = st.text(alphabet="\r\n\t \x00\x1b.-=:$aé\u2028", max_size=300)


@settings(max_examples=150, deadline=None)
@given(
    words=WORDS | NASTY,
    where=WORDS | NASTY,
    last=NASTY,
    subject=NASTY,
    body=NASTY,
    header=st.binary(max_size=2000),
    rest=st.none() | st.binary(max_size=200).map(b"\r\n".__add__) | st.just(b"\r\nwhole\r\n"),
    original=NASTY | WORDS,
    envelope_id=NASTY | WORDS,
)
def test_nothing_that_a_stranger_chooses_breaks_a_report(
    words: str,
    where: str,
    last: str,
    subject: str,
    body: str,
    header: bytes,
    rest: bytes | None,
    original: str,
    envelope_id: str,
) -> None:
    item = RecipientReport(
        BOB, Reply(550, None, words), where, last, original_recipient=f"utf-8;{original}" if original else ""
    )
    text = ReportText(subject or "x", body)
    report = attrs.evolve(FAILED, recipients=(item,), text=text, original_header=header)
    data = compose(attrs.evolve(report, original_rest=rest, envelope_id=envelope_id))
    assert data.isascii()
    assert re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n", data) is None
    assert max(map(len, data.split(b"\r\n"))) <= 998
    message = message_from_bytes(data)
    assert tuple(message.keys()) == FIELDS
    parts: Any = message.get_payload()
    text_part, status_part, header_part = parts
    assert text_part.get_content_type() == "text/plain"
    about_message, about_bob = status_part.get_payload()
    assert set(about_message.keys()) - {"Original-Envelope-Id"} == {"Reporting-MTA", "Arrival-Date"}
    assert set(about_bob.keys()) <= {
        "Final-Recipient",
        "Action",
        "Status",
        "Remote-MTA",
        "Diagnostic-Code",
        "Last-Attempt-Date",
        "Original-Recipient",
    }
    if header_part.get_content_type() == "message/rfc822":
        assert rest is not None
        assert header + rest in data
        return
    assert header_part.get_payload(decode=True).removesuffix(b"\r\n") == header.removesuffix(b"\r\n")


@settings(max_examples=40, deadline=None)
@given(lines=st.lists(st.binary(max_size=200), max_size=400))
def test_a_header_comes_back_whole_or_cut_at_the_limit(lines: list[bytes]) -> None:
    header = b"".join(line.replace(b"\r", b"").replace(b"\n", b"") + b"\r\n" for line in lines)
    data = compose(attrs.evolve(FAILED, original_header=header))
    parts: Any = message_from_bytes(data).get_payload()
    payload = parts[2].get_payload(decode=True)
    assert len(payload) <= MAX_HEADER_OCTETS + 2
    assert (header or b"\r\n").startswith(payload)
