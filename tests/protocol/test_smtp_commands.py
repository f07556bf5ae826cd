import pytest

from kms.domain import reply
from kms.domain.address import Mailbox
from kms.domain.reply import Reply
from kms.protocol.smtp_commands import (
    ProtocolViolation,
    parse_auth,
    parse_chunk,
    parse_hello,
    parse_mail,
    parse_rcpt,
    split_command,
)
from kms.protocol.smtp_events import RecipientOffered, SenderOffered

ANNA = Mailbox("anna", "client.example")


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (b"QUIT", ("QUIT", "")),
        (b"quit  ", ("QUIT", "")),
        (b"Mail FROM:<a@b>  ", ("MAIL", "FROM:<a@b>")),
        (b"NOOP  x y", ("NOOP", " x y")),
        (b"", ("", "")),
        (b" NOOP", ("", "NOOP")),
        (b"rcpt TO:<\xc3\xa9@a.example> ", ("RCPT", "TO:<é@a.example>")),
        (b"VRFY \xc3\xa9 smtputf8", ("VRFY", "é smtputf8")),
    ],
)
def test_a_line_is_cut_into_verb_and_argument(line: bytes, parts: tuple[str, str]) -> None:
    assert split_command(line) == parts


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"NOOP \xc3\xa9", reply.NOT_ASCII),
        (b"NOOP\n", reply.LINE_HAS_BARE_NEWLINE),
        (b"NO\rOP", reply.LINE_HAS_BARE_NEWLINE),
        (b"NOOP\0", reply.BAD_ARGUMENTS),
        (b"NOOP\tx", reply.BAD_ARGUMENTS),
        (b"NOOP \x7f", reply.BAD_ARGUMENTS),
        (b"DATA x", reply.NO_ARGUMENTS_ALLOWED),
        (b"VRFY ", reply.BAD_ARGUMENTS),
        (b"MAIL FROM:<\xff@a.example> SMTPUTF8", reply.NOT_ASCII),
        (b"M\xc3\xa4IL FROM:<>", reply.NOT_ASCII),
        (b"MAIL FROM:<\xc3\xa9@a.example>\xe3\x80\x80SMTPUTF8", reply.NOT_ASCII),
        (b"RCPT TO:<\xc3\xa9\xc2\x85@a.example>", reply.NOT_ASCII),
        (b"RCPT TO:<\xc3\xa9\r@a.example>", reply.NOT_ASCII),
        (b"VRFY \xc3\xa9", reply.RECIPIENT_NEEDS_SMTPUTF8),
    ],
)
def test_a_line_that_is_no_command_line_is_refused(line: bytes, answer: Reply) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        split_command(line)
    assert caught.value.reply is answer
    assert str(caught.value) == str(answer)


@pytest.mark.parametrize("name", ["client.example", "[192.0.2.1]", "[IPv6:2001:db8::1]", "my_pc", "x" * 255])
def test_a_clients_name_is_kept(name: str) -> None:
    assert parse_hello(name) == name


@pytest.mark.parametrize("name", ["", "two words", "x" * 256])
def test_a_client_needs_one_word_as_name(name: str) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        parse_hello(name)
    assert caught.value.reply is reply.HELLO_NEEDS_NAME


def test_what_could_break_a_header_field_is_taken_out_of_the_name() -> None:
    assert parse_hello('a(b)c;<d>,"e"\\f@g') == "a?b?c??d???e??f?g"


@pytest.mark.parametrize(
    ("argument", "arguments"),
    [
        ("FROM:<anna@client.example>", SenderOffered(ANNA, None, False)),
        ("from: <anna@client.example>", SenderOffered(ANNA, None, False)),
        ("FROM:<>", SenderOffered(None, None, False)),
        ("FROM:<> SIZE=0", SenderOffered(None, 0, False)),
        ("FROM:<> size=12345678901234567890", SenderOffered(None, 12345678901234567890, False)),
        ("FROM:<> BODY=8bitmime  SIZE=7", SenderOffered(None, 7, True)),
        ("FROM:<> BODY=7BIT AUTH=<>", SenderOffered(None, None, False)),
        ("FROM:<> AUTH=anna+2Bx@client.example", SenderOffered(None, None, False)),
        ("FROM:<anna@client.example> smtputf8", SenderOffered(ANNA, None, False, is_smtputf8=True)),
        (
            "FROM:<ü@clüb.example> BODY=8BITMIME SMTPUTF8",
            SenderOffered(Mailbox("ü", "xn--clb-ioa.example"), None, True, is_smtputf8=True),
        ),
        ('FROM:<"a > b"@client.example>', SenderOffered(Mailbox("a > b", "client.example"), None, False)),
        (r'FROM:<"\">"@client.example> SIZE=1', SenderOffered(Mailbox('">', "client.example"), 1, False)),
    ],
)
def test_mail_is_read(argument: str, arguments: SenderOffered) -> None:
    assert parse_mail(argument) == arguments


@pytest.mark.parametrize(
    ("argument", "answer"),
    [
        ("", reply.BAD_ARGUMENTS),
        ("TO:<a@b.example>", reply.BAD_ARGUMENTS),
        ("FROM <a@b.example>", reply.BAD_ARGUMENTS),
        ("FROM :<a@b.example>", reply.BAD_ARGUMENTS),
        ("FROM:", reply.BAD_SENDER_SYNTAX),
        ("FROM:a@b.example", reply.BAD_SENDER_SYNTAX),
        ("FROM:x<a@b.example>", reply.BAD_SENDER_SYNTAX),
        ("FROM:<a@b.example", reply.BAD_SENDER_SYNTAX),
        ("FROM:a@b.example>", reply.BAD_SENDER_SYNTAX),
        ("FROM:  <a@b.example>", reply.BAD_SENDER_SYNTAX),
        ("FROM:<a@b.example >", reply.BAD_SENDER_SYNTAX),
        ("FROM:<a b@b.example>", reply.BAD_SENDER_SYNTAX),
        ("FROM:<<a@b.example>>", reply.BAD_SENDER_SYNTAX),
        ("FROM:<a@b.example>>", reply.BAD_SENDER_SYNTAX),
        ("FROM:<a@b.example>,<c@d.example>", reply.BAD_SENDER_SYNTAX),
        ('FROM:<"a>', reply.BAD_SENDER_SYNTAX),
        ('FROM:"<a@b.example>"', reply.BAD_SENDER_SYNTAX),
        ("FROM:<> SIZE=", reply.BAD_PARAMETER),
        ("FROM:<> SIZE=-1", reply.BAD_PARAMETER),
        ("FROM:<> SIZE=123456789012345678901", reply.BAD_PARAMETER),
        ("FROM:<> SIZE=1=2", reply.BAD_PARAMETER),
        ("FROM:<> SIZE=1 SIZE=1", reply.BAD_PARAMETER),
        ("FROM:<> BODY", reply.BAD_PARAMETER),
        ("FROM:<> BODY=8BIT", reply.BAD_PARAMETER),
        ("FROM:<> AUTH=", reply.BAD_PARAMETER),
        ("FROM:<> AUTH=a+2", reply.BAD_PARAMETER),
        ("FROM:<> =1", reply.BAD_PARAMETER),
        ("FROM:<> -X=1", reply.BAD_PARAMETER),
        ("FROM:<> SMTPUTF8=1", reply.BAD_PARAMETER),
        ("FROM:<> SMTPUTF8 smtputf8", reply.BAD_PARAMETER),
        ("FROM:<ü@client.example>", reply.SENDER_NEEDS_SMTPUTF8),
        ("FROM:<anna@clüb.example> BODY=8BITMIME", reply.SENDER_NEEDS_SMTPUTF8),
        ("FROM:<ü@> SMTPUTF8", reply.BAD_SENDER_SYNTAX),
        ("FROM:<> AUTH=ü SMTPUTF8", reply.BAD_PARAMETER),
        ("FROM:<> RET=FULL", reply.UNKNOWN_PARAMETER),
        ("FROM:<> ENVID=x", reply.UNKNOWN_PARAMETER),
        ("FROM:<> X-Y=1", reply.UNKNOWN_PARAMETER),
    ],
)
def test_a_wrong_mail_says_what_is_wrong(argument: str, answer: Reply) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        parse_mail(argument)
    assert caught.value.reply is answer


@pytest.mark.parametrize(
    ("argument", "path"),
    [
        ("TO:<anna@client.example>", ANNA),
        ("to: <anna@client.example> ", ANNA),
        ("TO:<PostMaster>", Mailbox("PostMaster", "")),
        ("TO:<@relay.example,@other.example:anna@client.example>", ANNA),
    ],
)
def test_rcpt_is_read(argument: str, path: Mailbox) -> None:
    assert parse_rcpt(argument) == RecipientOffered(path)


def test_rcpt_of_an_international_transaction_may_be_in_utf8() -> None:
    assert parse_rcpt("TO:<ü@clüb.example>", is_smtputf8=True) == RecipientOffered(
        Mailbox("ü", "xn--clb-ioa.example")
    )


@pytest.mark.parametrize(
    ("argument", "answer"),
    [
        ("FROM:<a@b.example>", reply.BAD_ARGUMENTS),
        ("TO:<>", reply.BAD_RECIPIENT_SYNTAX),
        ("TO:<a>", reply.BAD_RECIPIENT_SYNTAX),
        ("TO:<a@b@c.example>", reply.BAD_RECIPIENT_SYNTAX),
        ("TO:<a@b.example.>", reply.BAD_RECIPIENT_SYNTAX),
        ("TO:<a@b.example> NOTIFY=NEVER", reply.UNKNOWN_PARAMETER),
        ("TO:<a@b.example> ORCPT=rfc822;a@b.example", reply.UNKNOWN_PARAMETER),
        ("TO:<a@b.example> SMTPUTF8", reply.UNKNOWN_PARAMETER),
        ("TO:<a@b.example> A=1 A=2", reply.BAD_PARAMETER),
        ("TO:<ü@b.example>", reply.RECIPIENT_NEEDS_SMTPUTF8),
        ("TO:<a@clüb.example>", reply.RECIPIENT_NEEDS_SMTPUTF8),
    ],
)
def test_a_wrong_rcpt_says_what_is_wrong(argument: str, answer: Reply) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        parse_rcpt(argument)
    assert caught.value.reply is answer


@pytest.mark.parametrize(
    ("argument", "parts"),
    [("plain", ("PLAIN", None)), ("LOGIN =", ("LOGIN", b"")), ("PLAIN YQ==", ("PLAIN", b"YQ=="))],
)
def test_auth_is_read(argument: str, parts: tuple[str, bytes | None]) -> None:
    assert parse_auth(argument) == parts


@pytest.mark.parametrize("argument", ["", " PLAIN", "PLAIN a b"])
def test_a_wrong_auth_is_refused(argument: str) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        parse_auth(argument)
    assert caught.value.reply is reply.BAD_ARGUMENTS


@pytest.mark.parametrize(
    ("argument", "chunk"),
    [
        ("0", (0, False)),
        ("12 LAST", (12, True)),
        ("12   last", (12, True)),
        ("99999999999999999999", (99999999999999999999, False)),
        ("", None),
        ("x", None),
        ("-1", None),
        ("1 LAST x", None),
        ("1LAST", None),
        ("LAST", None),
        ("1 FIRST", None),
        ("999999999999999999999", None),
        ("\u0661", None),
    ],
)
def test_a_chunk_has_a_number_of_octets(argument: str, chunk: tuple[int, bool] | None) -> None:
    assert parse_chunk(argument) == chunk
