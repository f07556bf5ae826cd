"""What parts of the service are given of the settings, where a section is not the rule itself."""

from __future__ import annotations

from kms.config.network_kinds import LogTarget, endpoint_port
from kms.config.server_settings import PlaintextAuth
from kms.config.settings import Settings
from kms.domain.address_group import ClientAddress
from kms.domain.next_hop import TlsPolicy
from kms.policy.routing import RoutingRules
from kms.service.outbound import OutboundRules


def log_path(target: LogTarget) -> str:
    """Where a log goes: a file, or the name of a stream."""
    return str(target.path) if target.stream is None else target.stream.value


def outbound_rules(settings: Settings) -> OutboundRules:
    """How many outgoing transactions may run."""
    return OutboundRules(settings.queue.delivery_tasks, settings.delivery.connections_per_destination)


def routing_rules(settings: Settings, hostname: str) -> RoutingRules:
    """How foreign mail finds its way, and what of it would come back to us."""
    places = [endpoint_port(listener) for listener in settings.listen.smtp]
    known = [place for place in places if place is not None]
    delivery = settings.delivery
    return RoutingRules(
        smarthosts=settings.smarthosts,
        table=settings.route_table,
        tls=delivery.tls,
        direct_port=delivery.direct_port,
        allow_private_hosts=delivery.allow_private_hosts,
        mta_sts=delivery.mta_sts and delivery.tls is not TlsPolicy.OFF,
        dane=delivery.dane and delivery.tls is not TlsPolicy.OFF,
        own_names=frozenset((hostname.lower(),)),
        own_endpoints=frozenset((interface, port) for interface, port in known if interface),
        own_wildcard_ports=frozenset(port for interface, port in known if not interface),
    )


def may_send_plain_passwords(settings: Settings, client: ClientAddress) -> bool:
    """Say whether a client may send its password without TLS (`plaintext_auth`)."""
    match settings.tls.plaintext_auth:
        case PlaintextAuth.ALWAYS:
            return True
        case PlaintextAuth.NEVER:
            return False
    group = settings.relay.address_group
    return client.is_loopback or (group is not None and client in group)
