"""Accounts, and the directory's order of aliases."""

from __future__ import annotations

import attrs

from kms.domain.account import Account, Alias, Directory
from kms.domain.address import Mailbox

ANNA = Mailbox("anna", "local.test")


def alias(local_part: str, domain: str = "local.test") -> Alias:
    return Alias(local_part, domain, (ANNA,))


def test_an_account_has_a_login_and_a_mailbox() -> None:
    account = Account("anna", "local.test")
    assert account.login == "anna@local.test"
    assert account.mailbox == ANNA


def test_an_alias_with_a_wildcard_is_a_pattern() -> None:
    assert [alias(name).is_pattern for name in ("info", "info*", "inf?", "*")] == [False, True, True, True]


def test_exact_aliases_are_found_by_name_and_domain() -> None:
    first, again, other, pattern = alias("info"), alias("info"), alias("info", "other.test"), alias("i*")
    again = attrs.evolve(again, targets=())
    directory = Directory(
        ("local.test",), aliases={"local.test": (first, again, pattern), "other.test": (other,)}
    )
    assert directory.exact_aliases == {("info", "local.test"): first, ("info", "other.test"): other}


def test_patterns_keep_their_order_but_the_catch_all_is_last() -> None:
    catch_all, second, third = alias("*"), alias("i*"), alias("in*")
    directory = Directory(("local.test",), aliases={"local.test": (catch_all, second, alias("x"), third)})
    assert directory.alias_patterns == {"local.test": (second, third, catch_all)}


def test_a_changed_directory_finds_the_changed_aliases() -> None:
    before = Directory(("local.test",), aliases={"local.test": (alias("old"),)})
    assert ("old", "local.test") in before.exact_aliases
    after = attrs.evolve(before, aliases={"local.test": (alias("new"),)})
    assert list(after.exact_aliases) == [("new", "local.test")]


def test_aliases_of_the_file_come_last_and_those_without_a_domain_after_those_with_one() -> None:
    stored, shadowed = alias("info"), attrs.evolve(alias("info", ""), targets=())
    everywhere, only_here = attrs.evolve(alias("team", ""), targets=()), alias("team", "other.test")
    directory = Directory(
        ("local.test", "other.test"),
        aliases={"local.test": (stored,)},
        file_aliases=(shadowed, everywhere, only_here),
    )
    assert directory.exact_aliases == {
        ("info", "local.test"): stored,
        ("info", "other.test"): attrs.evolve(shadowed, domain="other.test"),
        ("team", "local.test"): attrs.evolve(everywhere, domain="local.test"),
        ("team", "other.test"): only_here,
    }
