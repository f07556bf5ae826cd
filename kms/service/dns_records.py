"""Makes plain values of DNS records as dnspython has read them.

Promises: names in lower case without the last dot, the root as ""; addresses as `ipaddress` prints them; of two
questions about one host the answer that helps most, and never "nothing" where one of them failed.

Flow: service/dns.py asks and follows aliases; domain/dns_answer.py has the values.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

import dns.name
import dns.rdatatype

from kms.domain.dns_answer import (
    AddressAnswer,
    Addresses,
    Alias,
    AliasAnswer,
    HostNames,
    LookupFailed,
    MailExchanger,
    MailExchangers,
    MxAnswer,
    NamesAnswer,
    NoRecords,
    NoSuchDomain,
    TextAnswer,
    Texts,
    TlsaAnswer,
    TlsaRecord,
    TlsaRecords,
)

Answer = MxAnswer | AddressAnswer | NamesAnswer | TextAnswer | TlsaAnswer | AliasAnswer
Records = MailExchangers | Addresses | HostNames | Texts | TlsaRecords | Alias


def read_records(rdtype: dns.rdatatype.RdataType, records: Iterable[Any]) -> Records:
    """Make values of what the wire said; `records` are of one type and one name, and not none."""
    if rdtype == dns.rdatatype.MX:
        return MailExchangers(
            tuple(MailExchanger(record.preference, print_name(record.exchange)) for record in records)
        )
    if rdtype == dns.rdatatype.CNAME:
        return Alias(print_name(next(iter(records)).target))
    if rdtype == dns.rdatatype.PTR:
        return HostNames(tuple(print_name(record.target) for record in records))
    if rdtype == dns.rdatatype.TXT:
        return Texts(tuple(b"".join(record.strings) for record in records))
    if rdtype == dns.rdatatype.TLSA:
        return TlsaRecords(
            tuple(TlsaRecord(record.usage, record.selector, record.mtype, record.cert) for record in records)
        )
    return Addresses(tuple(str(ipaddress.ip_address(record.address)) for record in records))


def print_name(name: dns.name.Name) -> str:
    """Print a name as kms writes names: in lower case, without the last dot."""
    return "" if name == dns.name.root else name.to_text(omit_final_dot=True).lower()


def merge_addresses(answers: list[Answer]) -> AddressAnswer:
    """Make one answer of those for AAAA and for A."""
    found = [answer for answer in answers if isinstance(answer, Addresses)]
    if found:
        texts = tuple(text for answer in found for text in answer.addresses)
        return Addresses(texts, all(answer.is_secure for answer in found), found[0].canonical)
    for answer in answers:
        if isinstance(answer, LookupFailed):
            return answer
    is_known = any(isinstance(answer, NoRecords) for answer in answers)
    return NoRecords() if is_known else NoSuchDomain()
