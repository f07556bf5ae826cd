"""A null MX is seen wherever it stands."""

from __future__ import annotations

from kms.domain.dns_answer import MailExchanger, MailExchangers


def test_the_root_as_exchanger_is_a_null_mx() -> None:
    assert MailExchangers((MailExchanger(0, ""),)).is_null


def test_named_exchangers_are_none() -> None:
    assert not MailExchangers((MailExchanger(10, "a.test"), MailExchanger(20, "b.test"))).is_null
