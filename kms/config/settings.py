"""The configuration as typed values, and how they are read from the INI file.

One attrs class a section, each field with its kind, default and doc. `load_settings` reads a file as a whole:
it either gives usable `Settings` or tells every fault of the file at once (`ConfigError`).
It asks nothing of the machine but the files an administrator names for secrets.
Flow: tap.py and kmsctl load; `service` gives each part only its own section or rule set.
"""

from __future__ import annotations

from pathlib import Path

import attrs

from kms.config import antispam_settings as filters
from kms.config.delivery_settings import (
    DeliveryMode,
    DeliverySettings,
    DnsSettings,
    QueueSettings,
    SmarthostAuth,
)
from kms.config.network_kinds import HostPort, is_ip_address
from kms.config.relay_settings import DomainsSettings, LimitsSettings, RelaySettings
from kms.config.route_kinds import make_hop
from kms.config.server_settings import (
    AccessSettings,
    AuthSettings,
    ConsoleSettings,
    ListenSettings,
    LogSettings,
    Pop3Settings,
    ServerSettings,
    StoreSettings,
    TlsSettings,
)
from kms.domain.account import Alias, Directory
from kms.domain.address_group import AddressGroup, build_groups
from kms.domain.next_hop import HopCredentials, NextHop, Pop3Login, TlsPolicy
from kms.policy.account_limit import AccountRules
from kms.policy.gateway import GatewayRules
from kms.policy.limits import ClientLimits, Limit
from kms.policy.login_guard import LoginRules
from kms.policy.relay import RelayRules
from kms.policy.retry import RetryRules
from kms.policy.route_table import RouteTable, RouteTarget
from kms.policy.transaction import TransactionRules

_POP3_PORT = 110


@attrs.frozen
class Settings:
    """The whole configuration: `settings.<section>.<key>`, named as in the file.

    Attributes:
        domain_aliases: other name -> local domain.
        address_groups: all groups by name, the predefined one among them.
        routes: sender or recipient domain -> where its mail goes.
        dnsbl: name -> black list.
        file_aliases: what the file of `[domains] aliases_file` holds.
        warnings: one line for each key that has no effect yet though its value asks for something, and for each
            alias of the file that cannot be used.
    """

    server: ServerSettings = attrs.field(factory=ServerSettings)
    listen: ListenSettings = attrs.field(factory=ListenSettings)
    access: AccessSettings = attrs.field(factory=AccessSettings)
    tls: TlsSettings = attrs.field(factory=TlsSettings)
    auth: AuthSettings = attrs.field(factory=AuthSettings)
    pop3: Pop3Settings = attrs.field(factory=Pop3Settings)
    store: StoreSettings = attrs.field(factory=StoreSettings)
    domains: DomainsSettings = attrs.field(factory=DomainsSettings)
    domain_aliases: dict[str, str] = attrs.field(factory=dict)
    address_groups: dict[str, AddressGroup] = attrs.field(factory=lambda: build_groups({}))
    relay: RelaySettings = attrs.field(factory=RelaySettings)
    limits: LimitsSettings = attrs.field(factory=LimitsSettings)
    delivery: DeliverySettings = attrs.field(factory=DeliverySettings)
    routes: dict[str, RouteTarget] = attrs.field(factory=dict)
    dns: DnsSettings = attrs.field(factory=DnsSettings)
    queue: QueueSettings = attrs.field(factory=QueueSettings)
    antispam: filters.AntispamSettings = attrs.field(factory=filters.AntispamSettings)
    spf: filters.SpfSettings = attrs.field(factory=filters.SpfSettings)
    caller_id: filters.CallerIdSettings = attrs.field(factory=filters.CallerIdSettings)
    dkim: filters.DkimSettings = attrs.field(factory=filters.DkimSettings)
    dmarc: filters.DmarcSettings = attrs.field(factory=filters.DmarcSettings)
    lists: filters.ListsSettings = attrs.field(factory=filters.ListsSettings)
    dnsbl: dict[str, filters.DnsblZone] = attrs.field(factory=dict)
    rules: filters.RulesSettings = attrs.field(factory=filters.RulesSettings)
    spamassassin: filters.SpamAssassinSettings = attrs.field(factory=filters.SpamAssassinSettings)
    clamav: filters.ClamAvSettings = attrs.field(factory=filters.ClamAvSettings)
    greeting_delay: filters.GreetingDelaySettings = attrs.field(factory=filters.GreetingDelaySettings)
    greylisting: filters.GreylistingSettings = attrs.field(factory=filters.GreylistingSettings)
    console: ConsoleSettings = attrs.field(factory=ConsoleSettings)
    log: LogSettings = attrs.field(factory=LogSettings)
    file_aliases: tuple[Alias, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def relay_rules(self) -> RelayRules:
        """Who may relay."""
        relay = self.relay
        return RelayRules(relay.mode, relay.address_group, relay.smtp_auth, relay.pop_before_smtp)

    @property
    def login_rules(self) -> LoginRules:
        """Who may have a password checked."""
        limits = self.limits
        return LoginRules(
            failed_logins=limits.failed_logins,
            failed_logins_per_address=limits.failed_logins_per_address,
            window=limits.failed_logins_window,
            block=limits.failed_logins_block,
            exempt_group=limits.exempt_group,
            observed=frozenset(map(Limit, limits.observe)),
        )

    @property
    def account_rules(self) -> AccountRules:
        """How much one login may send."""
        limits = self.limits
        return AccountRules(
            messages_per_hour=limits.account_messages_per_hour,
            messages_per_day=limits.account_messages_per_day,
            max_message_octets=limits.account_max_message_size,
            new_recipients_per_day=limits.account_new_recipients_per_day,
            observed=frozenset(map(Limit, limits.observe)),
        )

    @property
    def gateway_rules(self) -> GatewayRules:
        """Which trusted addresses behave like gateways."""
        relay = self.relay
        return GatewayRules(relay.address_group, relay.gateway_alarm, relay.suspend_gateway_trust)

    @property
    def retry_rules(self) -> RetryRules:
        """When to try again, warn, and give up."""
        queue = self.queue
        return RetryRules(
            queue.retry_interval, queue.bounce_after, queue.warn_after, queue.limits_apply_to_smarthost
        )

    @property
    def transaction_rules(self) -> TransactionRules:
        """What one transaction may contain."""
        limits = self.limits
        return TransactionRules(
            max_recipients=limits.max_recipients,
            max_message_octets=limits.max_message_size,
            max_received_hops=limits.max_received_hops,
            min_free_octets=limits.min_free_space,
            sender_domain_must_exist=limits.sender_domain_must_exist,
            sender_must_match_login=self.relay.sender_must_match_login,
            local_sender_needs_auth=self.relay.local_sender_needs_auth,
            observed=frozenset(map(Limit, limits.observe)),
        )

    @property
    def client_limits(self) -> ClientLimits:
        """How much one client may do."""
        limits = self.limits
        return ClientLimits(
            messages_per_hour=limits.messages_per_hour,
            connections_per_client=limits.connections_per_client,
            unknown_recipients=limits.unknown_recipients,
            unknown_recipients_block=limits.unknown_recipients_block,
            client_must_have_ptr=limits.client_must_have_ptr,
            exempt_group=limits.exempt_group,
            observed=frozenset(map(Limit, limits.observe)),
        )

    @property
    def smarthosts(self) -> tuple[NextHop, ...]:
        """The servers all foreign mail goes to, in their order; empty in direct mode."""
        if self.delivery.mode is DeliveryMode.DIRECT:
            return ()
        return tuple(map(self._make_smarthost, self.delivery.smarthost))

    def _make_smarthost(self, place: HostPort) -> NextHop:
        delivery = self.delivery
        way = delivery.smarthost_auth
        credentials = HopCredentials(delivery.smarthost_user, delivery.smarthost_password)
        return attrs.evolve(
            make_hop(place),
            tls=delivery.tls,
            credentials=credentials if way is SmarthostAuth.SMTP else None,
            pop3=self._make_pop3_login(place, credentials) if way is SmarthostAuth.POP3 else None,
        )

    def _make_pop3_login(self, smarthost: HostPort, credentials: HopCredentials) -> Pop3Login:
        delivery = self.delivery
        place = delivery.smarthost_pop3 or HostPort(smarthost.host)
        return Pop3Login(
            place.host,
            (place.host,) if is_ip_address(place.host) else (),
            place.port or _POP3_PORT,
            delivery.tls,
            credentials,
            delivery.smarthost_pop3_every,
        )

    @property
    def route_table(self) -> RouteTable:
        """The lines of [routes]; the TLS policy counts for them too, but for sockets of this machine."""
        lines = {key: self._secure(target) for key, target in self.routes.items()}
        return RouteTable(lines, frozenset(self.domains.local))

    @property
    def error_routes(self) -> RouteTable | None:
        """The lines of [routes] where one of them refuses mail."""
        table = self.route_table
        return table if table.gives_back else None

    def _secure(self, target: RouteTarget) -> RouteTarget:
        if not isinstance(target, NextHop):
            return target
        return attrs.evolve(target, tls=TlsPolicy.OFF if target.is_local_socket else self.delivery.tls)

    @property
    def directory(self) -> Directory:
        """The domains, the postmaster, and the aliases of the file; accounts and other aliases are the store's."""
        return Directory(
            local_domains=self.domains.local,
            relay_domains=frozenset(self.domains.relay),
            domain_aliases=self.domain_aliases,
            postmaster=self.server.postmaster,
            file_aliases=self.file_aliases,
        )

    @property
    def database_path(self) -> Path:
        """The SQLite file."""
        return self.server.data_dir / self.store.database.place

    @property
    def spool_dir(self) -> Path:
        """Folder of large message bodies."""
        return self.server.data_dir / "spool"

    @property
    def mailboxes_dir(self) -> Path:
        """Folder of the Maildirs, `<domain>/<user>/Maildir` below it."""
        return self.server.data_dir / "mailboxes"

    @property
    def tls_dir(self) -> Path:
        """Folder of the certificate made at first start."""
        return self.server.data_dir / "tls"

    @property
    def control_socket(self) -> Path:
        """Unix socket of the running server, for kmsctl."""
        return self.server.data_dir / "control.sock"

    @property
    def lock_path(self) -> Path:
        """File whose lock says that somebody works on the data folder."""
        return self.server.data_dir / "lock"
