"""Whatever text comes: it is refused, or it is one mailbox and stays the same one when it is printed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from kms.domain.address import (
    AddressSyntaxError,
    Mailbox,
    normalise_domain,
    parse_forward_path,
    parse_mailbox,
)

LABELS = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,8}[A-Za-z0-9_])?", fullmatch=True) | st.sampled_from(
    ["münchen", "MÜNCHEN", "xn--mnchen-3ya", "例子", "faß", "mu\u0308n"]
)
DOMAINS = st.lists(LABELS, min_size=1, max_size=4).map(".".join) | st.sampled_from(
    ["[192.0.2.1]", "[IPv6:2001:DB8::1]", "[IPv6:::ffff:1.2.3.4]"]
)
ATOMS = st.text("abcXYZ019!#$%&'*+-/=?^_`{|}~üß中", min_size=1, max_size=6)
DOT_STRINGS = st.lists(ATOMS, min_size=1, max_size=4).map(".".join)
QUOTED_CONTENT = st.lists(
    st.sampled_from(r"a Z.@<>()[]:;,%!ü中")
    | st.characters(min_codepoint=32, max_codepoint=126).map(lambda c: "\\" + c),
    max_size=12,
).map("".join)
LOCAL_PARTS = DOT_STRINGS | QUOTED_CONTENT.map(lambda content: f'"{content}"')
ROUTES = st.just("") | st.lists(LABELS, min_size=1, max_size=3).map(lambda hops: "@" + ",@".join(hops) + ":")
PATHS = st.builds(
    lambda route, local_part, domain: f"<{route}{local_part}@{domain}>", ROUTES, LOCAL_PARTS, DOMAINS
)
NOISE = st.text(st.sampled_from('aZ.@"\\<>[]:,% \r\n\x00ü。\udc80') | st.characters(), max_size=40)


def parse(text: str) -> Mailbox | None:
    try:
        return parse_forward_path(text)
    except AddressSyntaxError:
        return None


@settings(max_examples=300, deadline=None)
@given(PATHS)
def test_a_well_formed_path_comes_back_from_print_unchanged(path: str) -> None:
    mailbox = parse(path)
    assert mailbox is not None
    printed = str(mailbox)
    assert parse_mailbox(printed) == mailbox
    assert str(parse_mailbox(printed)) == printed


@settings(max_examples=300, deadline=None)
@given(PATHS)
def test_the_domain_that_is_checked_is_that_of_delivery(path: str) -> None:
    mailbox = parse(path)
    assert mailbox is not None
    written = path.rpartition("@")[2].removesuffix(">")
    assert mailbox.domain == normalise_domain(written) == normalise_domain(mailbox.domain)
    assert mailbox.domain.isascii()
    assert str(mailbox).rpartition("@")[2] == mailbox.domain


@settings(max_examples=600, deadline=None)
@given(NOISE.map(lambda noise: f"<{noise}>") | NOISE | st.builds("<{}@{}>".format, NOISE, NOISE))
def test_any_text_is_refused_or_comes_back_from_print(text: str) -> None:
    mailbox = parse(text)
    if mailbox is not None:
        printed = f"<{mailbox}>"
        assert parse_forward_path(printed) == mailbox
        assert len(printed.encode()) <= 256
        assert not set(printed) & {"\r", "\n", "\x00"}


@settings(max_examples=200, deadline=None)
@given(
    st.text(st.characters(min_codepoint=32, max_codepoint=126) | st.sampled_from("üß中"), max_size=15),
    DOMAINS,
)
def test_any_local_part_can_be_printed_and_read(local_part: str, domain: str) -> None:
    mailbox = Mailbox(local_part, normalise_domain(domain))
    assert parse_mailbox(str(mailbox)) == mailbox
