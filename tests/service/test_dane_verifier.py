from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface.verify import verifyObject

from kms.domain.dns_answer import TlsaRecord
from kms.domain.next_hop import TlsPolicy
from kms.domain.published_tls import DaneDemand
from kms.service.dane_verifier import DaneVerifier
from kms.service.tls import ClientTls, ServerTls
from tests.support.authorities import Issued, make_root, make_self_signed

HOST = "mx.far.test"
NONE_FITS = "the certificate fits none of the server's TLSA records"
ROOT = make_root()


def ee(one: Issued) -> TlsaRecord:
    return TlsaRecord(3, 1, 1, hashlib.sha256(one.public_key).digest())


def ta(one: Issued) -> TlsaRecord:
    return TlsaRecord(2, 0, 1, hashlib.sha256(one.der).digest())


def judge(
    folder: Path,
    served: Issued,
    *records: TlsaRecord,
    with_root: bool = True,
    names: tuple[str, ...] = (HOST,),
) -> str:
    """Shake hands in memory, and judge the certificate."""
    server_tls = ServerTls.load(*served.write(folder, "server", with_root=with_root))
    verifier = ClientTls().creator_for(HOST, TlsPolicy.REQUIRE, DaneDemand(records, HOST, names))
    assert isinstance(verifier, DaneVerifier)
    nobody = cast(Any, None)
    server = server_tls.creator.serverConnectionForTLS(nobody)
    server.set_accept_state()
    client = verifier.clientConnectionForTLS(nobody)
    client.set_connect_state()
    for _ in range(10):
        for here, there in ((client, server), (server, client)):
            with suppress(SSL.WantReadError):
                here.do_handshake()
            with suppress(SSL.WantReadError):
                there.bio_write(here.bio_read(65536))
    assert server.get_servername() == HOST.encode()
    problem = verifier.judge(client)
    assert verifier.problems == ([problem] if problem else [])
    return problem


def test_it_is_what_twisted_wants() -> None:
    verifier = ClientTls().creator_for(HOST, TlsPolicy.REQUIRE, DaneDemand((ta(ROOT),), HOST, (HOST,)))
    assert verifyObject(IOpenSSLClientConnectionCreator, verifier)


def test_a_certificate_that_an_ee_record_describes_may_be_of_anybody_for_any_name_and_have_ended(
    tmp_path: Path,
) -> None:
    served = make_self_signed("other.test", ended=True)
    whole = TlsaRecord(3, 0, 2, hashlib.sha512(served.der).digest())
    for record in (
        ee(served),
        whole,
        TlsaRecord(3, 0, 0, served.der),
        TlsaRecord(3, 1, 0, served.public_key),
    ):
        assert judge(tmp_path, served, record) == ""
        assert judge(tmp_path, served, ee(ROOT), record) == ""


def test_another_certificate_is_refused_however_good_it_is(tmp_path: Path) -> None:
    assert judge(tmp_path, ROOT.issue(HOST), ee(ROOT.issue(HOST))) == NONE_FITS


def test_an_ee_record_of_the_issuer_is_of_no_use(tmp_path: Path) -> None:
    assert judge(tmp_path, ROOT.issue(HOST), ee(ROOT)) == NONE_FITS


def test_a_chain_to_the_certificate_of_a_ta_record_is_good(tmp_path: Path) -> None:
    middle = ROOT.issue("Middle CA", is_authority=True)
    served = middle.issue(HOST)
    for record in (ta(ROOT), ta(middle), TlsaRecord(2, 1, 2, hashlib.sha512(middle.public_key).digest())):
        assert judge(tmp_path, served, record) == ""
    assert judge(tmp_path, served, ta(middle), with_root=False) == ""


def test_the_certificate_of_a_ta_record_must_be_sent_or_stand_there_whole(tmp_path: Path) -> None:
    served = ROOT.issue(HOST)
    assert judge(tmp_path, served, ta(ROOT), with_root=False) == NONE_FITS
    assert judge(tmp_path, served, TlsaRecord(2, 0, 0, ROOT.der), with_root=False) == ""
    assert judge(tmp_path, served, TlsaRecord(2, 0, 0, b"no certificate"), with_root=False) == NONE_FITS


def test_the_certificate_of_a_ta_record_with_a_whole_key_must_be_sent(tmp_path: Path) -> None:
    """RFC 7671 5.2.3: servers with such records must send it."""
    served, bare_key = ROOT.issue(HOST), TlsaRecord(2, 1, 0, ROOT.public_key)
    assert judge(tmp_path, served, bare_key) == ""
    assert judge(tmp_path, served, bare_key, with_root=False) == NONE_FITS


def test_the_name_counts_with_a_ta_record(tmp_path: Path) -> None:
    served = ROOT.issue("far.test")
    assert judge(tmp_path, served, ta(ROOT)) == "the certificate is not for mx.far.test"
    assert judge(tmp_path, served, ta(ROOT), names=(HOST, "far.test")) == ""
    assert judge(tmp_path, ROOT.issue("*.far.test"), ta(ROOT)) == ""


def test_the_dates_count_with_a_ta_record(tmp_path: Path) -> None:
    problem = judge(tmp_path, ROOT.issue(HOST, ended=True), ta(ROOT))
    assert "certificate has expired" in problem


def test_a_certificate_that_the_authority_has_not_signed_is_refused_though_it_is_sent(tmp_path: Path) -> None:
    """Whoever is in the middle can send the authority's certificate too; he cannot sign with its key."""
    forged = make_root().issue(HOST)
    forged_with_root = Issued(forged.certificate, forged.key, ROOT)
    assert "wrong" in judge(tmp_path, forged_with_root, ta(ROOT))


def test_another_authority_is_not_trusted_though_the_right_one_is_sent_beside_it(tmp_path: Path) -> None:
    other = make_root("Another CA")
    forged = other.issue(HOST)
    chain = Issued(forged.certificate, forged.key, Issued(other.certificate, other.key, ROOT))
    assert "wrong" in judge(tmp_path, chain, ta(ROOT))


def test_a_ta_record_of_the_servers_own_certificate_is_of_no_use(tmp_path: Path) -> None:
    """As in OpenSSL: an authority stands above the certificate."""
    for served in (ROOT.issue(HOST), make_self_signed(HOST)):
        assert judge(tmp_path, served, ta(served)) == NONE_FITS


@pytest.mark.parametrize("usage", [0, 1])
def test_records_of_other_usages_fit_nothing(tmp_path: Path, usage: int) -> None:
    served = ROOT.issue(HOST)
    assert judge(tmp_path, served, TlsaRecord(usage, 0, 0, served.der)) == NONE_FITS


def test_a_connection_without_a_certificate_is_refused() -> None:
    class Bare:
        def get_peer_cert_chain(self) -> None:
            return None

    verifier = DaneVerifier(cast(Any, None), DaneDemand((ee(ROOT),), HOST, (HOST,)))
    assert verifier.judge(cast(Any, Bare())) == NONE_FITS
