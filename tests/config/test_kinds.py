from pathlib import Path
from typing import Any

import pytest

from kms.config import kinds
from kms.config import network_kinds as network
from kms.config.antispam_settings import ACTION, DNSBL_ZONE, Act, Action, DnsblZone
from kms.config.kinds import Kind, Surroundings
from kms.config.network_kinds import Database, HostPort, LogStream, LogTarget, is_public
from kms.config.problems import ValueFault
from kms.config.relay_settings import LimitsSettings, limit_names
from kms.config.server_settings import Mechanism, ServerSettings

NEAR = Surroundings(Path("/etc/kms"), Path("/var/kms"))
LOG = network.log_target("log/mail.log")
MECHANISMS = kinds.choices("mechanism", Mechanism)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (kinds.BOOLEAN, "Yes", True),
        (kinds.BOOLEAN, "off", False),
        (kinds.MAILBOX, "", None),
        (kinds.OPTIONAL_PATH, "", None),
        (kinds.OPTIONAL_PATH, "a/../b", Path("/etc/kms/b")),
        (kinds.DECIMAL, "-1.5", -1.5),
        (kinds.LANGUAGE, "pt-BR", "pt-BR"),
        (kinds.NAMES, "a, b\nc", ("a", "b", "c")),
        (kinds.TEXT, "[SPAM] ", "[SPAM] "),
        (MECHANISMS, "plain, PLAIN, login", (Mechanism.PLAIN, Mechanism.LOGIN)),
        (network.HOST_PORT, "", None),
        (network.HOST_PORT, "Mail.Example", HostPort("mail.example")),
        (network.HOST_PORT, "mail.example:587", HostPort("mail.example", 587)),
        (network.HOST_PORT, "192.0.2.1:25", HostPort("192.0.2.1", 25)),
        (network.HOST_PORT, "2001:db8::1", HostPort("2001:db8::1")),
        (network.HOST_PORT, "[2001:DB8::1]:25", HostPort("2001:db8::1", 25)),
        (network.HOST_PORT, "[2001:db8::1]", HostPort("2001:db8::1")),
        (network.NAMESERVERS, "127.0.0.1:5353, ::1", (HostPort("127.0.0.1", 5353), HostPort("::1"))),
        (network.LISTENERS, "25\n25\ntcp:port=26:interface=::", ("25", "tcp:port=26:interface=::")),
        (network.LISTENERS, "systemd:domain=INET:index=0", ("systemd:domain=INET:index=0",)),
        (network.LOCAL_LISTENERS, "unix:lmtp.sock", ("unix:lmtp.sock",)),
        (network.CLIENT_ENDPOINT, "tcp:127.0.0.1:783", "tcp:127.0.0.1:783"),
        (network.CLIENT_ENDPOINT, "unix:/run/clamd", "unix:/run/clamd"),
        (network.DATABASE, "sqlite:x.db", Database("sqlite", "x.db")),
        (network.GROUP, "", None),
        (LOG, "a.log", LogTarget(Path("/var/kms/a.log"))),
        (LOG, "journal", LogTarget(Path("/var/kms/log/mail.log"), LogStream.JOURNAL)),
        (ACTION, "Score 2", Action(Act.SCORE, 2.0)),
        (ACTION, "log", Action(Act.LOG)),
        (DNSBL_ZONE, "Zen.example, block", DnsblZone("zen.example", Action(Act.BLOCK))),
    ],
)
def test_good_values(kind: Kind[Any], text: str, value: Any) -> None:
    assert kind.parse(text, NEAR) == value


@pytest.mark.parametrize(
    ("kind", "text", "fault"),
    [
        (kinds.BOOLEAN, "maybe", '"maybe" is neither yes nor no'),
        (kinds.MAILBOX, "nobody", '"nobody" is no address'),
        (kinds.DOMAINS, "[192.0.2.1]", "an address literal cannot stand here"),
        (kinds.PATH, "", "a path is needed"),
        (kinds.DURATION_ABOVE_ZERO, "0", "too short"),
        (kinds.DURATIONS, "", "at least one duration"),
        (kinds.DECIMAL, "5,0", "is no number"),
        (kinds.LANGUAGE, "../x", "is no language"),
        (kinds.COUNT, "-1", "is no whole number"),
        (kinds.count(1), "0", "at least 1"),
        (MECHANISMS, "NTLM", '"NTLM" is no mechanism; write SCRAM-SHA-256-PLUS, '),
        (network.HOST_PORT, "mail.example:smtp", '"smtp" is no port'),
        (network.HOST_PORT, "mail.example:65536", "is no port"),
        (network.HOST_PORT, "mail.example:0", "port 0"),
        (network.HOST_PORT, "192.0.2.300", "that is no IP address"),
        (network.HOST_PORT, "a b", "is no host or host:port"),
        (network.HOST_PORT, "a:b:c", "is no host or host:port"),
        (network.NAMESERVERS, "dns.example", "is no IP address"),
        (network.LISTENERS, "99999", "is no port"),
        (network.LISTENERS, "127.0.0.1:25", "is neither a port nor"),
        (network.LISTENERS, "tcp", "is neither a port nor"),
        (network.LISTENERS, "unix:smtp.sock", "need an IP address"),
        (network.LISTENERS, "tcp:smtp", "is no port"),
        (network.CLIENT_ENDPOINT, "127.0.0.1:783", "is no address of a service"),
        (network.CLIENT_ENDPOINT, "tcp::783", "is no address of a service"),
        (network.CLIENT_ENDPOINT, "tcp:host:x", "is no port"),
        (network.DATABASE, "mysql:x", "is no database"),
        (network.DATABASE, "sqlite:", "is no database"),
        (LOG, "", "a path is needed"),
        (ACTION, "score", "is no action"),
        (ACTION, "score x", "is no number"),
        (ACTION, "block 3", "is no action"),
        (DNSBL_ZONE, "x", "write suffix, action"),
    ],
)
def test_bad_values_say_what_is_wrong(kind: Kind[Any], text: str, fault: str) -> None:
    with pytest.raises(ValueFault, match=fault.replace("[", r"\[").replace(".", r"\.")):
        kind.parse(text, NEAR)


@pytest.mark.parametrize(
    ("endpoint", "answer"),
    [
        ("25", True),
        ("tcp:25", True),
        ("tcp:25:interface=0.0.0.0", True),
        (r"tcp6:25:interface=\:\:", True),
        (r"tcp6:25:interface=\:\:ffff\:203.0.113.1", True),
        ("tcp:25:interface=203.0.113.1", True),
        ("tcp:25:interface=192.0.2.1", True),
        ("tcp:25:interface=mx.example", True),
        ("systemd:domain=INET:index=0", True),
        ("unix:smtp.sock", False),
        ("tcp:25:interface=localhost", False),
        ("tcp:25:interface=127.0.0.2", False),
        ("tcp:25:interface=192.168.1.1", False),
        (r"tcp6:25:interface=\:\:1", False),
        (r"tcp6:25:interface=fd00\:\:1", False),
    ],
)
def test_public_is_what_is_neither_loopback_nor_private(endpoint: str, answer: bool) -> None:
    assert is_public(endpoint) is answer


def test_limits_to_observe_are_checked_by_name() -> None:
    kind = kinds.names_of("limit", limit_names)
    assert kind.parse("messages_per_hour, max_recipients", NEAR) == ("messages_per_hour", "max_recipients")
    with pytest.raises(ValueFault, match='"mesages_per_hour" is no limit; did you mean messages_per_hour'):
        kind.parse("mesages_per_hour", NEAR)
    assert "observe" not in limit_names()
    assert "failed_logins_window" not in limit_names()


def test_a_choice_of_one_reads_well() -> None:
    assert kinds._either(["a"]) == "a"


def test_hosts_print_as_they_are_written() -> None:
    assert [str(HostPort("::1", 25)), str(HostPort("a.example"))] == ["[::1]:25", "a.example"]


def test_sections_can_be_made_without_a_file() -> None:
    assert LimitsSettings().max_recipients == 100
    assert ServerSettings(hostname="mx.example").hostname == "mx.example"
