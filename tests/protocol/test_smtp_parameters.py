import pytest

from kms.domain import reply
from kms.domain.dsn_request import MessageRequest, Notify, RecipientRequest, Returned
from kms.domain.reply import Reply
from kms.protocol.smtp_commands import ProtocolViolation, parse_mail, parse_rcpt


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        ("", None),
        ("SIZE=1", None),
        ("RET=full", MessageRequest(Returned.FULL)),
        ("ret=HDRS SIZE=1", MessageRequest(Returned.HEADER)),
        ("ENVID=QQ314159+2B", MessageRequest(None, "QQ314159+2B")),
        ("ENVID=a+20b RET=FULL", MessageRequest(Returned.FULL, "a+20b")),
        (f"ENVID={'x' * 100}", MessageRequest(None, "x" * 100)),
    ],
)
def test_mail_says_what_reports_are_to_return(words: str, request_: MessageRequest | None) -> None:
    assert parse_mail(f"FROM:<> {words}", True).request == request_


@pytest.mark.parametrize(
    "word",
    [
        "RET", "RET=", "RET=ALL", "RET=FULL ret=HDRS", "ENVID", "ENVID=", "ENVID=a+2", "ENVID=a+0D",
        "ENVID=a+7F", "ENVID=a+2b", f"ENVID={'x' * 101}", "ENVID=a=b", "ENVID=ü SMTPUTF8",
    ],
)  # fmt: skip
def test_a_wrong_request_of_mail_is_refused(word: str) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        parse_mail(f"FROM:<> {word}", True)
    assert caught.value.reply is reply.BAD_PARAMETER


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        ("", None),
        ("NOTIFY=never", RecipientRequest(Notify.NEVER)),
        ("NOTIFY=SUCCESS", RecipientRequest(Notify.SUCCESS)),
        ("NOTIFY=delay,Failure", RecipientRequest(Notify.DELAY | Notify.FAILURE)),
        ("ORCPT=rfc822;a+2Bb@c.test", RecipientRequest(None, "rfc822;a+2Bb@c.test")),
        ("ORCPT=x-400;+20 NOTIFY=SUCCESS,FAILURE,DELAY", RecipientRequest(Notify(7), "x-400;+20")),
        ("ORCPT=rfc822;+C3+BC@c.test", RecipientRequest(None, "rfc822;+C3+BC@c.test")),
        ("ORCPT=utf-8;\\x{FC}@c.test", RecipientRequest(None, "utf-8;\\x{FC}@c.test")),
        ("ORCPT=utf-8;ü@c.test", RecipientRequest(None, "utf-8;ü@c.test")),
    ],
)
def test_rcpt_says_what_is_to_be_reported(words: str, request_: RecipientRequest | None) -> None:
    assert parse_rcpt(f"TO:<a@b.test> {words}", True, True).request == request_


@pytest.mark.parametrize(
    "word",
    [
        "NOTIFY", "NOTIFY=", "NOTIFY=NEVER,SUCCESS", "NOTIFY=SUCCESS,NEVER", "NOTIFY=SUCCESS,SUCCESS",
        "NOTIFY=SUCCESS,", "NOTIFY=ALWAYS", "NOTIFY=SUCCESS NOTIFY=DELAY", "ORCPT", "ORCPT=", "ORCPT=rfc822",
        "ORCPT=;a@b.test", "ORCPT=rfc822;", "ORCPT=rfc822;a+", "ORCPT=rfc822;a+0A", "ORCPT=rfc822;ü@b.test",
        f"ORCPT=rfc822;{'x' * 494}", f"ORCPT=utf-8;{'ü' * 248}",
    ],
)  # fmt: skip
def test_a_wrong_request_of_rcpt_is_refused(word: str) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        parse_rcpt(f"TO:<a@b.test> {word}", True, True)
    assert caught.value.reply is reply.BAD_PARAMETER


@pytest.mark.parametrize("offers_dsn", [False, True])
def test_an_original_recipient_in_utf8_needs_smtputf8(offers_dsn: bool) -> None:
    wanted = reply.BAD_PARAMETER if offers_dsn else reply.UNKNOWN_PARAMETER
    with pytest.raises(ProtocolViolation) as caught:
        parse_rcpt("TO:<a@b.test> ORCPT=utf-8;ü@b.test", offers_dsn=offers_dsn)
    assert caught.value.reply is wanted


@pytest.mark.parametrize(
    ("argument", "answer"),
    [("TO:<a@b.test> SIZE=1", reply.UNKNOWN_PARAMETER), ("TO:<a@b.test> RET=FULL", reply.UNKNOWN_PARAMETER)],
)
def test_parameters_of_mail_are_none_of_rcpt(argument: str, answer: Reply) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        parse_rcpt(argument, offers_dsn=True)
    assert caught.value.reply is answer
