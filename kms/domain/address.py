"""Mailboxes and paths of SMTP: parse and print (RFC 5321 4.1.2, 4.1.3; RFC 6531 3.3).

There is one parser for every address of kms, and what it returns is what is checked, stored and delivered
to: no later step reads the text again. A domain is always in one form, lower-case A-labels, so two mailboxes
of one domain compare equal however they were written. Printing gives a text that parses to the same mailbox.

Flow: the command parser hands over the argument of MAIL and RCPT with its one leading blank taken off; the
configuration and the command line use `parse_mailbox`.
"""

from __future__ import annotations

import functools
import ipaddress
import re
import unicodedata

import attrs
import idna

MAX_LOCAL_PART_OCTETS = 64
MAX_DOMAIN_OCTETS = 255
MAX_PATH_OCTETS = 256

_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_PLAIN_MAILBOX = re.compile(rf"([{_ATEXT}]+(?:\.[{_ATEXT}]+)*)@({_LABEL}(?:\.{_LABEL})*)")
_DOT_STRING = re.compile(rf"[{_ATEXT}\u0080-\U0010ffff]+(?:\.[{_ATEXT}\u0080-\U0010ffff]+)*")
_QUOTED_STRING = re.compile(r'"((?:[ !#-\[\]-~\u0080-\U0010ffff]|\\[ -~])*)"')
_QUOTED_PAIR = re.compile(r"\\(.)")
_TO_ESCAPE = re.compile(r'(["\\])')
_ASCII_LABEL = re.compile(_LABEL)
_REFUSED_CATEGORIES = frozenset(("Cc", "Cs", "Zs", "Zl", "Zp"))


class AddressSyntaxError(ValueError):
    """The text is no address; the message says what is wrong with it, without repeating the text."""


@attrs.frozen
class Mailbox:
    """A local part at a domain.

    Attributes:
        local_part: what is meant, without quotes and escapes; upper and lower case are kept as they came.
        domain: lower-case A-labels, or an address literal "[192.0.2.1]" or "[IPv6:2001:db8::1]"; "" only for
            the bare `<Postmaster>` (RFC 5321 4.5.1).
    """

    local_part: str
    domain: str
    _text: str = attrs.field(init=False, eq=False, repr=False)

    @_text.default
    def _print(self) -> str:
        local_part = self.local_part
        if not _DOT_STRING.fullmatch(local_part):
            local_part = '"' + _TO_ESCAPE.sub(r"\\\1", local_part) + '"'
        return f"{local_part}@{self.domain}" if self.domain else local_part

    def __str__(self) -> str:
        return self._text

    @property
    def is_ascii(self) -> bool:
        """It can be sent without SMTPUTF8 (RFC 6531 3.2)."""
        return self.local_part.isascii()


@functools.lru_cache(maxsize=4096)
def parse_reverse_path(text: str) -> Mailbox | None:
    """Read the path of MAIL, with its angle brackets.

    Returns:
        The sender; None for the null reverse-path `<>`.

    Raises:
        AddressSyntaxError: it is none.
    """
    if text == "<>":
        return None
    return _parse_path(_strip_brackets(text))


@functools.lru_cache(maxsize=4096)
def parse_forward_path(text: str) -> Mailbox:
    """Read the path of RCPT, with its angle brackets.

    Raises:
        AddressSyntaxError: it is none.

    RFC 5321 4.1.1.3: `<Postmaster>`, in any case of letters, needs no domain.
    """
    inner = _strip_brackets(text)
    if inner.lower() == "postmaster":
        return Mailbox(inner, "")
    return _parse_path(inner)


def parse_mailbox(text: str) -> Mailbox:
    """Read an address without angle brackets; it must have a domain and no source route.

    Raises:
        AddressSyntaxError: it is none.
    """
    found = _PLAIN_MAILBOX.fullmatch(text) if len(text) <= MAX_PATH_OCTETS - 2 else None
    if found is None or found.end(1) > MAX_LOCAL_PART_OCTETS:
        return _parse_carefully(text)
    return Mailbox(found[1], found[2].lower())


def normalise_domain(text: str) -> str:
    """Bring a domain name or an address literal into the one form in which domains are compared.

    ASCII labels are put in lower case and otherwise left alone (also those that begin with `xn--`); others
    are put in lower case and NFC, and must then be U-labels (RFC 5890 2.3.2.1).

    Raises:
        AddressSyntaxError: an empty, overlong or ill-formed label, a trailing dot, a bad literal.
    """
    if text.startswith("["):
        return _normalise_literal(text)
    labels = text.split(".") if len(text) <= MAX_DOMAIN_OCTETS else []
    domain = ".".join([_normalise_label(label) for label in labels])
    if not labels or len(domain) > MAX_DOMAIN_OCTETS:
        raise AddressSyntaxError("the domain is longer than 255 octets")
    return domain


def format_literal(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Print an IP address as the domain of a mailbox (RFC 5321 4.1.3), in the form of `normalise_domain`."""
    return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"


def _strip_brackets(text: str) -> str:
    if len(text) < 2 or text[0] != "<" or text[-1] != ">":
        raise AddressSyntaxError("the path is not in angle brackets")
    return text[1:-1]


def _parse_path(inner: str) -> Mailbox:
    if not inner.startswith("@"):
        return parse_mailbox(inner)
    if _octets(inner) > MAX_PATH_OCTETS - 2:
        raise AddressSyntaxError("the path is longer than 256 octets")
    route, colon, mailbox = inner.partition(":")
    if not colon:
        raise AddressSyntaxError("the source route has no end")
    for hop in route.split(","):
        if not hop.startswith("@"):
            raise AddressSyntaxError("the source route is not a list of @domain")
        normalise_domain(hop[1:])
    return parse_mailbox(mailbox)


def _parse_carefully(text: str) -> Mailbox:
    if _octets(text) > MAX_PATH_OCTETS - 2:
        raise AddressSyntaxError("the path is longer than 256 octets")
    found = _QUOTED_STRING.match(text) or _DOT_STRING.match(text)
    if found is None:
        raise AddressSyntaxError("the local part is empty or ill-formed")
    if not text.startswith("@", found.end()):
        raise AddressSyntaxError("the local part has a character out of place, or no domain follows")
    if _octets(found[0]) > MAX_LOCAL_PART_OCTETS:
        raise AddressSyntaxError("the local part is longer than 64 octets")
    local_part = found[0] if found.re is _DOT_STRING else _QUOTED_PAIR.sub(r"\1", found[1])
    if not local_part.isascii():
        _refuse_invisible(local_part)
    mailbox = Mailbox(local_part, normalise_domain(text[found.end() + 1 :]))
    if _octets(str(mailbox)) > MAX_PATH_OCTETS - 2:
        raise AddressSyntaxError("the path is longer than 256 octets with its domain in A-labels")
    return mailbox


def _octets(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _refuse_invisible(local_part: str) -> None:
    for character in local_part:
        if not character.isascii() and unicodedata.category(character) in _REFUSED_CATEGORIES:
            raise AddressSyntaxError("the local part has a blank, control or broken character")


def _normalise_label(label: str) -> str:
    if not label.isascii():
        label = _to_a_label(unicodedata.normalize("NFC", label.lower()))
    if not _ASCII_LABEL.fullmatch(label):
        raise AddressSyntaxError("a label of the domain is empty, too long or ill-formed")
    return label.lower()


def _to_a_label(label: str) -> str:
    try:
        return idna.alabel(label).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise AddressSyntaxError(f"a label of the domain is no U-label: {type(error).__name__}") from None


def _normalise_literal(text: str) -> str:
    inner = text[1:-1]
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    try:
        if not text.endswith("]") or "%" in text:
            raise ValueError(text)
        if inner[:5].lower() != "ipv6:":
            address = ipaddress.IPv4Address(inner)
        else:
            address = ipaddress.IPv6Address(inner[5:])
            address = address.ipv4_mapped or address
    except ValueError:
        raise AddressSyntaxError("the address literal is neither IPv4 nor IPv6") from None
    return format_literal(address)
