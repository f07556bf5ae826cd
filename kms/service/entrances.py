"""The entrances of all ports, made from the settings: which group may come in where, where TLS begins at once, and
which logs are told of those who are not let in.
"""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.interfaces import IProtocolFactory

from kms.config.settings import Settings
from kms.domain.address_group import AddressGroup, ClientAddress
from kms.service.clock import Clock
from kms.service.entrance import Entrance, EntranceRules
from kms.service.mail_log import MailLog
from kms.service.security_log import SecurityLog
from kms.service.served_certificate import ServedCertificate

_ACCESS_KEYS = {"submissions": "submission", "pop3s": "pop3"}
"""The ports with TLS from the first octet, and the access group that they share with the port without."""


class Entrances:
    """One entrance for each service.

    Args:
        settings: of the file; `use` takes changed ones.
        factories: what is behind the entrances, by the service's name in `[listen]`.
        certificate: puts TLS around the services that begin with it.

    Attributes:
        by_service: the entrances, to listen with.
    """

    def __init__(
        self,
        settings: Settings,
        factories: Mapping[str, IProtocolFactory],
        certificate: ServedCertificate,
        mail_log: MailLog,
        security_log: SecurityLog,
        clock: Clock,
    ) -> None:
        self.by_service = {
            name: Entrance(
                certificate.wrap(factory) if name in _ACCESS_KEYS else factory,
                _rules(settings, name),
                _Logs(name, mail_log, security_log),
                clock,
            )
            for name, factory in factories.items()
        }

    def use(self, settings: Settings) -> None:
        """Take changed settings, for those who connect from now on."""
        for name, entrance in self.by_service.items():
            entrance.use(_rules(settings, name))


def _rules(settings: Settings, name: str) -> EntranceRules:
    access: AddressGroup | None = getattr(settings.access, _ACCESS_KEYS.get(name, name))
    return EntranceRules(access, settings.listen.proxy_protocol_from)


class _Logs:
    """Where one entrance tells of who is not let in."""

    def __init__(self, name: str, mail_log: MailLog, security_log: SecurityLog) -> None:
        self._name = name
        self._mail_log = mail_log
        self._security_log = security_log

    def access_denied(self, client: ClientAddress) -> None:
        """The client is not in the access group."""
        key = _ACCESS_KEYS.get(self._name, self._name)
        self._security_log.access_denied(client, "Submission" if key == "submission" else key.upper())

    def proxy_refused(self, proxy: ClientAddress, reason: str) -> None:
        """A proxy sent no header, or a wrong one."""
        self._mail_log.proxy_refused(self._name, proxy, reason)
