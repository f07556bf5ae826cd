"""Addresses: what is one, what it means, and what is none."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from kms.domain.address import (
    AddressSyntaxError,
    Mailbox,
    format_literal,
    normalise_domain,
    parse_forward_path,
    parse_mailbox,
    parse_reverse_path,
)

LONG_LABEL = "d" * 63


@pytest.mark.parametrize(
    ("text", "local_part", "domain"),
    [
        # dot-strings
        ("user@local.test", "user", "local.test"),
        ("User.Name@Local.TEST", "User.Name", "local.test"),
        ("a@b", "a", "b"),
        ("1@2.3", "1", "2.3"),
        ("!#$%&'*+-/=?^_`{|}~@x.test", "!#$%&'*+-/=?^_`{|}~", "x.test"),
        ("user+tag@x.test", "user+tag", "x.test"),
        ("a@xn--mnchen-3ya.test", "a", "xn--mnchen-3ya.test"),
        ("a@a--b.test", "a", "a--b.test"),
        ("a@_dmarc.x_y.test", "a", "_dmarc.x_y.test"),
        ("l" * 64 + "@x.test", "l" * 64, "x.test"),
        (f"a@{LONG_LABEL}.{LONG_LABEL}.{LONG_LABEL}", "a", f"{LONG_LABEL}.{LONG_LABEL}.{LONG_LABEL}"),
        ("a@192.0.2.1", "a", "192.0.2.1"),
        # quoted strings
        ('"user"@x.test', "user", "x.test"),
        ('"a b"@x.test', "a b", "x.test"),
        ('" "@x.test', " ", "x.test"),
        ('""@x.test', "", "x.test"),
        ('"a@b"@x.test', "a@b", "x.test"),
        ('"a..b."@x.test', "a..b.", "x.test"),
        (r'"a\@b"@x.test', "a@b", "x.test"),
        (r'"a\"b"@x.test', 'a"b', "x.test"),
        (r'"a\\"@x.test', "a\\", "x.test"),
        (r'"\a\ "@x.test', "a ", "x.test"),
        ('"(a)<b>[c];:,"@x.test', "(a)<b>[c];:,", "x.test"),
        # address literals
        ("a@[192.0.2.1]", "a", "[192.0.2.1]"),
        ("a@[IPv6:::1]", "a", "[IPv6:::1]"),
        ("a@[ipv6:2001:DB8:0:0:0:0:0:1]", "a", "[IPv6:2001:db8::1]"),
        ("a@[IPv6:::ffff:192.0.2.1]", "a", "[192.0.2.1]"),
        ("a@[IPv6:2001:db8::192.0.2.1]", "a", "[IPv6:2001:db8::c000:201]"),
        # internationalised (RFC 6531)
        ("müller@münchen.test", "müller", "xn--mnchen-3ya.test"),
        ("a@MÜNCHEN.Test", "a", "xn--mnchen-3ya.test"),
        ("a@mu\u0308nchen.test", "a", "xn--mnchen-3ya.test"),
        ("a@faß.test", "a", "xn--fa-hia.test"),
        ("用户@例子.测试", "用户", "xn--fsqu00a.xn--0zwm56d"),
        ('"ü b"@x.test', "ü b", "x.test"),
    ],
)
def test_an_address_means(text: str, local_part: str, domain: str) -> None:
    mailbox = parse_mailbox(text)
    assert mailbox == Mailbox(local_part, domain)
    assert parse_forward_path(f"<{text}>") == mailbox
    assert parse_reverse_path(f"<{text}>") == mailbox
    assert parse_mailbox(str(mailbox)) == mailbox


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "@",
        "a@",
        "@x.test",
        "a@@x.test",
        "user@far@local",
        # dots
        ".a@x.test",
        "a.@x.test",
        "a..b@x.test",
        "a@.x.test",
        "a@x..test",
        "a@x.test.",
        "a@.",
        # blanks, comments, controls
        " a@x.test",
        "a@x.test ",
        "a @x.test",
        "a@ x.test",
        "a b@x.test",
        "a@x test",
        "a@x.test\n",
        "a\r\nb@x.test",
        "a@x.test\r\n",
        "a\x00@x.test",
        "a@x\x00.test",
        "a\x7f@x.test",
        "\ta@x.test",
        "a(comment)@x.test",
        "a@x.test(comment)",
        # specials outside quotes
        r"a\@b@x.test",
        r"a\b@x.test",
        "a,b@x.test",
        "a:b@x.test",
        "a;b@x.test",
        "<a@x.test>",
        "a<b@x.test",
        "[a]@x.test",
        # quotes
        '"a@x.test',
        'a"@x.test',
        '"a"b@x.test',
        'a"b"@x.test',
        '"a".b@x.test',
        '"a"b"@x.test',
        '"a\\"@x.test',
        '"a\nb"@x.test',
        '"a\x00b"@x.test',
        '"a\\\x01b"@x.test',
        '"\\ü"@x.test',
        '"a"',
        '"a"@',
        # labels
        "a@-x.test",
        "a@x-.test",
        "a@" + "d" * 64 + ".test",
        "a@x$.test",
        "a@x/test",
        "a@x:25",
        # literals
        "a@[192.0.2.1",
        "a@192.0.2.1]",
        "a@[192.0.2]",
        "a@[192.0.2.256]",
        "a@[192.0.2.01]",
        "a@[ 192.0.2.1]",
        "a@[192.0.2.1].test",
        "a@[]",
        "a@[IPv6:]",
        "a@[IPv6:::1::]",
        "a@[IPv6:192.0.2.1]",
        "a@[IPv6:fe80::1%eth0]",
        "a@[2001:db8::1]",
        "a@[tag:content]",
        "a@[x.test]",
        # internationalised
        "a@x。test",
        "a@ü_b.test",
        "a@-ü.test",
        "a@ü\u200b.test",
        "a@\u00a0ü.test",
        "a@" + "ü" * 63 + ".test",
        "a@b\udc80.test",
        "a\udc80@x.test",
        "a\u0085@x.test",
        "a\u2028b@x.test",
        "a\u00a0b@x.test",
        '"a\u3000b"@x.test',
        "a＠x.test",
        # lengths
        "l" * 65 + "@x.test",
        '"' + "l" * 63 + '"@x.test',
        "ü" * 33 + "@x.test",
        "a@" + ".".join(["d" * 62] * 4) + ".d",
        "l" * 64 + "@" + ".".join([LONG_LABEL] * 3),
        "ü@" + ".".join([LONG_LABEL] * 3) + "." + "d" * 61,
        "l" * 64 + "@" + "ü." * 24 + "ü",
        "a" * 100_000,
        "a@" + "ü." * 60 + "ü",
        # routes and the bare postmaster are for paths only
        "@a:user@far",
        "postmaster",
    ],
)
def test_no_address_is(text: str) -> None:
    with pytest.raises(AddressSyntaxError):
        parse_mailbox(text)


@pytest.mark.parametrize(
    "text", ["", "<", ">", "a@x", "<a@x", "a@x>", " <a@x>", "<a@x> ", "<a@x>>", "<<a@x>", "<>>"]
)
def test_a_path_has_one_pair_of_angle_brackets(text: str) -> None:
    with pytest.raises(AddressSyntaxError):
        parse_forward_path(text)
    with pytest.raises(AddressSyntaxError):
        parse_reverse_path(text)


def test_a_path_of_256_octets_is_the_longest() -> None:
    domain = ".".join([LONG_LABEL, LONG_LABEL, "d" * 61])
    path = "<" + "l" * 64 + "@" + domain + ">"
    assert len(path) == 256
    assert parse_forward_path(path).domain == domain
    with pytest.raises(AddressSyntaxError, match="256"):
        parse_forward_path("<" + "l" * 64 + "@" + domain + "d>")


class TestNullReversePath:
    def test_is_no_sender(self) -> None:
        assert parse_reverse_path("<>") is None

    def test_is_no_recipient(self) -> None:
        with pytest.raises(AddressSyntaxError):
            parse_forward_path("<>")


class TestBarePostmaster:
    @pytest.mark.parametrize("text", ["<postmaster>", "<Postmaster>", "<POSTMASTER>", "<pOsTmAsTeR>"])
    def test_needs_no_domain_in_any_case_of_letters(self, text: str) -> None:
        mailbox = parse_forward_path(text)
        assert mailbox == Mailbox(text[1:-1], "")
        assert f"<{mailbox}>" == text

    @pytest.mark.parametrize(
        "text", ['<"postmaster">', "<abuse>", "<postmaster@>", "<@a:postmaster>", "< postmaster>"]
    )
    def test_is_the_only_name_without_a_domain(self, text: str) -> None:
        with pytest.raises(AddressSyntaxError):
            parse_forward_path(text)

    def test_is_no_sender(self) -> None:
        with pytest.raises(AddressSyntaxError):
            parse_reverse_path("<postmaster>")


class TestSourceRoutes:
    @pytest.mark.parametrize(
        "text",
        [
            "<@local:user@far>",
            "<@a,@b:user@far>",
            "<@a.test,@b.test,@c.test:user@FAR>",
            "<@[192.0.2.1]:user@far>",
            "<@münchen.test:user@far>",
        ],
    )
    def test_are_read_and_ignored(self, text: str) -> None:
        assert parse_forward_path(text) == Mailbox("user", "far")
        assert parse_reverse_path(text) == Mailbox("user", "far")

    @pytest.mark.parametrize(
        "text",
        [
            "<@a>",
            "<@a:>",
            "<@:user@far>",
            "<@a,b:user@far>",
            "<@a,:user@far>",
            "<@a,@:user@far>",
            "<@a, @b:user@far>",
            "<@a: user@far>",
            "<@a:@b:user@far>",
            "<@a@user@far>",
            "<@-a:user@far>",
            "<@a.:user@far>",
            "<a:user@far>",
            "<@" + "a." * 130 + "a:user@far>",
            "<@" + ",@".join(["d" * 60] * 5) + ":user@far>",
        ],
    )
    def test_must_be_well_formed(self, text: str) -> None:
        with pytest.raises(AddressSyntaxError):
            parse_forward_path(text)


class TestRelayTricks:
    """RFC 2505 2 and its kin: each names `local` as the domain, or is no address at all."""

    @pytest.mark.parametrize(
        "text",
        [
            "<user%far@local>",
            "<user%far.test%other@local>",
            "<far!user@local>",
            "<far.test!other!user@local>",
            '<"user@far"@local>',
            '<"user%far"@local>',
            r'<"user\@far"@local>',
            '<"far!user"@local>',
            "<@far:user%far@local>",
            "<user=far@local>",
            "<user+far=far@local>",
            '<"@local:user@far"@local>',
        ],
    )
    def test_lead_to_the_local_domain(self, text: str) -> None:
        assert parse_forward_path(text).domain == "local"

    @pytest.mark.parametrize(
        "text",
        [
            "<user@far@local>",
            "<user@local@far>",
            '<"user@far">',
            "<user%far>",
            "<far!user>",
            "<user@far,local>",
            "<user@local:far>",
            "<user@far;local>",
            "<user@far(@local)>",
            "<user@far\x00@local>",
            "<user@far @local>",
            "<user@far%local@>",
            r"<user\@far@local>",
            "<>user@far<@local>",
            "<user@far>,<user@local>",
        ],
    )
    def test_are_no_address(self, text: str) -> None:
        with pytest.raises(AddressSyntaxError):
            parse_forward_path(text)


class TestPrinting:
    @pytest.mark.parametrize(
        ("mailbox", "text"),
        [
            (Mailbox("User.Name", "x.test"), "User.Name@x.test"),
            (Mailbox("ü", "x.test"), "ü@x.test"),
            (Mailbox("a b", "x.test"), '"a b"@x.test'),
            (Mailbox("a@b", "x.test"), '"a@b"@x.test'),
            (Mailbox('a"\\', "x.test"), r'"a\"\\"@x.test'),
            (Mailbox(".a", "x.test"), '".a"@x.test'),
            (Mailbox("", "x.test"), '""@x.test'),
            (Mailbox("a\n", "x.test"), '"a\n"@x.test'),
            (Mailbox("Postmaster", ""), "Postmaster"),
            (Mailbox("a", "[IPv6:::1]"), "a@[IPv6:::1]"),
        ],
    )
    def test_quotes_where_it_must(self, mailbox: Mailbox, text: str) -> None:
        assert str(mailbox) == text

    def test_an_address_is_ascii_when_its_local_part_is(self) -> None:
        assert parse_mailbox("a@münchen.test").is_ascii
        assert not parse_mailbox("ü@x.test").is_ascii


class TestDomains:
    @pytest.mark.parametrize(
        "text", ["münchen.test", "MÜNCHEN.TEST", "xn--mnchen-3ya.test", "XN--MNCHEN-3YA.test"]
    )
    def test_of_one_name_have_one_form(self, text: str) -> None:
        assert normalise_domain(text) == "xn--mnchen-3ya.test"

    def test_in_a_labels_are_taken_as_they_are(self) -> None:
        assert normalise_domain("XN--no-u-label-at-all.test") == "xn--no-u-label-at-all.test"

    def test_literals_have_one_form_too(self) -> None:
        assert normalise_domain("[IPV6:0:0::1]") == "[IPv6:::1]"

    @pytest.mark.parametrize("text", ["", ".", "a.", "a b", "a\n", "d." * 200 + "d", "[", "]", "a]"])
    def test_must_be_well_formed(self, text: str) -> None:
        with pytest.raises(AddressSyntaxError):
            normalise_domain(text)

    def test_that_grow_too_long_in_a_labels_are_refused(self) -> None:
        with pytest.raises(AddressSyntaxError):
            normalise_domain("ü." * 100 + "ü")


def test_the_error_does_not_repeat_the_text() -> None:
    with pytest.raises(AddressSyntaxError) as caught:
        parse_mailbox("secret\r\n@x.test")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "literal"), [("192.0.2.1", "[192.0.2.1]"), ("2001:DB8:0::1", "[IPv6:2001:db8::1]")]
)
def test_an_ip_address_is_printed_as_the_literal_it_is_compared_with(address: str, literal: str) -> None:
    assert format_literal(ip_address(address)) == literal == normalise_domain(literal)
