"""The settings decide who gets in where; the certificate is not needed for that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from kms.config.server_settings import AccessSettings, ListenSettings
from kms.config.settings import Settings
from kms.domain.address_group import build_groups
from kms.service.clock import ClockOf
from kms.service.entrances import Entrances
from kms.service.mail_log import MailLog
from kms.service.security_log import SecurityLog
from kms.service.served_certificate import ServedCertificate

CLIENT = "203.0.113.9"
GROUP = build_groups({"office": ["192.0.2.0/24"]})["office"]
SERVICES = ("smtp", "submission", "submissions", "pop3", "pop3s", "lmtp")


class Ways:
    """All entrances, with nobody behind them, and their logs."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        clock = ClockOf(Clock())
        self._folder = folder
        self.logs = (
            MailLog(str(folder / "mail.log"), clock, "mail"),
            SecurityLog(str(folder / "security.log"), clock),
        )
        for log in self.logs:
            log.lines.open()
        factory = Factory.forProtocol(Protocol)
        certificate = ServedCertificate("mail.example.test", folder)
        self.entrances = Entrances(settings, dict.fromkeys(SERVICES, factory), certificate, *self.logs, clock)

    def connect(self, service: str) -> Any:
        return self.entrances.by_service[service].buildProtocol(IPv4Address("TCP", CLIENT, 40_000))

    def lines(self, name: str) -> list[str]:
        for log in self.logs:
            log.lines.flush()
        return (self._folder / name).read_text(encoding="ascii").splitlines()


@pytest.mark.parametrize(
    ("key", "closed", "word"),
    [
        ("smtp", {"smtp"}, "SMTP"),
        ("submission", {"submission", "submissions"}, "Submission"),
        ("pop3", {"pop3", "pop3s"}, "POP3"),
        ("lmtp", {"lmtp"}, "LMTP"),
    ],
)
def test_a_key_closes_its_services_to_others(tmp_path: Path, key: str, closed: set[str], word: str) -> None:
    access: Any = {key: GROUP}
    ways = Ways(tmp_path, attrs.evolve(Settings(), access=AccessSettings(**access)))
    assert {service for service in SERVICES if ways.connect(service) is None} == closed
    lines = ways.lines("security.log")
    assert len(lines) == len(closed)
    assert all(
        line.endswith(f" {word} connection from {CLIENT} rejected: not in the access group") for line in lines
    )


def test_a_proxy_that_does_wrong_is_told_of_in_the_mail_log(tmp_path: Path) -> None:
    everyone = build_groups({"x": ["0.0.0.0/0"]})["x"]
    ways = Ways(tmp_path, attrs.evolve(Settings(), listen=ListenSettings(proxy_protocol_from=everyone)))
    connection = ways.connect("pop3s")
    connection.makeConnection(StringTransport())
    connection.dataReceived(b"EHLO x")
    [line] = ways.lines("mail.log")
    assert line.endswith(f"warning: proxy {CLIENT}: PROXY header to pop3s refused: no PROXY header")


def test_a_reload_counts_from_the_next_connection_on(tmp_path: Path) -> None:
    ways = Ways(tmp_path, Settings())
    assert ways.connect("pop3") is not None
    ways.entrances.use(attrs.evolve(Settings(), access=AccessSettings(pop3=GROUP)))
    assert ways.connect("pop3") is None
    assert ways.connect("smtp") is not None
