from __future__ import annotations

import ipaddress
import struct

import pytest

from kms.protocol.proxy_header import (
    MOST_OCTETS,
    ProxyHeader,
    ProxyHeaderError,
    crc32c,
    read_proxy_header,
)

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
IPV4 = ipaddress.ip_address("192.0.2.7").packed + ipaddress.ip_address("198.51.100.1").packed
IPV6 = ipaddress.ip_address("2001:db8::7").packed + ipaddress.ip_address("2001:db8::1").packed
PORTS = struct.pack("!HH", 40000, 25)


def version_2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


def extension(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def with_checksum(wrong: int = 0) -> bytes:
    """A header as haproxy makes it: the checksum of the whole, counted as nothing in itself."""
    blank = version_2(0x21, 0x11, IPV4 + PORTS + extension(3, bytes(4)) + extension(4, b"padding"))
    return blank.replace(extension(3, bytes(4)), extension(3, (crc32c(blank) ^ wrong).to_bytes(4)))


def client_of(header: bytes) -> tuple[str, int]:
    found = read_proxy_header(header)
    assert found is not None
    return str(found.client), found.port


# Good headers

GOOD = {
    "TCP4": (b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\r\n", "192.0.2.7", 40000),
    "TCP6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 25\r\n", "2001:db8::7", 40000),
    "mapped": (b"PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 40000 25\r\n", "192.0.2.7", 40000),
    "longest": (b"PROXY TCP6 " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2) + b" 65535 65535\r\n", None, 65535),
    "port 0": (b"PROXY TCP4 192.0.2.7 198.51.100.1 0 0\r\n", "192.0.2.7", 0),
    "unknown": (b"PROXY UNKNOWN\r\n", "None", 0),
    "unknown with more": (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", "None", 0),
    "2 IPv4": (version_2(0x21, 0x11, IPV4 + PORTS), "192.0.2.7", 40000),
    "2 IPv6": (version_2(0x21, 0x21, IPV6 + PORTS), "2001:db8::7", 40000),
    "2 unspecified": (version_2(0x21, 0x00, b""), "None", 0),
    "2 unix": (version_2(0x21, 0x31, bytes(216)), "None", 0),
    "2 local": (version_2(0x20, 0x00, b""), "None", 0),
    "2 local, whatever follows": (version_2(0x20, 0x11, b"\xff" * 12), "None", 0),
    "2 extensions": (version_2(0x21, 0x11, IPV4 + PORTS + extension(2, b"mail.example.org")), "192.0.2.7", 40000),
    "2 empty extension": (version_2(0x21, 0x21, IPV6 + PORTS + extension(4, b"")), "2001:db8::7", 40000),
    "2 checksum": (with_checksum(), "192.0.2.7", 40000),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_header_says_who_the_client_is(name: str) -> None:
    header, client, port = GOOD[name]
    assert client_of(header) == (client or ":".join(["ffff"] * 8), port)


@pytest.mark.parametrize("name", GOOD)
def test_a_header_is_read_however_it_is_cut_and_ends_where_it_says(name: str) -> None:
    header = GOOD[name][0]
    for end in range(len(header)):
        assert read_proxy_header(header[:end]) is None
    for rest in (b"", b"E", b"EHLO client.example\r\n", header):
        found = read_proxy_header(header + rest)
        assert found is not None
        assert found.octets == len(header)


def test_local_and_unknown_are_the_proxys_own() -> None:
    assert read_proxy_header(b"PROXY UNKNOWN\r\n") == ProxyHeader(15, None, 0)
    assert read_proxy_header(version_2(0x20, 0, b"")) == ProxyHeader(16, None, 0)


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


# Bad ones

BAD = {
    "SMTP": b"EHLO client.example\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01",
    "lower case": b"proxy TCP4 192.0.2.7 198.51.100.1 40000 25\r\n",
    "nearly version 2": SIGNATURE[:-1] + b"\r",
    "bare LF": b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\n",
    "two blanks": b"PROXY TCP4  192.0.2.7 198.51.100.1 40000 25\r\n",
    "blank at the end": b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 25 \r\n",
    "CR in the middle": b"PROXY TCP4 192.0.2.7\r198.51.100.1 40000 25\r\n",
    "too few": b"PROXY TCP4 192.0.2.7 198.51.100.1 40000\r\n",
    "nothing": b"PROXY \r\n",
    "UDP": b"PROXY UDP4 192.0.2.7 198.51.100.1 40000 25\r\n",
    "unknown word": b"PROXY UNKNOWNS\r\n",
    "not ASCII": b"PROXY UNKNOWN \xff\r\n",
    "no address": b"PROXY TCP4 nonsense 198.51.100.1 40000 25\r\n",
    "number too large": b"PROXY TCP4 999.0.2.1 198.51.100.1 40000 25\r\n",
    "bad server": b"PROXY TCP4 192.0.2.7 198.51.100 40000 25\r\n",
    "leading zero": b"PROXY TCP4 192.0.02.7 198.51.100.1 40000 25\r\n",
    "other family": b"PROXY TCP4 2001:db8::7 2001:db8::1 40000 25\r\n",
    "scope": b"PROXY TCP6 fe80::1%eth0 2001:db8::1 40000 25\r\n",
    "large port": b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 25\r\n",
    "large server port": b"PROXY TCP4 192.0.2.7 198.51.100.1 25 99999\r\n",
    "negative port": b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 25\r\n",
    "port with zero": b"PROXY TCP4 192.0.2.7 198.51.100.1 040 25\r\n",
    "long line": b"PROXY UNKNOWN " + b"x" * 100,
    "long line that ends": b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    "2 version 1": version_2(0x11, 0x11, IPV4 + PORTS),
    "2 version 3": version_2(0x31, 0x11, IPV4 + PORTS),
    "2 command": version_2(0x22, 0x11, IPV4 + PORTS),
    "2 datagrams": version_2(0x21, 0x12, IPV4 + PORTS),
    "2 family": version_2(0x21, 0x41, IPV4 + PORTS),
    "2 short": version_2(0x21, 0x11, IPV4),
    "2 short IPv6": version_2(0x21, 0x21, IPV4 + PORTS),
    "2 too long": version_2(0x21, 0x11, bytes(MOST_OCTETS)),
    "2 extension cut": version_2(0x21, 0x11, IPV4 + PORTS + b"\x04"),
    "2 extension too long": version_2(0x21, 0x11, IPV4 + PORTS + b"\x04\x00\x05abcd"),
    "2 wrong checksum": with_checksum(wrong=1),
    "2 short checksum": version_2(0x21, 0x11, IPV4 + PORTS + extension(3, b"\0\0")),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_header_is_refused_however_it_is_cut(name: str) -> None:
    header = BAD[name]
    with pytest.raises(ProxyHeaderError) as caught:
        read_proxy_header(header)
    assert str(caught.value).isprintable()
    refused = [end for end in range(len(header) + 1) if not is_open(header[:end])]
    assert refused == list(range(refused[0], len(header) + 1)), "once refused, always refused"


def is_open(data: bytes) -> bool:
    try:
        found = read_proxy_header(data)
    except ProxyHeaderError:
        return False
    assert found is None
    return True
