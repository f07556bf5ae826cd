"""What a client without UTF8 sees of an international header; the library's own parser reads it again."""

from __future__ import annotations

import email
import email.policy
import re
import sys
from collections import Counter
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms.protocol.pop3_surrogate import HeaderDowngrader, downgrade_header

NOBODY = "invalid@internationalized-address.invalid"


def surrogate(header: str, newline: str = "\n") -> str:
    made = downgrade_header(header.replace("\n", newline).encode())
    return made.decode("ascii")


def read(header: str) -> EmailMessage:
    made = surrogate(header + "\n\n")
    return email.message_from_string(made, policy=email.policy.default)


def addresses(value: str) -> list[tuple[str, str]]:
    return [(one.display_name, one.addr_spec) for one in read(f"To: {value}")["To"].addresses]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("Jürgen <joe@x.example>, b@c.example", [("Jürgen", "joe@x.example"), ("", "b@c.example")]),
        ("Jürgen von Köln <joe@x.example>", [("Jürgen von Köln", "joe@x.example")]),
        ('"Jürgen, \\"der\\" Große" <joe@x.example>', [('Jürgen, "der" Große', "joe@x.example")]),
        ("joe@bücher.example", [("", "joe@xn--bcher-kva.example")]),
        ("Joe <joe@bücher.example>", [("Joe", "joe@xn--bcher-kva.example")]),
        ("jürgen@x.example", [("jürgen@x.example", NOBODY)]),
        ("Jürgen <jürgen@x.example>", [("Jürgen (jürgen@x.example)", NOBODY)]),
        ("Joe <joe@ü..example>", [("Joe (joe@ü..example)", NOBODY)]),
        ("<@ü.example>", [("(@ü.example)", NOBODY)]),
        ("Freunde für immer: jürgen@x.example, b@c;", [("jürgen@x.example", NOBODY), ("", "b@c")]),
        ("joe@x.example (Jürgen)", [("", "joe@x.example")]),
    ],
)
def test_names_and_addresses_stay_where_they_can(value: str, shown: list[tuple[str, str]]) -> None:
    assert addresses(value) == shown


def test_text_becomes_encoded_words_of_which_none_cuts_a_character() -> None:
    text = "Grüße aus Köln, " * 20 + "日本語" * 30
    made = surrogate(f"Subject: {text}\n\n")
    assert max(map(len, made.splitlines())) <= 78 + len("Subject: ")
    assert read(f"Subject: {text}")["Subject"] == text
    for word in re.findall(r"=\?[^?]*\?b\?[^?]*\?=", made):
        email.header.decode_header(word)[0][0].decode("utf-8")


def test_parameters_are_written_as_rfc_2231_does() -> None:
    message = read('Content-Disposition: attachment; size=7;\n filename="Äp\\"fel.txt"; x=y')
    assert message.get_filename() == 'Äp"fel.txt'
    assert message["Content-Disposition"].params["size"] == "7"
    assert surrogate("Content-Type: text/ü\n") == "Content-Type: text/??\n"


def test_a_form_without_encoded_words_keeps_its_text_under_another_name() -> None:
    message = read("Message-ID: <ü@x.example>\nReturn-Path: <ü@x.example>")
    assert message["Message-ID"] is None
    assert message["Downgraded-Message-ID"] == "<ü@x.example>"
    assert message["Downgraded-Return-Path"] == "<ü@x.example>"


def test_fields_in_ascii_and_those_that_are_no_utf_8_stay_octet_for_octet() -> None:
    header = b"Subject:  a  b\r\n\tc\r\nX: \xe4\xf6\r\nno field \xc3\xa4\r\nTo: \xc3\xa4 <a@b>\r\n\r\n"
    assert downgrade_header(header) == header.replace(b"\xc3\xa4 <", b"=?utf-8?b?w6Q=?=\r\n <")


def test_line_ends_stay_what_they_are_and_a_nul_makes_no_mark() -> None:
    assert surrogate("Subject: ü\n", "\r\n") == "Subject: =?utf-8?b?w7w=?=\r\n"
    assert surrogate("Subject: ü") == "Subject: =?utf-8?b?w7w=?="
    assert surrogate("To: a\0b ü <a@b>\n") == "To: a?b =?utf-8?b?w7w=?=\n <a@b>\n"


def test_a_long_list_of_addresses_has_no_long_line() -> None:
    made = surrogate("To: ü <a@b>, " + "somebody@far.example," * 500 + "\n")
    assert max(map(len, made.splitlines())) < 80


@pytest.mark.parametrize("size", [0, 1, 3, 1000])
def test_any_cut_gives_the_same(size: int) -> None:
    message = "Subject: ü\n\nKörper\n\n.\n".encode()
    whole = HeaderDowngrader()
    expected = whole.feed(message, is_last=True)
    parts = HeaderDowngrader()
    size = size or len(message)
    made = b"".join(parts.feed(message[at : at + size], False) for at in range(0, len(message), size))
    assert made + parts.feed(b"", True) == expected
    assert expected.startswith(b"Subject: =?utf-8?b?w7w=?=\n\n")
    assert expected.endswith(message[12:])
    assert parts.added_octets == whole.added_octets == len(expected) - len(message)


def test_a_message_of_nothing_but_a_header_comes_at_its_end() -> None:
    downgrader = HeaderDowngrader()
    assert downgrader.feed("Subject: ü\n".encode(), False) == b""
    assert downgrader.feed(b"", True) == b"Subject: =?utf-8?b?w7w=?=\n"


def test_an_endless_header_is_held_back_no_longer_than_256_kib() -> None:
    downgrader = HeaderDowngrader()
    line = b"X: " + b"\xc3\xa4" * 400 + b"\n"
    given, sent = b"", b""
    while not given:
        given = downgrader.feed(line, False)
        sent += line
    assert len(sent) < 257 * 1024
    assert given == sent.replace(b"\xc3\xa4", b"??")
    assert downgrader.added_octets == 0
    assert downgrader.feed(b"more \xff", True) == b"more \xff"


@pytest.mark.parametrize("part", ["(", '"', "<", "ü ", "ü,", "\\", '"ü\\', "(ü", "ü@", ";ü="])
@pytest.mark.parametrize("name", ["To", "Content-Type", "Subject"])
def test_a_header_made_to_be_slow_is_not(name: str, part: str) -> None:
    """Four times as long, it takes about four times as many calls."""

    def calls(octets: int) -> int:
        header = f"{name}: ü{part * (octets // len(part.encode()))}\n\n"
        seen: Counter[str] = Counter()
        before = sys.getprofile()
        sys.setprofile(lambda frame, event, argument: seen.update([event]))
        try:
            surrogate(header)
        finally:
            sys.setprofile(before)
        return seen.total()

    assert calls(40_000) <= 5 * calls(10_000) + 100


@given(
    st.text(alphabet=st.characters(codec="utf-8"), max_size=60), st.sampled_from(["To", "X", "Content-Type"])
)
def test_whatever_is_in_utf_8_becomes_ascii_and_makes_no_new_field(text: str, name: str) -> None:
    value = re.sub(r"[\r\n]", " ", text)
    made = surrogate(f"{name}: ü{value}\nEnd: x\n\n")
    fields = [line for line in made.split("\n")[:-2] if not line.startswith((" ", "\t"))]
    assert [line.partition(":")[0] for line in fields] == [name, "End"]
