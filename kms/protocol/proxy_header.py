"""The header that a proxy puts before a connection to say whose it is (HAProxy's PROXY protocol, versions 1 and 2).

Promises: a header is read from any beginning of the connection's octets, however they were cut; what cannot become
a header any more is refused at once, and no header is longer than `MOST_OCTETS`. Addresses are read strictly:
what is written in an unusual way is refused, never guessed.
Does not decide who may send a header: that is an address group, asked before (service/entrance.py).
"""

from __future__ import annotations

import functools
import ipaddress
import re

import attrs

from kms.domain.address_group import ClientAddress, parse_client_address

MOST_OCTETS = 16 * 1024
_V1_BEGINNING = b"PROXY "
_V1_MOST_OCTETS = 107
_V1_ADDRESSES = re.compile(r"(\S+) (\S+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})", re.ASCII)
_V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_V2_HEAD_OCTETS = 16
_V2_LOCAL, _V2_PROXY = 0x20, 0x21
_V2_UNSPECIFIED, _V2_TCP4, _V2_TCP6, _V2_UNIX = 0x00, 0x11, 0x21, 0x31
_V2_ADDRESS_OCTETS = {_V2_UNSPECIFIED: 0, _V2_TCP4: 12, _V2_TCP6: 36, _V2_UNIX: 216}
_CRC32C_TYPE = 0x03


class ProxyHeaderError(ValueError):
    """The octets are no header, and will not become one. Its text says why, in ASCII without control characters."""


@attrs.frozen
class ProxyHeader:
    """What a header says.

    Attributes:
        octets: its length; what comes behind it is the client's.
        client: who has connected to the proxy; None where the connection is the proxy's own (LOCAL), or the
            proxy does not know (UNKNOWN, UNSPEC).
        port: the client's.
    """

    octets: int
    client: ClientAddress | None = None
    port: int = 0


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """Read a header of either version.

    Args:
        data: the connection's octets so far, from the first on.

    Returns:
        None while it is not whole.

    Raises:
        ProxyHeaderError: there is none.
    """
    if data.startswith(_V1_BEGINNING):
        return _read_v1(data)
    if data.startswith(_V2_SIGNATURE):
        return _read_v2(data)
    if _V1_BEGINNING.startswith(data) or _V2_SIGNATURE.startswith(data):
        return None
    raise ProxyHeaderError("no PROXY header")


# Version 1: a line


def _read_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\n", 0, _V1_MOST_OCTETS)
    if end < 0:
        if len(data) >= _V1_MOST_OCTETS:
            raise ProxyHeaderError("the line is too long")
        return None
    if data[end - 1 : end] != b"\r":
        raise ProxyHeaderError("the line does not end in CRLF")
    try:
        protocol, _, rest = data[len(_V1_BEGINNING) : end - 1].decode("ascii").partition(" ")
    except UnicodeDecodeError:
        raise ProxyHeaderError("the line is not ASCII") from None
    octets = end + 1
    if protocol == "UNKNOWN":
        return ProxyHeader(octets)
    version = {"TCP4": 4, "TCP6": 6}.get(protocol)
    found = _V1_ADDRESSES.fullmatch(rest)
    if version is None or found is None:
        raise ProxyHeaderError("the line is malformed")
    client, _server = (_read_address(version, text) for text in found.group(1, 2))
    port, server_port = (int(text) for text in found.group(3, 4))
    if max(port, server_port) > 0xFFFF:
        raise ProxyHeaderError("a port is out of range")
    return ProxyHeader(octets, client, port)


def _read_address(version: int, text: str) -> ClientAddress:
    try:
        written = ipaddress.ip_address(text)
    except ValueError:
        raise ProxyHeaderError("an address is malformed") from None
    if written.version != version or "%" in text:
        raise ProxyHeaderError("an address is not of the kind that the line names")
    return parse_client_address(text)


# Version 2: binary


def _read_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < _V2_HEAD_OCTETS:
        return None
    command, family = data[12], data[13]
    if command not in (_V2_LOCAL, _V2_PROXY):
        raise ProxyHeaderError(f"version and command 0x{command:02x} are unknown")
    octets = _V2_HEAD_OCTETS + int.from_bytes(data[14:16])
    if octets > MOST_OCTETS:
        raise ProxyHeaderError("the header is too long")
    if len(data) < octets:
        return None
    if command == _V2_LOCAL:
        return ProxyHeader(octets)
    return _read_v2_addresses(data[:octets], family)


def _read_v2_addresses(header: bytes, family: int) -> ProxyHeader:
    address_octets = _V2_ADDRESS_OCTETS.get(family)
    if address_octets is None:
        raise ProxyHeaderError(f"address family and protocol 0x{family:02x} are unknown")
    end = _V2_HEAD_OCTETS + address_octets
    if end > len(header):
        raise ProxyHeaderError("the addresses are cut short")
    _check_extensions(header, end)
    if family not in (_V2_TCP4, _V2_TCP6):
        return ProxyHeader(len(header))
    # Client's address, server's address, client's port, server's port.
    block = header[_V2_HEAD_OCTETS:end]
    width = (address_octets - 4) // 2
    client = parse_client_address(str(ipaddress.ip_address(block[:width])))
    return ProxyHeader(len(header), client, int.from_bytes(block[2 * width : 2 * width + 2]))


def _check_extensions(header: bytes, place: int) -> None:
    """Step over the type-length-value fields, and prove the checksum among them, if there is one."""
    while place < len(header):
        start = place + 3
        end = start + int.from_bytes(header[place + 1 : start])
        if end > len(header):
            raise ProxyHeaderError("an extension is cut short")
        if header[place] == _CRC32C_TYPE:
            blank = header[:start] + bytes(end - start) + header[end:]
            if crc32c(blank).to_bytes(4) != header[start:end]:
                raise ProxyHeaderError("the checksum is wrong")
        place = end


def crc32c(data: bytes) -> int:
    """The checksum of Castagnoli's polynomial (RFC 3385)."""
    table = _crc32c_table()
    crc = 0xFFFFFFFF
    for octet in data:
        crc = table[(crc ^ octet) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


@functools.cache
def _crc32c_table() -> tuple[int, ...]:
    table = []
    for number in range(256):
        for _ in range(8):
            number = (number >> 1) ^ (0x82F63B78 if number & 1 else 0)
        table.append(number)
    return tuple(table)
