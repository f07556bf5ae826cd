from datetime import timedelta
from pathlib import Path

import attrs
import pytest

from kms.config.checks import find_faults, find_risks
from kms.config.delivery_settings import DeliveryMode, DeliverySettings, SmarthostAuth
from kms.config.kinds import Surroundings
from kms.config.loader import read_settings
from kms.config.network_kinds import HostPort
from kms.config.settings import Settings
from kms.domain.next_hop import HopCredentials, NextHop, TlsPolicy
from kms.policy.relay import RelayRules
from kms.policy.retry import RetryRules
from kms.policy.transaction import TransactionRules


def read(text: str) -> Settings:
    return read_settings("[domains]\nlocal = example.org\n" + text, Path("/srv/etc/kms.ini"))


def faults_of(text: str) -> list[tuple[str, str]]:
    """Sections and keys at fault, found in settings that are right one by one."""
    settings = Settings()
    for line in text.splitlines():
        section, key, value = line.split(" ", 2)
        part = getattr(settings, section)
        kind = attrs.fields_dict(type(part))[key].metadata["kms.setting"].kind
        part = attrs.evolve(part, **{key: kind.parse(value, Surroundings())})
        settings = attrs.evolve(settings, **{section: part})
    return [fault[:2] for fault in find_faults(settings)]


class TestRules:
    def test_the_policies_defaults_are_the_files_defaults(self) -> None:
        settings = Settings()
        assert settings.retry_rules == RetryRules()
        assert settings.transaction_rules == TransactionRules()
        assert settings.relay_rules == RelayRules(address_group=settings.relay.address_group)

    def test_a_set_key_reaches_its_rule(self) -> None:
        settings = read(
            "[relay]\nsmtp_auth = no\nlocal_sender_needs_auth = yes\n[limits]\nmax_recipients = 7\n"
            "[queue]\nlimits_apply_to_smarthost = yes\n"
        )
        assert not settings.relay_rules.smtp_auth
        assert settings.transaction_rules.local_sender_needs_auth
        assert settings.transaction_rules.max_recipients == 7
        assert settings.retry_rules.limits_apply_to_smarthost


class TestSmarthosts:
    def test_there_are_none_in_direct_mode(self) -> None:
        assert read("[delivery]\nsmarthost = mx.example\n").smarthosts == ()

    def test_they_come_in_order_with_ports_and_login(self) -> None:
        settings = read(
            "[delivery]\nmode = smarthost\nsmarthost = mx.example, 192.0.2.1:465\nsmarthost_auth = smtp\n"
            "smarthost_user = u\nsmarthost_password = p\ntls = off\n"
        )
        login = HopCredentials("u", "p")
        assert settings.smarthosts == (
            NextHop("mx.example", (), 25, TlsPolicy.OFF, credentials=login),
            NextHop("192.0.2.1", ("192.0.2.1",), 465, TlsPolicy.OFF, is_tls_at_once=True, credentials=login),
        )

    def test_without_auth_no_password_is_given_away(self) -> None:
        delivery = DeliverySettings(
            mode=DeliveryMode.SMARTHOST, smarthost=(HostPort("mx.example"),), smarthost_password="p"
        )
        assert Settings(delivery=delivery).smarthosts[0].credentials is None


class TestFaults:
    def test_a_data_folder_too_deep_for_a_socket_is_told_before_the_start(self) -> None:
        assert faults_of(f"domains local a.example\nserver data_dir /{'x' * 89}") == []
        assert faults_of(f"domains local a.example\nserver data_dir /{'x' * 90}") == [("server", "data_dir")]

    def test_a_domain_is_local_or_relay_but_not_both(self) -> None:
        assert faults_of("domains local a.example\ndomains relay a.example, b.example") == [
            ("domains", "relay")
        ]

    def test_an_alias_is_another_name_of_a_local_domain(self) -> None:
        settings = attrs.evolve(
            read("relay = r.example\n"),
            domain_aliases={
                "ok.example": "example.org",
                "example.org": "example.org",
                "r.example": "example.org",
                "far.example": "elsewhere.example",
            },
        )
        assert [fault[1] for fault in find_faults(settings)] == ["example.org", "r.example", "far.example"]

    def test_open_mode_on_a_public_interface_needs_the_second_switch(self) -> None:
        assert faults_of("domains local a.example\nrelay mode open") == [("relay", "mode")]
        assert not faults_of(
            "domains local a.example\nrelay mode open\nrelay i_know_this_is_an_open_relay yes"
        )

    def test_open_mode_on_private_interfaces_starts(self) -> None:
        private = "\n".join(
            f"listen {key} tcp:{port}:interface=127.0.0.1"
            for key, port in (("smtp", 25), ("submission", 587), ("submissions", 465))
        )
        assert not faults_of(f"domains local a.example\nrelay mode open\n{private}")
        public = private.replace("tcp:465:interface=127.0.0.1", "465")
        assert faults_of(f"domains local a.example\nrelay mode open\n{public}") == [("relay", "mode")]

    def test_two_services_cannot_have_one_port(self) -> None:
        assert faults_of("domains local a.example\nlisten pop3 2525") == [("listen", "pop3")]
        assert not faults_of("domains local a.example\nlisten pop3 0\nlisten smtp 0\nlisten lmtp unix:l")

    def test_certificate_and_key_go_together(self) -> None:
        assert faults_of("domains local a.example\ntls certificate x") == [("tls", "certificate")]
        assert faults_of("domains local a.example\ntls private_key x") == [("tls", "private_key")]

    def test_dane_needs_tls_and_a_resolver_whose_word_nobody_can_forge(self) -> None:
        dane = "domains local a.example\ndelivery dane yes\n"
        assert not faults_of(dane)
        assert not faults_of(f"{dane}dns nameservers 127.0.0.1:5300, ::1")
        assert not faults_of("domains local a.example\ndns nameservers 192.0.2.53")
        assert faults_of(f"{dane}dns nameservers 127.0.0.1, 192.0.2.53") == [("delivery", "dane")]
        assert faults_of(f"{dane}delivery tls off") == [("delivery", "dane")]

    def test_a_smarthost_is_needed_and_its_login_too(self) -> None:
        assert faults_of(
            "domains local a.example\ndelivery mode smarthost\ndelivery smarthost_auth smtp"
        ) == [("delivery", "mode"), ("delivery", "smarthost_auth")]


class TestRisks:
    def test_the_defaults_have_none(self) -> None:
        assert find_risks(read("")) == ()

    @pytest.mark.parametrize(
        ("text", "risk"),
        [
            ("[relay]\nmode = open\ni_know_this_is_an_open_relay = yes\n", "open relay"),
            ("[relay]\naddress_group = all\n[address_groups]\nall = 0.0.0.0/0\n", "nearly an open relay"),
            ("[relay]\naddress_group = v6\n[address_groups]\nv6 = 2000::/3\n", "nearly an open relay"),
            ("[tls]\nplaintext_auth = always\n", "unencrypted"),
            ("[queue]\nretry_interval = 10 minutes, 60\n", "60 s is under 5 minutes"),
            ("[queue]\nwarn_after = 4 days\n", "warn_after"),
            ("[delivery]\ndirect_port = 2525\n", "direct_port = 2525"),
        ],
    )
    def test_each_risk_is_named(self, text: str, risk: str) -> None:
        (found,) = find_risks(read(text))
        assert risk in found

    def test_a_smarthost_password_without_tls_is_a_risk(self) -> None:
        delivery = DeliverySettings(smarthost_auth=SmarthostAuth.SMTP, tls=TlsPolicy.OFF)
        assert "smarthost's password" in find_risks(Settings(delivery=delivery))[0]


def test_everything_in_the_data_folder_has_its_place() -> None:
    settings = read("")
    places = (
        settings.database_path,
        settings.spool_dir,
        settings.mailboxes_dir,
        settings.tls_dir,
        settings.control_socket,
        settings.lock_path,
    )
    assert [str(place.relative_to("/srv/var")) for place in places] == [
        "kms.sqlite3",
        "spool",
        "mailboxes",
        "tls",
        "control.sock",
        "lock",
    ]


def test_the_directory_knows_the_domains() -> None:
    directory = read("relay = r.example\n[domain_aliases]\nb.example = example.org\n").directory
    assert directory.local_domains == ("example.org",)
    assert directory.relay_domains == {"r.example"}
    assert directory.domain_aliases == {"b.example": "example.org"}


def test_scram_verifiers_are_made_where_a_scram_mechanism_is_named() -> None:
    assert read("").auth.has_scram
    assert read("[auth]\nmechanisms = SCRAM-SHA-256-PLUS\n").auth.has_scram
    assert not read("[auth]\nmechanisms = PLAIN\n").auth.has_scram


class TestASmarthostThatAsksForAPop3Login:
    TEXT = (
        "[delivery]\nmode = smarthost\nsmarthost = mx.example, [2001:db8::1]:2525\nsmarthost_auth = pop3\n"
        "smarthost_user = u\nsmarthost_password = p\n"
    )

    def test_is_asked_itself_unless_another_server_is_named(self) -> None:
        by_name, by_address = read(self.TEXT).smarthosts
        assert by_name.credentials is None
        assert by_name.pop3 is not None
        assert (by_name.pop3.host, by_name.pop3.addresses, by_name.pop3.port) == ("mx.example", (), 110)
        assert by_name.pop3.every == timedelta(minutes=5)
        assert by_address.pop3 is not None
        assert by_address.pop3.addresses == ("2001:db8::1",)
        assert not by_address.pop3.is_tls_at_once

    def test_may_have_it_at_another_server(self) -> None:
        for hop in read(self.TEXT + "smarthost_pop3 = pop.example:995\n").smarthosts:
            assert hop.pop3 is not None
            assert (hop.pop3.host, hop.pop3.port, hop.pop3.is_tls_at_once) == ("pop.example", 995, True)

    def test_needs_a_user_and_a_password(self) -> None:
        assert (
            list(
                find_faults(read("[delivery]\nsmarthost_auth = smtp\nsmarthost_user=u\nsmarthost_password=p"))
            )
            == []
        )
        delivery = DeliverySettings(smarthost_auth=SmarthostAuth.POP3)
        faults = [fault for fault in find_faults(Settings(delivery=delivery)) if fault[0] == "delivery"]
        assert faults[0][2] == "smarthost_auth = pop3 needs smarthost_user and smarthost_password"

    def test_of_which_tls_is_off_is_a_risk(self) -> None:
        delivery = DeliverySettings(smarthost_auth=SmarthostAuth.POP3, tls=TlsPolicy.OFF)
        assert "smarthost's password" in find_risks(Settings(delivery=delivery))[0]


def test_routes_have_the_tls_policy_but_for_a_socket_of_this_machine() -> None:
    table = read(
        "[delivery]\ntls = require\n[routes]\na.test = smtp:x.test\nb.test = lmtp:unix:/l\nc.test = mx\n"
    )
    lines = table.route_table.lines
    found = [target.tls if isinstance(target, NextHop) else None for target in lines.values()]
    assert found == [TlsPolicy.REQUIRE, TlsPolicy.OFF, None]
    assert table.route_table.local_domains == {"example.org"}


def test_routes_are_asked_at_rcpt_only_where_one_refuses() -> None:
    assert read("[routes]\na.test = smtp:x.test\n").error_routes is None
    found = read("[routes]\na.test = smtp:x.test\nb.test = error:gone\n").error_routes
    assert found is not None
    assert set(found.lines) == {"a.test", "b.test"}
