"""Who gets the mail of an address: every rule of resolution, and every knot that aliases can make."""

from __future__ import annotations

import attrs
import pytest

from kms.domain.account import Account, Alias, Directory
from kms.domain.address import Mailbox, parse_mailbox
from kms.policy.recipient import (
    AliasLoop,
    DisabledMailbox,
    DomainKind,
    NoPostmaster,
    Resolution,
    Resolved,
    UnknownRecipient,
    UnusableAlias,
    classify_domain,
    find_account,
    hides_a_route,
    may_send_as,
    resolve_recipient,
)


def account(
    name: str, *forward_to: str, domain: str = "local.test", copy: bool = True, enabled: bool = True
) -> Account:
    return Account(
        name,
        domain,
        is_enabled=enabled,
        forward_to=tuple(parse_mailbox(target) for target in forward_to),
        keeps_copy=copy,
    )


def directory(
    *accounts: Account, aliases: dict[str, list[str]] | None = None, postmaster: str | None = None
) -> Directory:
    """Two local domains, `alias.test` as another name of the first, one relay domain."""
    by_domain: dict[str, list[Alias]] = {}
    for name, targets in (aliases or {}).items():
        local_part, _, domain = name.rpartition("@")
        alias = Alias(local_part, domain, tuple(parse_mailbox(target) for target in targets))
        by_domain.setdefault(domain, []).append(alias)
    return Directory(
        local_domains=("local.test", "second.test", "xn--mnchen-3ya.test"),
        relay_domains=frozenset(("relay.test",)),
        domain_aliases={"alias.test": "local.test"},
        accounts={one.login: one for one in accounts},
        aliases={domain: tuple(found) for domain, found in by_domain.items()},
        postmaster=parse_mailbox(postmaster) if postmaster else None,
    )


def resolve(tested: Directory, address: str) -> Resolution:
    mailbox = parse_mailbox(address) if "@" in address else Mailbox(address, "")
    return resolve_recipient(tested, mailbox)


def to(*addresses: str) -> Resolved:
    return Resolved(tuple(parse_mailbox(address) for address in addresses))


ANNA, BOB, CARL = account("anna"), account("bob"), account("carl")


@pytest.mark.parametrize(
    ("domain", "kind"),
    [
        ("local.test", DomainKind.LOCAL),
        ("second.test", DomainKind.LOCAL),
        ("alias.test", DomainKind.LOCAL),
        ("xn--mnchen-3ya.test", DomainKind.LOCAL),
        ("relay.test", DomainKind.RELAY),
        ("far.test", DomainKind.FOREIGN),
        ("sub.local.test", DomainKind.FOREIGN),
        ("sub.relay.test", DomainKind.FOREIGN),
        ("test", DomainKind.FOREIGN),
        ("[192.0.2.1]", DomainKind.FOREIGN),
        ("", DomainKind.FOREIGN),
    ],
)
def test_a_domain_is(domain: str, kind: DomainKind) -> None:
    assert classify_domain(directory(), domain) is kind


def test_the_two_forms_of_a_local_domain_are_one() -> None:
    tested = directory(account("anna", domain="xn--mnchen-3ya.test"))
    expected = Resolved((Mailbox("anna", "xn--mnchen-3ya.test"),))
    assert resolve(tested, "anna@München.test") == resolve(tested, "anna@xn--mnchen-3ya.test") == expected


class TestAccounts:
    TESTED = directory(ANNA, account("anna", domain="second.test"), account("müller"), account("a b"))

    @pytest.mark.parametrize(
        "address", ["anna@local.test", "ANNA@Local.Test", '"Anna"@local.test', "anna@alias.test"]
    )
    def test_are_found_case_blind_and_by_every_name_of_the_domain(self, address: str) -> None:
        assert resolve(self.TESTED, address) == to("anna@local.test")

    def test_of_one_name_in_two_domains_are_two(self) -> None:
        assert resolve(self.TESTED, "anna@second.test") == to("anna@second.test")

    @pytest.mark.parametrize("address", ["müller@local.test", "MÜLLER@local.test", "mu\u0308ller@local.test"])
    def test_may_have_names_beyond_ascii(self, address: str) -> None:
        assert resolve(self.TESTED, address) == to("müller@local.test")

    def test_may_have_names_that_need_quotes(self) -> None:
        assert resolve(self.TESTED, '"A B"@local.test') == to('"a b"@local.test')

    @pytest.mark.parametrize(
        "address", ["ann@local.test", "annas@local.test", '""@local.test', "bob@second.test"]
    )
    def test_are_not_found_by_another_name(self, address: str) -> None:
        assert resolve(self.TESTED, address) == UnknownRecipient()

    @pytest.mark.parametrize(
        "address", ['"anna@far.test"@local.test', "anna%far.test@local.test", "far.test!anna@local.test"]
    )
    def test_are_not_found_by_relay_tricks(self, address: str) -> None:
        assert resolve(self.TESTED, address) == UnknownRecipient()

    def test_that_are_disabled_say_so(self) -> None:
        tested = directory(
            account("anna", "bob@local.test", enabled=False),
            BOB,
            aliases={"*@local.test": ["bob@local.test"]},
        )
        assert resolve(tested, "anna@local.test") == DisabledMailbox()
        assert resolve(tested, "anna+tag@local.test") == DisabledMailbox()


def test_an_address_elsewhere_stays_what_it_is() -> None:
    assert resolve(directory(ANNA), "Anna@far.test") == to("Anna@far.test")


class TestSubAddressing:
    TESTED = directory(
        ANNA,
        account("bob+real"),
        BOB,
        aliases={"info@local.test": ["anna@local.test"], "*@local.test": ["bob@local.test"]},
    )

    @pytest.mark.parametrize(
        ("address", "target"),
        [
            ("anna+tag@local.test", "anna@local.test"),
            ("Anna+Tag+More@alias.test", "anna@local.test"),
            ("anna+@local.test", "anna@local.test"),
            ("info+x@local.test", "anna@local.test"),
            ("bob+real@local.test", "bob+real@local.test"),
            ("bob+else@local.test", "bob@local.test"),
        ],
    )
    def test_finds_the_account_or_alias_without_the_tag(self, address: str, target: str) -> None:
        assert resolve(self.TESTED, address) == to(target)

    def test_needs_a_name_before_the_tag(self) -> None:
        assert resolve(directory(ANNA, account("")), "+anna@local.test") == UnknownRecipient()

    def test_comes_before_patterns(self) -> None:
        tested = directory(ANNA, BOB, aliases={"anna+*@local.test": ["bob@local.test"]})
        assert resolve(tested, "anna+x@local.test") == to("anna@local.test")


class TestAliases:
    def test_go_to_all_their_targets_in_order(self) -> None:
        tested = directory(
            ANNA, BOB, aliases={"team@local.test": ["bob@local.test", "x@far.test", "anna@alias.test"]}
        )
        assert resolve(tested, "Team@Alias.test") == to("bob@local.test", "x@far.test", "anna@local.test")

    def test_may_name_other_aliases_and_relay_domains(self) -> None:
        aliases = {
            "all@local.test": ["team@local.test", "x@relay.test"],
            "team@local.test": ["anna@local.test"],
        }
        assert resolve(directory(ANNA, aliases=aliases), "all@local.test") == to(
            "x@relay.test", "anna@local.test"
        ) or (
            resolve(directory(ANNA, aliases=aliases), "all@local.test")
            == to("anna@local.test", "x@relay.test")
        )

    def test_of_the_name_of_an_account_do_not_count(self) -> None:
        tested = directory(ANNA, BOB, aliases={"anna@local.test": ["bob@local.test"]})
        assert resolve(tested, "anna@local.test") == to("anna@local.test")

    def test_keep_the_local_part_of_a_foreign_target_exact(self) -> None:
        tested = directory(aliases={"x@local.test": ["CaseKept+Tag@far.test"]})
        assert resolve(tested, "x@local.test") == to("CaseKept+Tag@far.test")

    def test_deliver_to_nobody_twice(self) -> None:
        aliases = {
            "all@local.test": ["left@local.test", "right@local.test", "ANNA@local.test", "x@far.test"],
            "left@local.test": ["anna+l@local.test", "low@local.test"],
            "right@local.test": ["low@local.test", "x@far.test"],
            "low@local.test": ["anna@alias.test", "bob@local.test"],
        }
        found = resolve(directory(ANNA, BOB, aliases=aliases), "all@local.test")
        assert isinstance(found, Resolved)
        assert sorted(str(target) for target in found.targets) == [
            "anna@local.test",
            "bob@local.test",
            "x@far.test",
        ]

    def test_pass_over_unknown_and_disabled_targets_while_another_remains(self) -> None:
        aliases = {"team@local.test": ["gone@local.test", "carl@local.test", "anna@local.test"]}
        tested = directory(ANNA, account("carl", enabled=False), aliases=aliases)
        assert resolve(tested, "team@local.test") == to("anna@local.test")

    def test_with_no_target_left_are_unknown(self) -> None:
        aliases = {"team@local.test": ["gone@local.test", "away@second.test"], "none@local.test": []}
        assert resolve(directory(aliases=aliases), "team@local.test") == UnknownRecipient()
        assert resolve(directory(aliases=aliases), "none@local.test") == UnknownRecipient()

    def test_with_only_disabled_targets_are_disabled(self) -> None:
        aliases = {"team@local.test": ["gone@local.test", "carl@local.test"]}
        tested = directory(account("carl", enabled=False), aliases=aliases)
        assert resolve(tested, "team@local.test") == DisabledMailbox()


class TestPatterns:
    @pytest.mark.parametrize(
        ("pattern", "fitting", "others"),
        [
            ("sales*", ["sales", "sales-eu", "SALES.1"], ["sale", "xsales"]),
            ("*-list", ["a-list", "-list", "a-list-list"], ["list", "a-list2"]),
            ("a*b*c", ["abc", "aXbYc", "abbcc"], ["ab", "acb", "abcd", "bac"]),
            ("a**z", ["az", "abz"], ["a", "za"]),
            ("x?z", ["xyz", "x.z"], ["xz", "xyyz"]),
            ("??", ["ab"], ["a", "abc"]),
            ("a?*", ["ab", "abc"], ["a"]),
            ("*a*", ["a", "banana"], ["b"]),
            ("*ab", ["ab", "aab", "abab"], ["aba"]),
            ("[a]*", ["[a]b"], ["ab", "a"]),
            ("a.b*", ["a.b"], ["axb"]),
            ("ü*", ["über", "Über"], ["uber"]),
        ],
    )
    def test_fit(self, pattern: str, fitting: list[str], others: list[str]) -> None:
        tested = directory(ANNA, aliases={f"{pattern}@local.test": ["anna@local.test"]})
        for local_part in fitting:
            assert resolve_recipient(tested, Mailbox(local_part, "local.test")) == to("anna@local.test"), (
                local_part
            )
        for local_part in others:
            assert resolve_recipient(tested, Mailbox(local_part, "local.test")) == UnknownRecipient(), (
                local_part
            )

    def test_are_tried_in_the_order_of_their_making(self) -> None:
        aliases = {"s*@local.test": ["anna@local.test"], "sales*@local.test": ["bob@local.test"]}
        assert resolve(directory(ANNA, BOB, aliases=aliases), "sales1@local.test") == to("anna@local.test")

    def test_come_after_exact_aliases(self) -> None:
        aliases = {"s*@local.test": ["anna@local.test"], "sales@local.test": ["bob@local.test"]}
        assert resolve(directory(ANNA, BOB, aliases=aliases), "sales@local.test") == to("bob@local.test")

    def test_belong_to_one_domain(self) -> None:
        tested = directory(ANNA, aliases={"*@local.test": ["anna@local.test"]})
        assert resolve(tested, "x@second.test") == UnknownRecipient()
        assert resolve(tested, "x@alias.test") == to("anna@local.test")

    def test_catch_all_is_used_only_when_nothing_else_fits(self) -> None:
        aliases = {"*@local.test": ["carl@local.test"], "s*@local.test": ["bob@local.test"]}
        tested = directory(ANNA, BOB, CARL, aliases=aliases)
        assert resolve(tested, "anna@local.test") == to("anna@local.test")
        assert resolve(tested, "sales@local.test") == to("bob@local.test")
        assert resolve(tested, "nobody@local.test") == to("carl@local.test")

    def test_with_many_stars_are_still_fast(self) -> None:
        tested = directory(ANNA, aliases={"*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b@local.test": ["anna@local.test"]})
        assert resolve_recipient(tested, Mailbox("a" * 64, "local.test")) == UnknownRecipient()


class TestLoops:
    def test_of_two_aliases_are_named(self) -> None:
        aliases = {"a@local.test": ["b@local.test"], "b@local.test": ["A@alias.test"]}
        assert resolve(directory(aliases=aliases), "a@local.test") == AliasLoop(
            ("a@local.test", "b@local.test", "a@local.test")
        )

    def test_of_an_alias_and_itself_are_named(self) -> None:
        tested = directory(aliases={"a@local.test": ["a+x@local.test"]})
        assert resolve(tested, "a@local.test") == AliasLoop(("a@local.test", "a@local.test"))

    def test_are_named_without_the_way_into_them(self) -> None:
        aliases = {
            "in@local.test": ["a@local.test"],
            "a@local.test": ["b@local.test"],
            "b@local.test": ["a@local.test"],
        }
        assert resolve(directory(aliases=aliases), "in@local.test") == AliasLoop(
            ("a@local.test", "b@local.test", "a@local.test")
        )

    def test_refuse_the_address_even_if_somebody_else_would_get_the_mail(self) -> None:
        aliases = {"a@local.test": ["anna@local.test", "b@local.test"], "b@local.test": ["a@local.test"]}
        assert isinstance(resolve(directory(ANNA, aliases=aliases), "a@local.test"), AliasLoop)

    def test_of_a_catch_all_and_an_unknown_target_are_named(self) -> None:
        tested = directory(aliases={"*@local.test": ["gone@local.test"]})
        assert resolve(tested, "x@local.test") == AliasLoop(("*@local.test", "*@local.test"))

    def test_elsewhere_do_no_harm(self) -> None:
        aliases = {"a@local.test": ["a@local.test"], "b@local.test": ["anna@local.test"]}
        assert resolve(directory(ANNA, aliases=aliases), "b@local.test") == to("anna@local.test")

    def test_do_not_hide_behind_an_account_that_keeps_a_copy(self) -> None:
        # v -> k and w; k keeps a copy and forwards to u; w -> u; u -> v: v, w, u is a circle of aliases.
        aliases = {
            "v@local.test": ["k@local.test", "w@local.test"],
            "w@local.test": ["u@local.test"],
            "u@local.test": ["v@local.test"],
        }
        tested = directory(account("k", "u@local.test"), aliases=aliases)
        assert resolve(tested, "v@local.test") == AliasLoop(
            ("v@local.test", "w@local.test", "u@local.test", "v@local.test")
        )

    def test_the_first_of_several_is_named(self) -> None:
        aliases = {"a@local.test": ["a@local.test", "b@local.test"], "b@local.test": ["b@local.test"]}
        assert resolve(directory(aliases=aliases), "a@local.test") == AliasLoop(
            ("a@local.test", "a@local.test")
        )

    def test_a_long_chain_is_none(self) -> None:
        aliases = {f"a{number}@local.test": [f"a{number + 1}@local.test"] for number in range(3000)}
        tested = directory(account("a3000"), aliases=aliases)
        assert resolve(tested, "a0@local.test") == to("a3000@local.test")

    def test_a_thousandfold_diamond_ends(self) -> None:
        aliases = {f"a{number}@local.test": [f"a{number + 1}@local.test"] * 3 for number in range(1000)}
        tested = directory(account("a1000"), aliases=aliases)
        assert resolve(tested, "a0@local.test") == to("a1000@local.test")


class TestForwarding:
    def test_with_a_copy_goes_to_both(self) -> None:
        tested = directory(account("anna", "bob@local.test", "x@far.test"), BOB)
        assert resolve(tested, "anna@local.test") == to("anna@local.test", "bob@local.test", "x@far.test")

    def test_without_a_copy_goes_to_the_others_only(self) -> None:
        tested = directory(account("anna", "bob@local.test", "x@far.test", copy=False), BOB)
        assert resolve(tested, "anna@local.test") == to("bob@local.test", "x@far.test")

    def test_without_a_target_keeps_the_mail(self) -> None:
        assert resolve(directory(account("anna", copy=False)), "anna@local.test") == to("anna@local.test")

    def test_goes_on_through_accounts_and_aliases(self) -> None:
        tested = directory(
            account("anna", "team@local.test", copy=False),
            account("bob", "carl@local.test"),
            CARL,
            aliases={"team@local.test": ["bob@local.test"]},
        )
        assert resolve(tested, "anna@local.test") == to("bob@local.test", "carl@local.test")

    def test_in_a_circle_with_copies_delivers_once_to_each(self) -> None:
        tested = directory(account("anna", "bob@local.test"), account("bob", "anna@local.test"))
        assert resolve(tested, "anna@local.test") == to("anna@local.test", "bob@local.test")

    def test_in_a_circle_with_one_copy_ends_there(self) -> None:
        tested = directory(account("anna", "bob@local.test", copy=False), account("bob", "anna@local.test"))
        assert resolve(tested, "anna@local.test") == to("bob@local.test")

    def test_to_oneself_by_tag_with_a_copy_delivers_once(self) -> None:
        assert resolve(directory(account("anna", "anna+x@local.test")), "anna@local.test") == to(
            "anna@local.test"
        )

    def test_to_oneself_by_tag_without_a_copy_is_a_loop(self) -> None:
        tested = directory(account("anna", "anna+x@local.test", copy=False))
        assert resolve(tested, "anna@local.test") == AliasLoop(("anna@local.test", "anna@local.test"))

    def test_in_a_circle_without_any_copy_is_a_loop(self) -> None:
        tested = directory(
            account("anna", "bob@local.test", copy=False), account("bob", "anna@local.test", copy=False)
        )
        assert resolve(tested, "bob@local.test") == AliasLoop(
            ("bob@local.test", "anna@local.test", "bob@local.test")
        )

    def test_from_an_alias_member_back_to_the_alias_ends_where_a_copy_is_kept(self) -> None:
        tested = directory(
            account("anna", "team@local.test"),
            BOB,
            aliases={"team@local.test": ["anna@local.test", "bob@local.test"]},
        )
        assert resolve(tested, "team@local.test") == to("anna@local.test", "bob@local.test")

    def test_to_an_unknown_or_disabled_account_leaves_the_copy(self) -> None:
        tested = directory(
            account("anna", "gone@local.test", "carl@local.test"), account("carl", enabled=False)
        )
        assert resolve(tested, "anna@local.test") == to("anna@local.test")

    def test_without_a_copy_to_a_disabled_account_is_refused(self) -> None:
        tested = directory(account("anna", "carl@local.test", copy=False), account("carl", enabled=False))
        assert resolve(tested, "anna@local.test") == DisabledMailbox()


class TestAnAliasThatCannotBeUsed:
    BROKEN = Alias("staff", "", (Mailbox("anna", "local.test"),), "/x cannot be read")

    def resolve(self, tested: Directory, address: str) -> Resolution:
        return resolve(attrs.evolve(tested, file_aliases=(self.BROKEN,)), address)

    def test_makes_its_mail_wait(self) -> None:
        tested = directory(account("anna"))
        assert self.resolve(tested, "staff@local.test") == UnusableAlias(
            "staff@local.test", "/x cannot be read"
        )
        assert self.resolve(tested, "Staff+news@alias.test") == UnusableAlias(
            "staff@local.test", "/x cannot be read"
        )
        assert self.resolve(tested, "anna@local.test") == Resolved((Mailbox("anna", "local.test"),))

    def test_makes_all_wait_that_lead_to_it_however_else_they_would_end(self) -> None:
        anna = account("anna", "staff@local.test")
        aliases = {
            "all@local.test": ["dora@local.test", "team@local.test"],
            "team@local.test": ["x@far.test", "staff@local.test"],
            "round@local.test": ["round@local.test", "staff@local.test"],
            "lost@local.test": ["nobody@local.test", "staff@second.test"],
        }
        tested = directory(anna, account("dora", enabled=False), aliases=aliases)
        for name in ("all", "team", "round", "lost", "anna"):
            assert isinstance(self.resolve(tested, f"{name}@local.test"), UnusableAlias)

    def test_has_no_effect_behind_an_account_or_an_older_alias(self) -> None:
        one = directory(account("staff"))
        other = directory(account("anna"), aliases={"staff@local.test": ["anna@local.test"]})
        assert isinstance(self.resolve(one, "staff@local.test"), Resolved)
        assert isinstance(self.resolve(other, "staff@local.test"), Resolved)

    def test_leaves_the_postmaster_to_the_one_who_stands_in(self) -> None:
        tested = directory(account("anna"), aliases={"postmaster@local.test": ["staff@local.test"]})
        assert self.resolve(tested, "postmaster@local.test") == Resolved((Mailbox("anna", "local.test"),))

    def test_may_be_the_sender_of_those_who_are_known_to_stand_behind_it(self) -> None:
        tested = attrs.evolve(directory(account("anna")), file_aliases=(self.BROKEN,))
        assert may_send_as(tested, tested.accounts["anna@local.test"], Mailbox("staff", "local.test"))


@pytest.mark.parametrize(
    "role", ["postmaster@local.test", "Abuse@alias.test", "POSTMASTER@second.test", "Postmaster"]
)
class TestPostmasterAndAbuse:
    def test_are_the_postmaster_of_the_server(self, role: str) -> None:
        assert resolve(directory(ANNA, BOB, postmaster="bob@local.test"), role) == to("bob@local.test")

    def test_may_be_elsewhere(self, role: str) -> None:
        assert resolve(directory(ANNA, postmaster="Ops@far.test"), role) == to("Ops@far.test")

    def test_are_else_the_first_account_that_is_enabled(self, role: str) -> None:
        assert resolve(directory(account("zoe", enabled=False), BOB, ANNA), role) == to("bob@local.test")

    def test_are_nobody_before_there_is_an_account(self, role: str) -> None:
        assert resolve(directory(), role) == NoPostmaster()
        assert resolve(directory(account("anna", enabled=False)), role) == NoPostmaster()

    def test_come_before_the_catch_all(self, role: str) -> None:
        aliases = {f"*@{domain}": ["bob@local.test"] for domain in ("local.test", "second.test")}
        assert resolve(directory(ANNA, BOB, aliases=aliases), role) == to("anna@local.test")

    def test_fall_back_to_the_first_account_if_the_postmaster_is_unknown(self, role: str) -> None:
        assert resolve(directory(ANNA, postmaster="gone@local.test"), role) == to("anna@local.test")

    def test_fall_back_if_the_postmaster_names_itself(self, role: str) -> None:
        assert resolve(directory(ANNA, postmaster="postmaster@local.test"), role) == to("anna@local.test")

    def test_skip_an_account_that_leads_nowhere(self, role: str) -> None:
        tested = directory(account("anna", "gone@local.test", copy=False), BOB)
        assert resolve(tested, role) == to("bob@local.test")


class TestOwnPostmasterOfADomain:
    def test_may_be_an_account(self) -> None:
        tested = directory(ANNA, account("postmaster"), postmaster="anna@local.test")
        assert resolve(tested, "Postmaster@local.test") == to("postmaster@local.test")
        assert resolve_recipient(tested, Mailbox("POSTMASTER", "")) == to("postmaster@local.test")
        assert resolve(tested, "postmaster@second.test") == to("anna@local.test")

    def test_may_be_an_alias(self) -> None:
        tested = directory(ANNA, BOB, aliases={"abuse@local.test": ["bob@local.test"]})
        assert resolve(tested, "abuse@local.test") == to("bob@local.test")

    def test_that_is_disabled_or_a_loop_is_replaced(self) -> None:
        tested = directory(
            account("postmaster", enabled=False), ANNA, aliases={"abuse@local.test": ["abuse@local.test"]}
        )
        assert resolve(tested, "postmaster@local.test") == to("anna@local.test")
        assert resolve(tested, "abuse@local.test") == to("anna@local.test")

    def test_may_be_the_target_of_an_alias(self) -> None:
        tested = directory(ANNA, aliases={"root@local.test": ["postmaster@local.test"]})
        assert resolve(tested, "root@local.test") == to("anna@local.test")

    def test_as_the_target_of_an_alias_waits_for_the_first_account(self) -> None:
        tested = directory(aliases={"root@local.test": ["postmaster@local.test"]})
        assert resolve(tested, "root@local.test") == NoPostmaster()

    def test_is_nobody_on_a_server_without_domains(self) -> None:
        assert resolve_recipient(Directory(()), Mailbox("postmaster", "")) == NoPostmaster()


class TestFindAccount:
    TESTED = directory(ANNA, account("bob", domain="second.test"), account("carl", enabled=False))

    @pytest.mark.parametrize(
        "login", ["anna", "Anna", "anna@local.test", "ANNA@LOCAL.TEST", "anna@alias.test"]
    )
    def test_takes_a_login_with_and_without_a_domain(self, login: str) -> None:
        assert find_account(self.TESTED, login) == ANNA

    def test_looks_for_a_bare_name_in_the_first_local_domain_only(self) -> None:
        assert find_account(self.TESTED, "bob") is None
        assert find_account(self.TESTED, "bob@second.test") is not None

    def test_gives_disabled_accounts_too(self) -> None:
        found = find_account(self.TESTED, "carl")
        assert found is not None
        assert not found.is_enabled

    @pytest.mark.parametrize(
        "login",
        [
            "",
            "@",
            "anna@",
            "@local.test",
            "anna@far.test",
            "anna@x..y",
            "anna+tag",
            "x\x00",
            "anna@local.test\n",
            "a@b@local.test",
        ],
    )
    def test_finds_nobody_else(self, login: str) -> None:
        assert find_account(self.TESTED, login) is None

    def test_finds_nobody_without_domains(self) -> None:
        assert find_account(Directory(()), "anna") is None


class TestSendingAs:
    TESTED = directory(
        ANNA,
        BOB,
        account("carl", "anna@local.test", copy=False),
        aliases={
            "info@local.test": ["anna@local.test", "bob@local.test"],
            "all@local.test": ["info@local.test", "x@far.test"],
            "loop@local.test": ["loop@local.test", "pool@local.test"],
            "pool@local.test": ["loop@local.test"],
            "s*@local.test": ["bob@local.test"],
        },
    )

    def may(self, sender: str, *extra_senders: str) -> bool:
        one = attrs.evolve(ANNA, extra_senders=extra_senders)
        return may_send_as(self.TESTED, one, parse_mailbox(sender))

    @pytest.mark.parametrize(
        "sender",
        [
            "anna@local.test",
            "ANNA@Local.test",
            "anna@alias.test",
            "anna+news@local.test",
            "info@local.test",
            "info+x@alias.test",
            "all@local.test",
            "postmaster@local.test",
        ],
    )
    def test_own_addresses_and_aliases_is_allowed(self, sender: str) -> None:
        assert self.may(sender)

    @pytest.mark.parametrize(
        "sender",
        [
            "bob@local.test",
            "carl@local.test",
            "sales@local.test",
            "nobody@local.test",
            "loop@local.test",
            "anna@second.test",
            "anna@far.test",
            "x@far.test",
        ],
    )
    def test_others_is_not(self, sender: str) -> None:
        assert not self.may(sender)

    def test_an_alias_by_pattern_is_allowed(self) -> None:
        assert may_send_as(self.TESTED, BOB, parse_mailbox("sales@local.test"))

    @pytest.mark.parametrize(
        ("extra", "sender"),
        [
            ("ann@far.test", "Ann@FAR.test"),
            ("@far.test", "anyone@far.test"),
            ("@München.test", "x@xn--mnchen-3ya.test"),
            ("@alias.test", "whoever@local.test"),
            ("bob@alias.test", "bob@local.test"),
        ],
    )
    def test_extra_senders_is_allowed(self, extra: str, sender: str) -> None:
        assert not self.may(sender)
        assert self.may(sender, "not an address", "@", "other@far.test", extra)

    @pytest.mark.parametrize("sender", ["x@sub.far.test", "x@far.test.evil", "ann+x@far.org"])
    def test_an_extra_domain_is_exact(self, sender: str) -> None:
        assert not self.may(sender, "@far.test")


@pytest.mark.parametrize("local_part", ["user%far.test", "far.test!user", "user@far.test", "a%b"])
def test_a_local_part_that_names_a_further_destination_hides_a_route(local_part: str) -> None:
    assert hides_a_route(Mailbox(local_part, "relay.test"))


def test_an_ordinary_local_part_hides_no_route() -> None:
    assert not hides_a_route(Mailbox("user+tag.x", "relay.test"))
