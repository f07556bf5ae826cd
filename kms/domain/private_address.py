"""Which IP addresses are no place on the Internet: loopback, private, link-local, multicast and their kin.

What a stranger's DNS record names must not lead us into the network we stand in. The list is ours and not
that of `ipaddress`, whose idea of "private" changed between releases of Python; addresses for documentation
are ordinary ones here, they lead nowhere.
"""

from __future__ import annotations

import ipaddress

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_PRIVATE_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_PRIVATE_V6 = tuple(
    ipaddress.IPv6Network(text)
    for text in ("::/128", "::1/128", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8")
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def parse_address(text: str) -> IpAddress | None:
    """Read an IP address, bare or as an address literal (RFC 5321 4.1.3); None when it is none."""
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if inner[:5].lower() == "ipv6:":
        inner = inner[5:]
    try:
        return ipaddress.ip_address(inner)
    except ValueError:
        return None


def unwrap(address: IpAddress) -> IpAddress:
    """Give the IPv4 address that an IPv6 address stands for (mapped, 6to4, NAT64); any other as it is."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def is_private(address: IpAddress) -> bool:
    """Tell whether mail for the Internet has no business at this address."""
    bare = unwrap(address)
    if isinstance(bare, ipaddress.IPv4Address):
        return any(bare in network for network in _PRIVATE_V4)
    return any(bare in network for network in _PRIVATE_V6)
