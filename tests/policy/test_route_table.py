import pytest

from kms.domain.address import Mailbox
from kms.domain.next_hop import NextHop
from kms.policy.route_table import ByMx, Refusal, RouteTable

HOP = NextHop("hop.test", (), 25)
BOSS = Mailbox("Boss", "corp.test")
CLERK = Mailbox("clerk", "corp.test")


def find(
    *lines: str, sender: Mailbox | None = BOSS, domain: str = "a.b.far.test", local: str = ""
) -> str | None:
    table = RouteTable({line: Refusal(line) for line in lines}, frozenset([local]))
    target = table.find(sender, domain)
    assert target is None or isinstance(target, Refusal)
    return None if target is None else target.text


ALL = ("*.test", "*.far.test", "*.b.far.test", "a.b.far.test", "@corp.test", "boss@corp.test")


@pytest.mark.parametrize("count", range(len(ALL)))
def test_the_most_exact_line_wins(count: int) -> None:
    assert find(*reversed(ALL[: count + 1])) == ALL[count]


def test_it_gives_back_with_any_such_line() -> None:
    assert RouteTable({"a.test": ByMx(), "b.test": Refusal("no")}).gives_back
    assert not RouteTable({"a.test": ByMx(), "b.test": HOP}).gives_back


def test_without_lines_there_is_no_other_way() -> None:
    assert RouteTable().find(BOSS, "far.test") is None


def test_a_line_for_another_says_nothing() -> None:
    assert find("b.far.test", "*.a.b.far.test", "clerk@corp.test", "@far.test") is None


def test_the_senders_name_is_compared_without_regard_to_case() -> None:
    assert find("boss@corp.test") == "boss@corp.test"
    assert find("boss@corp.test", sender=CLERK) is None


def test_the_null_reverse_path_has_no_line_of_its_own() -> None:
    assert find("@corp.test", "*.test", sender=None) == "*.test"


def test_an_address_literal_lies_below_nothing() -> None:
    assert find("*.1]", domain="[192.0.2.1]") is None


def test_a_local_domain_goes_elsewhere_only_by_a_line_for_itself() -> None:
    senders = ("boss@corp.test", "@corp.test", "*.test")
    assert find(*senders, domain="near.test", local="near.test") is None
    assert find(*senders, "near.test", domain="near.test", local="near.test") == "near.test"


def test_the_table_knows_whose_mailboxes_are_elsewhere() -> None:
    table = RouteTable({"near.test": HOP, "*.test": ByMx()}, frozenset({"near.test", "here.test"}))
    assert table.takes_over("near.test")
    assert not table.takes_over("here.test")
