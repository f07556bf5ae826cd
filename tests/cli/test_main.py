import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from kms.cli import failure, session
from kms.cli.main import run
from kms.store.data_folder import DataFolder

Kmsctl = Callable[..., "Answer"]


@attrs.frozen
class Answer:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def kmsctl(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Kmsctl:
    """Run a command on a fresh configuration, with `stdin` as its standard input."""
    (tmp_path / "etc").mkdir()
    config = tmp_path / "etc" / "kms.ini"
    config.write_text("[domains]\nlocal = a.test\n")
    (tmp_path / "reports").mkdir()

    def call(*arguments: str, stdin: bytes = b"") -> Answer:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        status = run(["--config", str(config), *arguments])
        printed = capsys.readouterr()
        return Answer(status, printed.out, printed.err)

    return call


PRIVATE = "[domains]\nlocal = a.test\n[listen]\n" + "".join(
    f"{key} = tcp:{port}:interface=127.0.0.1\n"
    for key, port in (("smtp", 25), ("submission", 587), ("submissions", 465), ("pop3", 110), ("pop3s", 995))
)
"""Strangers cannot reach it."""


def add_joe(kmsctl: Kmsctl) -> None:
    assert kmsctl("user", "add", "Joe@a.test", "--password-stdin", stdin=b"secret\nrest").status == 0


class TestUsers:
    def test_a_user_from_beginning_to_end_without_a_server(self, kmsctl: Kmsctl) -> None:
        assert kmsctl("user", "list") == Answer(0, "", "")
        add_joe(kmsctl)
        assert kmsctl("user", "set", "joe@a.test", "--full-name", "Joe", "--quota", "5 MB").out == (
            "joe@a.test was changed: full_name, quota_octets\n"
        )
        assert kmsctl("user", "passwd", "joe@a.test", "--password-stdin", stdin=b"other\r\n").status == 0
        assert kmsctl("user", "disable", "joe@a.test").out == "joe@a.test is disabled\n"
        assert kmsctl("user", "list").out == (
            "ACCOUNT     ENABLED  QUOTA    FORWARDED TO  FULL NAME\n"
            "joe@a.test  no       5242880                Joe\n"
        )
        assert kmsctl("user", "enable", "joe@a.test").out == "joe@a.test is enabled\n"
        assert "its mailbox stays in" in kmsctl("user", "remove", "joe@a.test").out
        assert kmsctl("user", "list", "--json").json == []

    def test_a_login_that_needs_the_password_itself_is_told_to_wait_for_the_next_one(
        self, kmsctl: Kmsctl
    ) -> None:
        add_joe(kmsctl)
        assert kmsctl("user", "set", "joe@a.test", "--cram", "yes").out == (
            "joe@a.test was changed: may_use_cram\n"
            "the server does not offer CRAM-MD5: it needs CRAM-MD5 in [auth] mechanisms\n"
            "CRAM-MD5 works from the next password on: kmsctl user passwd joe@a.test\n"
        )
        answer = kmsctl("user", "set", "joe@a.test", "--cram", "no", "--apop", "no", "--json")
        assert not answer.json["may_use_cram"]
        assert kmsctl("user", "set", "joe@a.test", "--apop", "no").out == (
            "joe@a.test was changed: may_use_apop\n"
        )

    def test_an_account_may_have_limits_of_its_own(self, kmsctl: Kmsctl) -> None:
        add_joe(kmsctl)
        limits = ("--messages-per-hour", "5", "--messages-per-day", "0", "--max-message-size", "2 MB")
        facts = kmsctl("user", "set", "joe@a.test", *limits, "--json").json
        names = ("messages_per_hour", "messages_per_day", "max_message_octets")
        assert [facts[name] for name in names] == [5, 0, 2 * 1024 * 1024]
        facts = kmsctl("user", "set", "joe@a.test", "--messages-per-hour", "default", "--json").json
        assert [facts[name] for name in names] == [None, 0, 2 * 1024 * 1024]

    def test_json_is_given_wherever_it_is_asked_for(self, kmsctl: Kmsctl) -> None:
        add_joe(kmsctl)
        (facts,) = kmsctl("--json", "user", "list").json
        assert facts["login"] == "joe@a.test"
        assert kmsctl("user", "set", "joe@a.test", "--json", "--own-domains-only").json["own_domains_only"]

    def test_forwarding_is_set_and_taken_back(self, kmsctl: Kmsctl) -> None:
        add_joe(kmsctl)
        kmsctl(
            "user",
            "set",
            "joe@a.test",
            "--forward",
            "x@b.test",
            "--forward",
            "y@b.test",
            "--sender",
            "@b.test",
        )
        assert "x@b.test, y@b.test (copy kept)" in kmsctl("user", "list").out
        kmsctl("user", "set", "joe@a.test", "--no-keep-copy")
        assert "copy kept" not in kmsctl("user", "list").out
        facts = kmsctl("user", "set", "joe@a.test", "--forward", "", "--sender", "", "--json").json
        assert (facts["forward_to"], facts["extra_senders"]) == ([], [])

    def test_the_password_is_asked_for_twice(self, kmsctl: Kmsctl, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[str] = []

        def answer(prompt: str) -> str:
            asked.append(prompt)
            return "secret"

        monkeypatch.setattr("click.termui.hidden_prompt_func", answer)
        assert kmsctl("user", "add", "joe@a.test").status == 0
        assert len(asked) == 2

    @pytest.mark.parametrize(
        ("arguments", "status"),
        [
            (["user", "add", "joe@a.test", "--password-stdin"], failure.BAD_DATA),
            (["user", "remove", "ann@a.test"], failure.NO_SUCH_USER),
            (["user", "set", "ann@a.test", "--quota-messages", "5"], failure.NO_SUCH_USER),
            (["user", "set", "joe@a.test"], failure.USAGE),
            (["user", "set", "joe@a.test", "--quota", "much"], failure.USAGE),
            (["user", "set", "joe@a.test", "--apop"], failure.USAGE),
            (["user", "set", "joe@a.test", "--cram", "perhaps"], failure.USAGE),
            (["user", "set", "joe@a.test", "--messages-per-day", "many"], failure.USAGE),
            (["user", "set", "joe@a.test", "--messages-per-hour", "-1"], failure.USAGE),
            (["user", "set", "joe@a.test", "--max-message-size", "5 cows"], failure.USAGE),
            (["user", "frob"], failure.USAGE),
            (["frob"], failure.USAGE),
            (["status"], failure.UNAVAILABLE),
            (["reload"], failure.UNAVAILABLE),
            (["windows", "revoke", "home"], failure.BAD_DATA),
        ],
    )
    def test_what_cannot_be_done_ends_with_its_status(
        self, kmsctl: Kmsctl, arguments: list[str], status: int
    ) -> None:
        add_joe(kmsctl)
        answer = kmsctl(*arguments, stdin=b"secret\n")
        assert answer.status == status
        assert answer.err

    def test_an_unusable_password_is_refused(self, kmsctl: Kmsctl) -> None:
        for password in (b"", b"\n", b"\xff\n"):
            answer = kmsctl("user", "add", "joe@a.test", "--password-stdin", stdin=password)
            assert answer.status == failure.BAD_DATA
        assert kmsctl("user", "list").out == ""

    def test_an_error_is_json_too(self, kmsctl: Kmsctl) -> None:
        answer = kmsctl("user", "remove", "ann@a.test", "--json")
        assert answer.json == {
            "error": "There is no account ann@a.test",
            "problems": ["There is no account ann@a.test"],
            "status": failure.NO_SUCH_USER,
        }


class TestAliases:
    def test_an_alias_from_beginning_to_end_without_a_server(self, kmsctl: Kmsctl) -> None:
        add_joe(kmsctl)
        assert kmsctl("alias", "add", "Info@a.test", "joe@a.test", "x@b.test").out == (
            "info@a.test leads to joe@a.test, x@b.test\n"
        )
        assert kmsctl("alias", "list").out == "ALIAS        TARGETS\ninfo@a.test  joe@a.test, x@b.test\n"
        assert kmsctl("alias", "resolve", "info@a.test").out == "joe@a.test\nx@b.test\n"
        assert "aliases that still lead to it: info@a.test" in kmsctl("user", "remove", "joe@a.test").out
        assert kmsctl("alias", "remove", "info@a.test").out == "info@a.test was removed\n"

    def test_who_is_nobody_is_told(self, kmsctl: Kmsctl) -> None:
        answer = kmsctl("alias", "resolve", "nobody@a.test")
        assert (answer.status, answer.err) == (67, "kmsctl: nobody@a.test: nobody has this address\n")

    def test_the_aliases_file_is_checked_and_counts_after_the_aliases_of_the_store(
        self, kmsctl: Kmsctl, tmp_path: Path
    ) -> None:
        assert kmsctl("alias", "load").status == failure.BAD_CONFIGURATION
        config, aliases = tmp_path / "etc" / "kms.ini", tmp_path / "etc" / "aliases"
        config.write_text("[domains]\nlocal = a.test\naliases_file = aliases\n")
        aliases.write_text("info: joe, x@b.test\njoe: other\nlost: nobody\npostmaster: root\n")
        add_joe(kmsctl)
        answer = kmsctl("alias", "load")
        assert answer.out == f"{aliases}: 4 aliases are right; no server runs, the next one reads them\n"
        assert kmsctl("alias", "resolve", "info@a.test").out == "joe@a.test\nx@b.test\n"
        warnings = kmsctl("--json", "check").json["warnings"]
        assert [one for one in warnings if "aliases_file" in one] == [
            "[domains] aliases_file: joe@a.test is an account, so the alias has no effect",
            "[domains] aliases_file: the alias lost leads to nobody",
        ]
        kmsctl("alias", "add", "info@a.test", "y@b.test")
        assert kmsctl("alias", "resolve", "info@a.test").out == "y@b.test\n"

    def test_a_list_that_is_missing_is_a_warning(self, kmsctl: Kmsctl, tmp_path: Path) -> None:
        config, aliases = tmp_path / "etc" / "kms.ini", tmp_path / "etc" / "aliases"
        config.write_text("[domains]\nlocal = a.test\naliases_file = aliases\n")
        aliases.write_text("staff: :include:/none/x\nall: staff, joe\n")
        add_joe(kmsctl)
        trouble = "mail for the alias staff is deferred: /none/x cannot be read: No such file or directory"
        answer = kmsctl("alias", "load")
        assert answer.status == 0
        assert answer.out.startswith(
            f"warning: [domains] aliases_file: {trouble}\n{aliases}: 2 aliases are right"
        )
        checked = kmsctl("--json", "check")
        assert checked.status == 0
        assert [one for one in checked.json["warnings"] if "aliases_file" in one] == [
            f"[domains] aliases_file: {trouble}",
            "[domains] aliases_file: mail for the alias all is deferred, for it needs staff@a.test",
        ]
        assert "mail is deferred" in kmsctl("alias", "resolve", "all@a.test").err

    def test_a_wrong_aliases_file_is_bad_data_with_its_lines(self, kmsctl: Kmsctl, tmp_path: Path) -> None:
        config, aliases = tmp_path / "etc" / "kms.ini", tmp_path / "etc" / "aliases"
        config.write_text("[domains]\nlocal = a.test\naliases_file = aliases\n")
        aliases.write_text("# x\nroot: |/bin/cat\n")
        answer = kmsctl("alias", "load")
        assert answer.status == failure.BAD_DATA
        assert answer.err == f"kmsctl: {aliases}:2: |/bin/cat: kms runs no programs for aliases\n"
        assert kmsctl("check").status == failure.BAD_CONFIGURATION
        config.write_text("[domains]\nlocal = a.test\naliases_file = aliases\nx = 1\n")
        assert kmsctl("alias", "load").status == failure.BAD_CONFIGURATION

    def test_an_alias_that_leads_nowhere_is_made_with_a_remark(self, kmsctl: Kmsctl) -> None:
        assert "but: nobody has this address" in kmsctl("alias", "add", "info@a.test", "nobody@a.test").out


class TestWindows:
    def test_there_are_none_without_a_login(self, kmsctl: Kmsctl) -> None:
        assert kmsctl("windows", "list", "--json").json == []
        assert kmsctl("windows", "revoke", "192.0.2.1", "--user", "joe@a.test").out == "0 ended\n"


class TestCheck:
    def config(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "etc" / "kms.ini").write_text(text)

    def test_all_faults_are_told_on_stderr(self, kmsctl: Kmsctl, tmp_path: Path) -> None:
        self.config(tmp_path, "[relay]\nmode = opne\n[x]\n")
        answer = kmsctl("check")
        assert answer.status == 78
        assert answer.out == ""
        lines = answer.err.splitlines()
        assert len(lines) == 3
        assert lines[1] == (
            f'{tmp_path}/etc/kms.ini:2: [relay] mode: "opne" is no mode; write restricted or open'
        )

    def test_other_commands_refuse_such_a_file_too(self, kmsctl: Kmsctl, tmp_path: Path) -> None:
        self.config(tmp_path, "[x]\n")
        assert kmsctl("user", "list").status == 78

    def test_a_missing_account_is_a_risk_until_there_is_one(self, kmsctl: Kmsctl, tmp_path: Path) -> None:
        assert "there is no account yet" in kmsctl("check").out
        kmsctl("user", "list")
        assert "no account is enabled" in kmsctl("check").out
        add_joe(kmsctl)
        assert " account" not in kmsctl("check").out
        self.config(tmp_path, "[domains]\nlocal = b.test\n")
        assert "joe@a.test has an account, but a.test is not in [domains] local" in kmsctl("check").out

    def test_a_server_for_itself_alone_has_no_risk(self, kmsctl: Kmsctl, tmp_path: Path) -> None:
        self.config(tmp_path, PRIVATE)
        add_joe(kmsctl)
        answer = kmsctl("check")
        assert answer.out == f"{tmp_path}/etc/kms.ini is right\n"

    def test_a_postmaster_who_is_nobody_is_a_risk(self, kmsctl: Kmsctl, tmp_path: Path) -> None:
        self.config(tmp_path, PRIVATE + "[server]\npostmaster = boss@a.test\n")
        assert "there is no account yet" in kmsctl("check").out
        add_joe(kmsctl)
        assert "[server] postmaster: boss@a.test: nobody has this address; the first account" in (
            kmsctl("check").out
        )
        kmsctl("alias", "add", "boss@a.test", "joe@a.test")
        assert "warning" not in kmsctl("check").out
        kmsctl("user", "disable", "joe@a.test")
        assert "no account is enabled" in kmsctl("check").out

    def test_a_postmaster_elsewhere_needs_no_account(self, kmsctl: Kmsctl, tmp_path: Path) -> None:
        self.config(tmp_path, PRIVATE + "[server]\npostmaster = boss@elsewhere.test\n")
        assert "warning" not in kmsctl("check").out
        kmsctl("user", "list")
        assert "warning" not in kmsctl("check").out

    def test_risks_and_keys_without_effect_are_told(self, kmsctl: Kmsctl, tmp_path: Path) -> None:
        self.config(
            tmp_path,
            "[domains]\nlocal = a.test\n[tls]\nplaintext_auth = always\n[lists]\nwhitelist_group = Local clients\n",
        )
        answer = kmsctl("check", "--json")
        assert answer.status == 0
        warnings = "\n".join(answer.json["warnings"])
        assert "[tls] plaintext_auth = always" in warnings
        assert "[lists] whitelist_group has no effect yet" in warnings

    def test_a_broken_report_is_told(self, kmsctl: Kmsctl, tmp_path: Path) -> None:
        (tmp_path / "reports" / "cs").mkdir()
        (tmp_path / "reports" / "cs" / "failed.txt").write_bytes(b"\xff")
        assert "reports/cs/failed.txt" in kmsctl("check").out

    def test_a_certificate_that_cannot_be_used_is_a_fault(self, kmsctl: Kmsctl, tmp_path: Path) -> None:
        self.config(
            tmp_path,
            "[domains]\nlocal = a.test\n[tls]\ncertificate = x.crt\nprivate_key = x.key\nca_file = ca.pem\n",
        )
        answer = kmsctl("check")
        assert answer.status == 78
        assert "[tls] certificate" in answer.err
        assert "[tls] ca_file" in answer.err

    def test_a_damaged_database_is_told(self, kmsctl: Kmsctl, tmp_path: Path) -> None:
        (tmp_path / "var").mkdir()
        (tmp_path / "var" / "kms.sqlite3").write_bytes(b"no database at all" * 100)
        assert "cannot be read" in kmsctl("check").out
        assert kmsctl("user", "list").status == failure.UNAVAILABLE


class TestServer:
    class Running:
        """A running server."""

        def __init__(self, path: Path) -> None:
            self.path = path

        def status(self) -> dict[str, Any]:
            return {"hostname": "mx", "local_domains": ["a.test", "b.test"], "queue": {"messages": 3}}

        def reload(self) -> dict[str, Any]:
            return {"warnings": ["x has no effect yet"]}

        def list_users(self) -> list[dict[str, Any]]:
            return []

    @pytest.fixture(autouse=True)
    def run_server(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(session, "OnlineServer", self.Running)
        monkeypatch.setattr(session, "is_running", lambda path: True)

    def test_the_status_is_printed_line_by_line(self, kmsctl: Kmsctl) -> None:
        assert kmsctl("status").out == "hostname: mx\nlocal domains: a.test, b.test\nqueue messages: 3\n"

    def test_a_reload_prints_warnings(self, kmsctl: Kmsctl) -> None:
        assert kmsctl("reload").out == "warning: x has no effect yet\nthe configuration is in force\n"

    def test_a_running_server_is_asked_and_the_store_left_alone(self, kmsctl: Kmsctl, tmp_path: Path) -> None:
        assert kmsctl("user", "list", "--json").json == []
        assert not (tmp_path / "var").exists()


def test_a_locked_data_folder_is_not_worked_on(kmsctl: Kmsctl, tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "var")
    folder.open()
    try:
        assert kmsctl("user", "list").status == failure.TRY_AGAIN
    finally:
        folder.close()
    assert kmsctl("user", "list").status == 0


def test_giving_up_at_the_password_is_no_crash(kmsctl: Kmsctl, monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(prompt: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("click.termui.hidden_prompt_func", give_up)
    assert kmsctl("user", "add", "joe@a.test").status == failure.USAGE


def test_help_is_no_error(kmsctl: Kmsctl) -> None:
    assert kmsctl("--help").status == 0
    assert kmsctl("user", "set", "--help").status == 0


def test_kmsctl_never_imports_twisted() -> None:
    script = "import sys, kms.cli.main; sys.exit(any(name.startswith('twisted') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
