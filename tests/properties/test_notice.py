import re
from email import message_from_bytes

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from kms.domain.notice import compose_quota_notice
from kms.domain.report_text import ReportText
from tests.domain.test_notice import JOE, NOTICE

NASTY = st.text(alphabet='\r\n\t \x00\x1b.-=:$aé\u2028,<>@"', max_size=300) | st.text(max_size=600)


@settings(max_examples=150, deadline=None)
@given(name=NASTY, subject=NASTY, body=NASTY)
def test_neither_a_template_nor_a_name_breaks_a_notice(name: str, subject: str, body: str) -> None:
    text = ReportText(f"{subject} $account", f"{body} $account")
    data = compose_quota_notice(attrs.evolve(NOTICE, account=attrs.evolve(JOE, name=name), text=text))
    assert data.isascii()
    assert re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n", data) is None
    assert max(map(len, data.split(b"\r\n"))) <= 998
    message = message_from_bytes(data)
    assert message.keys() == [
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "Auto-Submitted",
        "MIME-Version",
        "Content-Type",
        "Content-Transfer-Encoding",
    ]
