import hashlib

import pytest

from kms.domain.dns_answer import TlsaRecord
from kms.policy.dane import choose_usable, is_match
from tests.support.authorities import make_root

ROOT = make_root()
CERTIFICATE, KEY = b"a whole certificate", b"its key"
SHA256, SHA512 = hashlib.sha256(KEY).digest(), hashlib.sha512(KEY).digest()


def test_only_dane_ta_and_dane_ee_count_for_mail() -> None:
    records = [TlsaRecord(usage, 1, 1, SHA256) for usage in (0, 1, 2, 3, 4, 255)]
    assert [record.usage for record in choose_usable(records)] == [2, 3]


def test_selectors_and_matching_types_that_nobody_knows_are_unusable() -> None:
    assert choose_usable([TlsaRecord(3, 2, 1, SHA256), TlsaRecord(3, 1, 3, SHA256)]) == ()


def test_a_digest_of_the_wrong_length_and_an_empty_record_are_unusable() -> None:
    wrong = [TlsaRecord(3, 1, 1, SHA512), TlsaRecord(3, 1, 2, SHA256), TlsaRecord(3, 1, 0, b"")]
    assert choose_usable(wrong) == ()


@pytest.mark.parametrize("usage", [2, 3])
def test_a_whole_certificate_and_a_whole_key_are_usable_each_with_its_own_selector(usage: int) -> None:
    certificate, key = TlsaRecord(usage, 0, 0, ROOT.der), TlsaRecord(usage, 1, 0, ROOT.public_key)
    assert choose_usable([certificate, key]) == (certificate, key)
    assert choose_usable([TlsaRecord(usage, 1, 0, ROOT.der), TlsaRecord(usage, 0, 0, ROOT.public_key)]) == ()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"no key", id="text"),
        pytest.param(ROOT.public_key[:-1], id="cut short"),
        pytest.param(ROOT.public_key[:1], id="a tag"),
        pytest.param(ROOT.public_key[:2], id="a tag and a length"),
        pytest.param(ROOT.public_key + b"\0", id="an octet more"),
        pytest.param(ROOT.public_key * 2, id="two keys"),
        pytest.param(b"\x31" + ROOT.public_key[1:], id="another tag"),
        pytest.param(b"\x30\xff" + bytes(200), id="a length without end"),
        pytest.param(b"\x30\x00", id="empty"),
        pytest.param(b"\x30\x02\x30\x00", id="no bits"),
        pytest.param(b"\x30\x03\x30\x00\x03", id="bits cut short"),
    ],
)
def test_one_that_should_have_a_key_whole_and_has_none_is_unusable(data: bytes) -> None:
    assert choose_usable([TlsaRecord(2, 1, 0, data)]) == ()


def test_of_two_kinds_of_digest_the_stronger_counts_and_what_stands_there_whole_counts_too() -> None:
    weak, strong, whole = (
        TlsaRecord(3, 1, 1, SHA256),
        TlsaRecord(3, 1, 2, SHA512),
        TlsaRecord(3, 1, 0, ROOT.public_key),
    )
    assert choose_usable([weak, strong, whole]) == (strong, whole)
    assert choose_usable([strong, weak]) == (strong,)


def test_digests_of_other_usages_and_selectors_do_not_outdo_each_other() -> None:
    records = (TlsaRecord(3, 1, 1, SHA256), TlsaRecord(2, 1, 2, SHA512), TlsaRecord(3, 0, 2, SHA512))
    assert choose_usable(records) == records


@pytest.mark.parametrize("usage", [2, 3])
@pytest.mark.parametrize(("selector", "octets"), [(0, CERTIFICATE), (1, KEY)])
def test_a_record_is_held_against_what_its_selector_and_matching_type_say(
    usage: int, selector: int, octets: bytes
) -> None:
    data = {0: octets, 1: hashlib.sha256(octets).digest(), 2: hashlib.sha512(octets).digest()}
    for matching, right in data.items():
        assert is_match(TlsaRecord(usage, selector, matching, right), CERTIFICATE, KEY)
        assert not is_match(TlsaRecord(usage, selector, matching, right[::-1]), CERTIFICATE, KEY)
        assert not is_match(TlsaRecord(usage, 1 - selector, matching, right), CERTIFICATE, KEY)
