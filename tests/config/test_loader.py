import os
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

from kms.config.loader import load_settings, read_settings
from kms.config.problems import ConfigError
from kms.config.settings import Settings
from kms.domain.address import Mailbox

PATH = Path("/srv/kms/etc/kms.ini")
MINIMAL = "[domains]\nlocal = example.org\n"


def faults_of(text: str, path: Path = PATH) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_settings(text, path)
    return [str(problem) for problem in caught.value.problems]


def only_fault_of(text: str) -> str:
    (fault,) = faults_of(MINIMAL + text)
    return fault.removeprefix(f"{PATH}:")


def read(text: str) -> Settings:
    return read_settings(MINIMAL + text, PATH)


def test_a_file_with_local_domains_is_enough_and_all_else_stands_at_its_default() -> None:
    settings = read_settings(MINIMAL, PATH)
    assert settings.domains.local == ("example.org",)
    assert settings.limits == Settings().limits
    assert settings.relay == Settings().relay
    assert settings.warnings == ()


def test_values_have_their_types() -> None:
    settings = read(
        """relay = Backup.Example, müller.example
[server]
postmaster = Admin@Example.org
hostname = MX.example.org
[listen]
smtp = 25, 26
  tcp:2525:interface=127.0.0.1
pop3 =
[queue]
retry_interval = 15m, 30m,
  1h
[limits]
max_message_size = 5 MB
[address_groups]
Office = 192.0.2.0/24, group:Local clients
[relay]
address_group = Office
"""
    )
    assert settings.domains.relay == ("backup.example", "xn--mller-kva.example")
    assert settings.server.postmaster == Mailbox("Admin", "example.org")
    assert settings.server.hostname == "mx.example.org"
    assert settings.listen.smtp == ("25", "26", "tcp:2525:interface=127.0.0.1")
    assert settings.listen.pop3 == ()
    assert settings.queue.retry_interval == tuple(timedelta(minutes=m) for m in (15, 30, 60))
    assert settings.limits.max_message_size == 5 * 1024 * 1024
    assert settings.relay.address_group is not None
    assert ip_address("192.0.2.7") in settings.relay.address_group
    assert ip_address("127.0.0.1") in settings.relay.address_group
    assert ip_address("203.0.113.7") not in settings.relay.address_group


def test_paths_are_relative_to_the_folder_of_the_file_and_absolute_in_the_end() -> None:
    settings = read("[tls]\ncertificate = mx.crt\nprivate_key = /keys/mx.key\n[log]\nmail = m.log\n")
    assert settings.server.data_dir == Path("/srv/kms/var")
    assert settings.tls.certificate == Path("/srv/kms/etc/mx.crt")
    assert settings.tls.private_key == Path("/keys/mx.key")
    assert settings.log.mail.path == Path("/srv/kms/var/m.log")
    assert settings.log.security.path == Path("/srv/kms/var/log/security.log")
    assert settings.database_path == Path("/srv/kms/var/kms.sqlite3")


def test_a_relative_file_counts_from_the_current_folder() -> None:
    settings = read_settings(MINIMAL, Path("etc/kms.ini"))
    assert settings.server.data_dir == Path(os.getcwd()) / "var"


def test_all_faults_are_told_together_in_the_order_of_their_lines() -> None:
    text = """[relay]
mode = opne
smtp_aut = yes
[relais]
x = 1
[limits]
max_recipients = many
pop_window = 5 m
zzz = 1
[domains]
local = example.org, exa mple
"""
    assert faults_of(text, Path("etc/kms.ini")) == [
        'etc/kms.ini:2: [relay] mode: "opne" is no mode; write restricted or open',
        "etc/kms.ini:3: [relay] smtp_aut: there is no such key; did you mean smtp_auth?",
        "etc/kms.ini:4: [relais]: there is no such section; did you mean relay?",
        'etc/kms.ini:7: [limits] max_recipients: "many" is no whole number',
        "etc/kms.ini:8: [limits] pop_window: there is no such key; it belongs to [relay]",
        "etc/kms.ini:9: [limits] zzz: there is no such key",
        'etc/kms.ini:11: [domains] local: "exa mple" is no domain name: a label of the domain is empty, '
        "too long or ill-formed",
    ]


def test_an_indented_key_does_not_vanish_in_the_value_above() -> None:
    fault = only_fault_of("[relay]\nmode = restricted\n  smtp_auth = no\n")
    assert fault == '4: [relay] mode: one line is enough; "smtp_auth = no" goes on with "restricted"'


def test_a_missing_local_domain_is_told_without_a_line() -> None:
    assert faults_of("") == [
        f"{PATH}: [domains] local: no domain is local; write at least one, for example local = example.org"
    ]
    assert faults_of("[domains]\nrelay = a.example\n")[0].startswith(f"{PATH}:1: [domains] local: ")


def test_a_fault_is_one_line_also_where_the_value_it_quotes_has_two() -> None:
    fault = only_fault_of("[routes]\nb.test = smtp\n  and more\n")
    assert fault.startswith('4: [routes] b.test: "smtp and more" is no route')


def test_routes_are_kept_by_whom_they_are_for() -> None:
    routes = read(
        "[routes]\nA@B.test = mx\n@c.test = error:no\nd.test = smtp:x.test\n*.e.test = lmtp:unix:/l\n"
    ).routes
    assert list(routes) == ["a@b.test", "@c.test", "d.test", "*.e.test"]


def test_a_second_route_for_the_same_mail_is_a_fault() -> None:
    assert only_fault_of("[routes]\nb.test = mx\nB.test = mx\n").endswith(
        "there is a line for b.test already"
    )


def test_a_value_with_a_fault_is_not_blamed_twice() -> None:
    assert len(faults_of("[domains]\nlocal = -\n")) == 1


class TestAddressGroups:
    def test_every_faulty_entry_of_every_group_is_told(self) -> None:
        text = """[address_groups]
A = 10.0.0.1/8, mail.example.org, 192.0.2.1
B = group:Lokal clients
"""
        faults = faults_of(MINIMAL + text)
        assert len(faults) == 3
        assert f'{PATH}:4: [address_groups] A: "10.0.0.1/8": ' in faults[0]
        assert "mail.example.org" in faults[1]
        assert faults[2].endswith("there is no group of that name; did you mean Local clients?")

    def test_a_cycle_is_named(self) -> None:
        fault = only_fault_of("[address_groups]\nA = group:B\nB = group:C\nC = group:A, 192.0.2.1\n")
        assert "A -> B -> C -> A" in fault or "B -> C -> A -> B" in fault or "C -> A -> B -> C" in fault

    def test_a_cycle_through_oddly_written_entries_is_told_too(self) -> None:
        assert " -> " in only_fault_of("[address_groups]\nA B = group:  A B\n")

    def test_the_predefined_group_can_be_redefined(self) -> None:
        settings = read("[address_groups]\nLocal clients = 192.0.2.0/24\n")
        assert settings.relay.address_group is not None
        assert ip_address("127.0.0.1") not in settings.relay.address_group

    def test_an_unknown_group_is_told_with_the_nearest_name(self) -> None:
        assert only_fault_of("[relay]\naddress_group = local client\n") == (
            '4: [relay] address_group: there is no address group "local client"; did you mean Local clients?'
        )


class TestFreeSections:
    def test_domain_aliases_name_local_domains(self) -> None:
        settings = read("[domain_aliases]\nExample.NET = EXAMPLE.org\n")
        assert settings.domain_aliases == {"example.net": "example.org"}

    def test_faults_in_them_have_their_line(self) -> None:
        assert faults_of(MINIMAL + "[domain_aliases]\n-x = example.org\n[dnsbl]\nx = zen\ny = z, off\n") == [
            f'{PATH}:4: [domain_aliases] -x: "-x" is no domain name: a label of the domain is empty, '
            "too long or ill-formed",
            f'{PATH}:6: [dnsbl] x: "zen" is no list; write suffix, action',
        ]


class TestSecrets:
    SMTP = "[delivery]\nmode = smarthost\nsmarthost = mx.example\nsmarthost_auth = smtp\nsmarthost_user = u\n"

    def read(self, folder: Path, text: str) -> Settings:
        return read_settings(MINIMAL + self.SMTP + text, folder / "kms.ini")

    def test_a_secret_comes_from_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_bytes(b"p\xc3\xa4ss # word\r\nsecond line\n")
        settings = self.read(tmp_path, "smarthost_password_file = secret\n")
        assert settings.delivery.smarthost_password == "päss # word"

    def test_it_is_never_printed(self) -> None:
        settings = read(self.SMTP + "smarthost_password = s3cr3t\n")
        assert "s3cr3t" not in repr(settings)
        assert "s3cr3t" not in repr(settings.smarthosts)

    @pytest.mark.parametrize(
        ("content", "more", "fault"),
        [
            (None, "", "the file cannot be read: No such file"),
            (b"\xff", "", "the file's text is not UTF-8"),
            (b"x", "smarthost_password = y\n", "smarthost_password is there as well"),
        ],
    )
    def test_a_file_that_gives_no_secret_is_a_fault(
        self, tmp_path: Path, content: bytes | None, more: str, fault: str
    ) -> None:
        if content is not None:
            (tmp_path / "secret").write_bytes(content)
        with pytest.raises(ConfigError, match=fault):
            self.read(tmp_path, "smarthost_password_file = secret\n" + more)

    def test_an_empty_file_is_no_password(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_bytes(b"\n")
        with pytest.raises(ConfigError, match="needs smarthost_password"):
            self.read(tmp_path, "smarthost_password_file = secret\n")


class TestFiles:
    def test_a_file_is_loaded(self, tmp_path: Path) -> None:
        (tmp_path / "kms.ini").write_text(MINIMAL)
        assert load_settings(tmp_path / "kms.ini").domains.local == ("example.org",)

    def test_a_missing_file_is_named(self) -> None:
        with pytest.raises(ConfigError) as caught:
            load_settings(Path("/nowhere/kms.ini"))
        assert str(caught.value) == (
            "/nowhere/kms.ini: the configuration cannot be read: No such file or directory"
        )

    def test_text_that_is_not_utf_8_is_told_with_its_line(self, tmp_path: Path) -> None:
        (tmp_path / "kms.ini").write_bytes(b"[domains]\nlocal = a.example\n; gr\xfc\xdfe\n")
        with pytest.raises(ConfigError, match=r"kms\.ini:3: the line is not UTF-8"):
            load_settings(tmp_path / "kms.ini")


class TestWhatIsNotThereYet:
    @pytest.mark.parametrize(
        "line",
        [
            "[log]\nformat = json",
            "[spf]\naction = score 3",
            "[spamassassin]\naction = score",
            "[dnsbl]\nx = dnsbl.example, score 2",
            "[lists]\nwhitelist_group = Local clients",
            "[relay]\nrate_trusted_senders = yes",
        ],
    )
    def test_it_costs_one_warning(self, line: str) -> None:
        (warning,) = read(line).warnings
        section, key = line.replace(" =", "\n=").split("\n")[:2]
        assert warning == f"{PATH}: {section} {key} has no effect yet"

    @pytest.mark.parametrize(
        "line",
        [
            "[limits]\nmessages_per_hour = 0",
            "[delivery]\nmta_sts = no",
            "[auth]\nmechanisms = login, plain",
            "[spf]\naction = off",
            "[dkim]\nsign = no",
            "[relay]\ngateway_alarm = 0",
            "[spamassassin]\naction = off",
            "[delivery]\ntls = off",
            "[delivery]\ntls = require",
            "[delivery]\ntls = verify",
            "[routes]\nexample.net = mx",
            "[dnsbl]\nx = dnsbl.example, off",
            "[log]\nmail = other.log",
            "[log]\nmail = stdout",
            "[log]\nsecurity = journal",
            "[access]\nsmtp = Local clients",
            "[listen]\nproxy_protocol_from = Local clients",
        ],
    )
    def test_what_asks_for_nothing_missing_costs_none(self, line: str) -> None:
        assert read(line).warnings == ()

    @pytest.mark.parametrize(
        "line",
        [
            "[store]\ndatabase = postgresql://kms@db/kms",
            "[spf]\naction = block",
            "[caller_id]\naction = block",
            "[dmarc]\naction = block",
            "[clamav]\naction = block",
            "[spamassassin]\naction = block",
            "[dnsbl]\nx = dnsbl.example, block",
            "[lists]\nblacklist_group = Local clients",
            "[rules]\nfile = rules.txt",
        ],
    )
    def test_what_would_do_harm_if_ignored_is_refused(self, line: str) -> None:
        value = line.split(" = ")[1]
        fault = only_fault_of(line)
        assert fault.startswith("4: ")
        assert fault.endswith(
            f'"{value}" is not there yet, and to ignore it would do harm; leave it at its default for now'
        )

    def test_a_language_without_a_folder_costs_a_warning(self, tmp_path: Path) -> None:
        text = MINIMAL + "[server]\nreports_dir = reports\n[queue]\nlanguage = cs\n"
        (warning,) = read_settings(text, tmp_path / "kms.ini").warnings
        assert warning.startswith("[queue] language: there is no folder ")
        (tmp_path / "reports" / "cs").mkdir(parents=True)
        assert read_settings(text, tmp_path / "kms.ini").warnings == ()
