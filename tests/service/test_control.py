from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kms.config.loader import read_settings
from kms.domain.account import Alias
from kms.policy.block import Block, BlockKind
from kms.service.control import Control, ReloadRefused
from kms.store.accounts import AccountError
from kms.store.administration import NotFound
from kms.store.credentials import PasswordError, load_password_hash, load_scram_verifier, verify_password
from kms.store.schema import StoreError
from tests.support.control import FakeServer

SETTINGS = read_settings(
    "[domains]\nlocal = a.test\n[lists]\nwhitelist_group = Local clients\n", Path("/srv/etc/kms.ini")
)


class ControlTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = FakeServer(SETTINGS)
        self.addCleanup(self.server.database.connection.close)
        self.problems: list[str] = []
        self.control = Control(self.server, lambda: self.problems)

    def ask(self, request: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(request))

    def refusal(self, request: Any, kind: type[Exception]) -> Exception:
        error = self.failureResultOf(Deferred.fromCoroutine(request), kind).value  # type: ignore[no-untyped-call]
        assert isinstance(error, kind)
        return error

    def add_joe(self) -> None:
        self.ask(self.control.add_user("joe@a.test", "secret"))
        self.server.windows.add("192.0.2.1", "joe@a.test")
        self.server.windows.add("192.0.2.1", "ann@a.test")

    def users_of_windows(self) -> list[str]:
        return [window.user for window in self.server.windows.open]

    def test_a_new_user_can_log_in_and_get_mail_at_once(self) -> None:
        self.add_joe()
        assert "joe@a.test" in self.server.directory.current.accounts
        stored = load_password_hash(self.server.database.connection, "joe@a.test")
        assert stored is not None
        assert verify_password("secret", stored)
        assert load_scram_verifier(self.server.database.connection, "joe@a.test") is not None

    def test_a_user_that_cannot_be_is_refused(self) -> None:
        self.refusal(self.control.add_user("joe@b.test", "secret"), AccountError)
        self.refusal(self.control.add_user("joe@a.test", ""), PasswordError)
        assert self.ask(self.control.list_users()) == []

    def test_the_aliases_file_is_read_anew_and_a_wrong_one_changes_nothing(self) -> None:
        error = self.refusal(self.control.load_aliases_file(), AccountError)
        assert "has no [domains] aliases_file" in str(error)
        path = Path(self.mktemp())  # type: ignore[no-untyped-call]
        domains = attrs.evolve(SETTINGS.domains, aliases_file=path)
        self.server.settings = attrs.evolve(SETTINGS, domains=domains)
        path.write_text("info: joe, ann\nroot: joe\n")
        assert self.ask(self.control.load_aliases_file()) == {"path": str(path), "aliases": 2, "warnings": []}
        self.add_joe()
        assert self.ask(self.control.resolve_alias("root@a.test"))["targets"] == ["joe@a.test"]
        assert self.ask(self.control.status())["aliases"] == 2
        path.write_text("root\n|x\n")
        error = self.refusal(self.control.load_aliases_file(), AccountError)
        assert str(error).count(f"{path}:") == 2
        assert len(self.server.directory.current.file_aliases) == 2
        path.write_text("root: :include:/none/x\n")
        (warning,) = self.ask(self.control.load_aliases_file())["warnings"]
        assert "the alias root is deferred" in warning
        assert "root@a.test cannot be used" in self.ask(self.control.resolve_alias("root@a.test"))["problem"]

    def test_an_address_is_verified_as_what_programs_hand_in_would_be_judged(self) -> None:
        self.add_joe()
        self.ask(self.control.add_alias("list@a.test", ["joe@a.test", "x@far.test"]))
        broken = (Alias("staff", "", (), "/x cannot be read"),)
        self.server.settings = attrs.evolve(SETTINGS, file_aliases=broken)
        self.server.directory.take_file(broken)
        joe = {"address": "joe@a.test", "targets": ["joe@a.test"], "status": 0, "problem": ""}
        assert self.ask(self.control.verify_address("joe")) == joe
        assert self.ask(self.control.verify_address("list@a.test"))["targets"] == ["joe@a.test", "x@far.test"]
        assert self.ask(self.control.verify_address("x@far.test"))["status"] == 0
        for address, status, problem in (
            ("nobody", 67, "nobody has this address"),
            ("a@b@", 65, "'a@b@' is no address"),
            ("staff", 75, "mail is deferred, for staff@a.test cannot be used: /x cannot be read"),
        ):
            facts = self.ask(self.control.verify_address(address))
            assert (facts["status"], facts["targets"]) == (status, [])
            assert facts["problem"].startswith(problem)

    def test_a_new_password_ends_the_users_windows_and_no_others(self) -> None:
        self.add_joe()
        self.ask(self.control.set_password("JOE@a.test", "other"))
        assert self.users_of_windows() == ["ann@a.test"]

    def test_disabling_acts_at_once_and_ends_the_windows(self) -> None:
        self.add_joe()
        self.ask(self.control.change_user("joe@a.test", {"full_name": "Joe"}))
        assert self.users_of_windows() == ["joe@a.test", "ann@a.test"]
        self.ask(self.control.change_user("joe@a.test", {"is_enabled": False}))
        assert self.users_of_windows() == ["ann@a.test"]
        assert not self.server.directory.current.accounts["joe@a.test"].is_enabled

    def test_removing_acts_at_once_and_ends_the_windows(self) -> None:
        self.add_joe()
        self.ask(self.control.remove_user("joe@a.test"))
        assert self.users_of_windows() == ["ann@a.test"]
        assert self.server.directory.current.accounts == {}
        self.refusal(self.control.remove_user("joe@a.test"), NotFound)

    def test_aliases_act_at_once(self) -> None:
        self.add_joe()
        self.ask(self.control.add_alias("info@a.test", ["joe@a.test"]))
        assert self.server.directory.current.exact_aliases[("info", "a.test")]
        assert self.ask(self.control.resolve_alias("info@a.test"))["targets"] == ["joe@a.test"]
        assert len(self.ask(self.control.list_aliases())) == 1
        self.ask(self.control.remove_alias("info@a.test"))
        assert self.server.directory.current.aliases == {}

    def test_windows_are_listed_and_revoked(self) -> None:
        self.add_joe()
        assert [facts["user"] for facts in self.ask(self.control.list_windows())] == [
            "joe@a.test",
            "ann@a.test",
        ]
        assert self.ask(self.control.revoke_windows("192.0.2.1", "joe@a.test")) == {"revoked": 1}
        assert self.ask(self.control.revoke_windows("::ffff:192.0.2.1", None)) == {"revoked": 1}
        assert self.ask(self.control.revoke_windows("192.0.2.1", None)) == {"revoked": 0}
        self.refusal(self.control.revoke_windows("home", None), AccountError)

    def test_blocks_are_listed_shown_and_lifted(self) -> None:
        now = self.server.clock.now()
        block = Block("2001:db8::/64", BlockKind.HARVEST, now, now, "too many unknown recipients")
        self.server.ledger.lasting.append(block)
        assert [facts["client"] for facts in self.ask(self.control.list_blocks())] == ["2001:db8::/64"]
        shown = self.ask(self.control.show_limits("2001:db8::7"))
        assert (shown["messages"], [facts["kind"] for facts in shown["blocks"]]) == (3, ["harvest"])
        assert self.ask(self.control.show_limits("::ffff:192.0.2.1"))["client"] == "192.0.2.1"
        assert self.ask(self.control.lift_blocks("2001:db8::/64")) == {"lifted": 1}
        assert self.ask(self.control.lift_blocks("2001:db8::7")) == {"lifted": 0}
        self.refusal(self.control.lift_blocks("home"), AccountError)
        self.refusal(self.control.show_limits("home"), AccountError)

    def test_the_status_counts(self) -> None:
        self.add_joe()
        self.ask(self.control.add_alias("info@a.test", ["joe@a.test"]))
        self.server.reactor.advance(61)
        facts = self.ask(self.control.status())
        assert facts["uptime_seconds"] == 61
        assert (facts["users"], facts["aliases"], facts["relay_windows"]) == (1, 1, 2)
        assert facts["queue"] == {"messages": 0, "recipients": 0, "octets": 0, "set_aside": 0}
        assert facts["relay_mode"] == "restricted"
        assert facts["local_domains"] == ["a.test"]

    def test_a_reload_tells_warnings_or_faults(self) -> None:
        (warning,) = self.ask(self.control.reload())["warnings"]
        assert "[lists] whitelist_group has no effect yet" in warning
        self.problems = ["line 5 is wrong"]
        error = self.refusal(self.control.reload(), ReloadRefused)
        assert isinstance(error, ReloadRefused)
        assert error.problems == ("line 5 is wrong",)

    def test_trouble_of_the_store_changes_nothing_in_memory(self) -> None:
        self.add_joe()
        self.server.database.error = StoreError("disk full")
        self.refusal(self.control.remove_user("joe@a.test"), StoreError)
        assert "joe@a.test" in self.server.directory.current.accounts
        assert len(self.users_of_windows()) == 2
