"""Kinds of values that name places on a network: listeners, hosts, address groups; and where a log goes.

Flow: as kinds.py. Endpoint strings stay text, because only `service` knows what to make of them; here they
are taken apart as far as is needed to say whether one is public and whether two ask for the same port.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import attrs

from kms.config.kinds import Kind, Surroundings, locate, split_list
from kms.config.problems import ValueFault, suggest
from kms.domain.address import AddressSyntaxError, normalise_domain
from kms.domain.address_group import LOCAL_CLIENTS, AddressGroup, build_groups, parse_client_address

T = TypeVar("T")

_LISTENERS = ("tcp", "tcp6", "unix", "systemd")
_COLON = re.compile(r"(?<!\\):")
_BRACKETED = re.compile(r"\[([^\]]*)\](?::([0-9]+))?")


@attrs.frozen
class HostPort:
    """A host's name or IP address, and its port; None = the usual one."""

    host: str
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port is not None else host


@attrs.frozen
class Database:
    """Where the store is.

    Attributes:
        engine: `sqlite` or `postgresql`.
        place: the file's path in data_dir, or the server's address and database as written.
    """

    engine: str
    place: str


class LogStream(enum.Enum):
    """Where a log may go other than to a file."""

    JOURNAL = "journal"
    STDOUT = "stdout"


@attrs.frozen
class LogTarget:
    """Where a log goes: to the file `path`, or to `stream` where that is set."""

    path: Path
    stream: LogStream | None = None


def parse_port(text: str) -> int:
    """Read a TCP port; 0 lets the system choose."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise ValueFault(f'"{text}" is no port; write a number up to 65535')
    return int(text)


def parse_host_port(text: str) -> HostPort:
    """Read `host`, `host:port`, an IPv6 address, or `[IPv6 address]:port`."""
    found = _BRACKETED.fullmatch(text)
    if found:
        host, port = found[1], found[2]
    elif text.count(":") == 1:
        host, port = text.split(":")
    else:
        host, port = text, None
    number = parse_port(port) if port is not None else None
    if number == 0:
        raise ValueFault(f'"{text}": port 0 cannot be connected to')
    return HostPort(_read_host(host, text), number)


def _read_host(host: str, text: str) -> str:
    try:
        return str(parse_client_address(host))
    except ValueError:
        pass
    try:
        if ":" in host or host.startswith("[") or re.fullmatch(r"[0-9.]+", host):
            raise AddressSyntaxError("that is no IP address")
        return normalise_domain(host)
    except AddressSyntaxError as error:
        raise ValueFault(f'"{text}" is no host or host:port: {error}') from None


def _parse_nameservers(text: str, near: Surroundings) -> tuple[HostPort, ...]:
    servers = tuple(map(parse_host_port, split_list(text)))
    for server in servers:
        if not is_ip_address(server.host):
            raise ValueFault(f'"{server}" is no IP address; a name server cannot be named by a name')
    return servers


def is_ip_address(host: str) -> bool:
    """Say whether a host is written as an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _parse_endpoints(text: str, takes_unix: bool) -> tuple[str, ...]:
    endpoints = []
    for line in text.splitlines():
        items = split_list(line) if re.fullmatch(r"[0-9,\s]+", line) else [line]
        endpoints += [_check_endpoint(item.strip(), takes_unix) for item in items]
    return tuple(dict.fromkeys(endpoints))


def _check_endpoint(text: str, takes_unix: bool) -> str:
    if text.isdecimal():
        parse_port(text)
        return text
    kind, *arguments = split_endpoint(text)
    if kind not in _LISTENERS or not arguments:
        raise ValueFault(f'"{text}" is neither a port nor tcp:…, tcp6:…, unix:… or systemd:…')
    if kind == "unix" and not takes_unix:
        raise ValueFault(f'"{text}": clients of this service need an IP address; write a port or tcp:…')
    if kind in ("tcp", "tcp6"):
        named = [argument for argument in arguments if argument.startswith("port=")]
        parse_port(named[0].removeprefix("port=") if named else arguments[0])
    return text


def split_endpoint(text: str) -> list[str]:
    """Take an endpoint string apart at its colons; `\\:` is a colon inside a part."""
    return [part.replace("\\:", ":") for part in _COLON.split(text)]


def endpoint_port(endpoint: str) -> tuple[str, int] | None:
    """Say which interface ("" = all addresses) and port a listener asks for; None where it does not say."""
    if endpoint.isdecimal():
        return "", int(endpoint)
    kind, *arguments = split_endpoint(endpoint)
    if kind not in ("tcp", "tcp6"):
        return None
    options = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    return options.get("interface", ""), int(options.get("port", arguments[0]))


def is_public(endpoint: str) -> bool:
    """Say whether strangers may reach a listener, bound neither to loopback nor to a private address."""
    place = endpoint_port(endpoint)
    if place is None:
        return not endpoint.startswith("unix:")
    try:
        address = parse_client_address(place[0])
    except ValueError:
        return place[0] != "localhost"
    return address not in build_groups({})[LOCAL_CLIENTS]


def _parse_client_endpoint(text: str, near: Surroundings) -> str:
    kind, *arguments = split_endpoint(text)
    if kind not in ("tcp", "unix") or not all(arguments) or len(arguments) != (2 if kind == "tcp" else 1):
        raise ValueFault(f'"{text}" is no address of a service; write tcp:host:port or unix:path')
    if kind == "tcp":
        parse_port(arguments[1])
    return text


def _parse_group(text: str, near: Surroundings) -> AddressGroup | None:
    if not text:
        return None
    if text not in near.groups:
        raise ValueFault(f'there is no address group "{text}"{suggest(text, near.groups)}')
    return near.groups[text]


def _parse_database(text: str, near: Surroundings) -> Database:
    engine, _, place = text.partition(":")
    if engine not in ("sqlite", "postgresql") or not place:
        raise ValueFault(f'"{text}" is no database; write sqlite:FILE or postgresql://user@host/db')
    return Database(engine, place)


def log_target(default: str) -> Kind[LogTarget]:
    """Make the kind of a log's place; `default` is its file where it goes to a stream."""
    streams = {stream.value: stream for stream in LogStream}

    def parse(text: str, near: Surroundings) -> LogTarget:
        if not text:
            raise ValueFault("a path is needed, or journal or stdout")
        if text in streams:
            return LogTarget(locate(near.data_dir, default), streams[text])
        return LogTarget(locate(near.data_dir, text))

    return Kind("path in data_dir, journal or stdout", parse)


def _optional(parse: Callable[[str], T]) -> Callable[[str, Surroundings], T | None]:
    return lambda text, near: parse(text) if text else None


_ENDPOINTS = "ports or endpoint strings, one a line"
LISTENERS = Kind(_ENDPOINTS, lambda text, _: _parse_endpoints(text, False), may_have_lines=True)
LOCAL_LISTENERS = Kind(_ENDPOINTS, lambda text, _: _parse_endpoints(text, True), may_have_lines=True)
HOST_PORT = Kind("host or host:port", _optional(parse_host_port))
HOST_PORTS = Kind(
    "list of host or host:port",
    lambda text, _: tuple(dict.fromkeys(map(parse_host_port, split_list(text)))),
    may_have_lines=True,
)
NAMESERVERS = Kind("list of address or address:port", _parse_nameservers, may_have_lines=True)
CLIENT_ENDPOINT = Kind("tcp:host:port or unix:path", _parse_client_endpoint)
GROUP = Kind("address group", _parse_group)
DATABASE = Kind("sqlite:FILE or postgresql:…", _parse_database)
