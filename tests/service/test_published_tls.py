"""RemoteDelivery under what the receiving side publishes: MTA-STS and DANE."""

from __future__ import annotations

import attrs

from kms.domain import reply as replies
from kms.domain.dns_answer import Addresses, LookupFailed, TlsaAnswer, TlsaRecord, TlsaRecords
from kms.domain.next_hop import NextHop, TlsPolicy
from kms.domain.outcome import Deferred, Delivered
from kms.domain.published_tls import PublishedTls, StsMode
from tests.support.log_events import logged
from tests.support.remote_deliveries import HOP, TLS, A, B, RemoteDeliveryCase

OTHER = NextHop("mx2.test", (B,), 25)
RECORD = TlsaRecord(3, 1, 1, bytes(32))
FITS_NONE = "the certificate fits none"


def under_sts(mode: StsMode = StsMode.ENFORCE, hop: NextHop = HOP, *, is_listed: bool = True) -> NextHop:
    return attrs.evolve(hop, published=PublishedTls("far.test", False, mode, is_listed))


class TestMtaSts(RemoteDeliveryCase):
    def test_demands_a_verified_certificate_for_the_host_and_is_told_in_the_log(self) -> None:
        self.serve(extensions=TLS)
        outcome = self.send(under_sts())
        assert isinstance(outcome, Delivered)
        assert outcome.tls == "TLSv1.3 TEST, MTA-STS"
        assert self.tls.asked == [("mx.test", TlsPolicy.VERIFY)]

    def test_defers_where_tls_is_not_offered(self) -> None:
        server = self.serve()
        outcome = self.send(under_sts())
        assert isinstance(outcome, Deferred)
        assert str(outcome.reply) == "454 4.7.4 TLS is required, and not offered (MTA-STS)"
        assert server.commands == ["EHLO kms.test", "QUIT"]

    def test_defers_where_the_certificate_is_wrong(self) -> None:
        for way in ("fails", "refused certificate"):
            self.tls.problems = ["the certificate has expired"]
            server = self.serve(extensions=TLS, tls=way)
            outcome = self.send(under_sts())
            assert isinstance(outcome, Deferred)
            assert str(outcome.reply) == (
                "454 4.7.5 TLS with the server failed: the certificate has expired (MTA-STS)"
            )
            assert server.commands == ["EHLO kms.test", "STARTTLS"]

    def test_lets_no_mail_to_a_host_that_it_does_not_name(self) -> None:
        outcome = self.send(under_sts(is_listed=False))
        assert outcome == Deferred(replies.NOT_IN_STS_POLICY, "mx.test")
        assert self.network.dialled == []

    def test_lets_mail_to_the_next_host_that_it_names(self) -> None:
        self.serve(B, extensions=TLS)
        outcome = self.send(under_sts(is_listed=False), under_sts(hop=OTHER))
        assert isinstance(outcome, Delivered)
        assert [address for address, _ in self.network.dialled] == [B]

    def test_does_not_use_a_connection_that_was_not_verified(self) -> None:
        self.serve(extensions=TLS)
        self.send()
        self.serve(extensions=TLS)
        assert self.send(under_sts()).tls == "TLSv1.3 TEST, MTA-STS"
        assert len(self.network.dialled) == 2

    def test_in_testing_only_says_what_it_would_have_deferred(self) -> None:
        with logged("kms.delivery") as texts:
            self.serve()
            assert isinstance(self.send(under_sts(StsMode.TESTING)), Delivered)
        assert texts == ["mx.test: MTA-STS, which is in testing, would have deferred: no TLS"]

    def test_in_testing_says_nothing_where_all_is_right(self) -> None:
        with logged("kms.delivery") as texts:
            self.serve(extensions=TLS)
            assert self.send(under_sts(StsMode.TESTING)).tls == "TLSv1.3 TEST, MTA-STS testing"
        assert texts == []


class TestDane(RemoteDeliveryCase):
    HOP = attrs.evolve(HOP, published=PublishedTls("far.test", may_have_dane=True))

    def publish(self, answer: TlsaAnswer, *, is_secure: bool = True) -> None:
        self.resolver.answers["mx.test"] = Addresses((A,), is_secure)
        self.resolver.tlsa["mx.test"] = answer

    def test_holds_the_certificate_against_the_records_and_is_told_in_the_log(self) -> None:
        self.publish(TlsaRecords((RECORD,), is_secure=True))
        self.serve(extensions=TLS)
        assert self.send(self.HOP).tls == "TLSv1.3 TEST, DANE"
        assert self.tls.pinned[0].records == (RECORD,)
        assert self.tls.pinned[0].names == ("mx.test", "far.test")

    def test_defers_where_the_certificate_fits_no_record_and_says_nothing_after_the_handshake(self) -> None:
        self.publish(TlsaRecords((RECORD,), is_secure=True))
        self.tls.refusal = FITS_NONE
        server = self.serve(extensions=TLS)
        outcome = self.send(self.HOP)
        assert isinstance(outcome, Deferred)
        assert str(outcome.reply) == f"454 4.7.5 TLS with the server failed: {FITS_NONE} (DANE)"
        assert server.commands == ["EHLO kms.test", "STARTTLS"]
        assert self.network.links[0].transport.is_aborted
        assert len(self.network.dialled) == 1

    def test_is_held_against_tls_from_the_first_octet_too(self) -> None:
        self.publish(TlsaRecords((RECORD,), is_secure=True))
        self.tls.refusal = FITS_NONE
        server = self.serve(extensions=TLS)
        outcome = self.send(attrs.evolve(self.HOP, is_tls_at_once=True))
        assert isinstance(outcome, Deferred)
        assert FITS_NONE in outcome.reply.text
        assert server.commands == []

    def test_goes_on_with_the_next_host(self) -> None:
        self.publish(TlsaRecords((RECORD,), is_secure=True))
        self.tls.refusal = FITS_NONE
        self.serve(extensions=TLS)
        self.serve(B, extensions=TLS)
        assert self.send(self.HOP, OTHER).where == "mx2.test[2001:db8::2]:25"

    def test_defers_where_tls_is_not_offered(self) -> None:
        self.publish(TlsaRecords((RECORD,), is_secure=True))
        server = self.serve()
        assert str(self.send(self.HOP).reply) == "454 4.7.4 TLS is required, and not offered (DANE)"
        assert server.commands == ["EHLO kms.test", "QUIT"]

    def test_without_usable_records_demands_tls_with_any_certificate(self) -> None:
        self.publish(TlsaRecords((attrs.evolve(RECORD, usage=1),), is_secure=True))
        self.tls.problems = ["self-signed"]
        self.serve(extensions=TLS)
        assert self.send(self.HOP).tls == (
            "TLSv1.3 TEST, certificate not verified, DANE without usable records"
        )
        assert self.tls.asked == [("mx.test", TlsPolicy.REQUIRE)]

    def test_defers_where_the_records_cannot_be_known_and_does_not_connect(self) -> None:
        self.publish(LookupFailed("bogus"))
        assert self.send(self.HOP) == Deferred(replies.TLSA_LOOKUP_FAILED, "mx.test")
        assert self.network.dialled == []

    def test_does_not_apply_without_proof(self) -> None:
        self.publish(TlsaRecords((RECORD,), is_secure=True), is_secure=False)
        self.serve()
        assert isinstance(self.send(self.HOP), Delivered)

    def test_other_records_are_other_connections(self) -> None:
        for digest in (bytes(32), bytes(31) + b"x"):
            self.publish(TlsaRecords((attrs.evolve(RECORD, data=digest),), is_secure=True))
            self.serve(extensions=TLS)
            assert isinstance(self.send(self.HOP), Delivered)
        assert len(self.network.dialled) == 2
