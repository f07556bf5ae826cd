"""Addresses and paths, as MAIL, RCPT, the configuration and the command line bring them."""

from collections.abc import Callable

from kms.domain.address import (
    MAX_PATH_OCTETS,
    AddressSyntaxError,
    Mailbox,
    normalise_domain,
    parse_forward_path,
    parse_mailbox,
    parse_reverse_path,
)
from tests.fuzz.promises import check_printable


def _parse(parse: Callable[[str], Mailbox | None], text: str) -> Mailbox | None:
    try:
        return parse(text)
    except AddressSyntaxError:
        return None


def _check(mailbox: Mailbox) -> None:
    """It prints in one harmless line, which parses to the same; its domain is in the one form."""
    text = str(mailbox)
    check_printable(text)
    assert len(text.encode()) <= MAX_PATH_OCTETS
    assert mailbox.domain == mailbox.domain.lower() or mailbox.domain.startswith("[IPv6:")
    assert mailbox.domain.isascii()
    if mailbox.domain:
        assert parse_mailbox(text) == mailbox
        assert normalise_domain(mailbox.domain) == mailbox.domain
    assert parse_forward_path(f"<{text}>") == mailbox


def run(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    found = [_parse(parse, text) for parse in (parse_mailbox, parse_forward_path, parse_reverse_path)]
    found += [_parse(parse, f"<{text}>") for parse in (parse_forward_path, parse_reverse_path)]
    for mailbox in found:
        if mailbox is not None:
            _check(mailbox)
