from kms.domain.login import ApopDigest, CramDigest


def test_the_example_of_rfc_2195() -> None:
    challenge = b"<1896.697170952@postoffice.reston.mci.net>"
    digest = CramDigest(challenge, "b913a602c7eda7a495b4e6e7334d3890")
    assert digest.fits("tanstaaftanstaaf")
    assert not digest.fits("tanstaaf")
    assert "b913" not in repr(digest)


def test_the_example_of_rfc_1939() -> None:
    digest = ApopDigest(b"<1896.697170952@dbc.mtview.ca.us>", "c4c9334bac560ecc979e58001b3e22fb")
    assert digest.fits("tanstaaf")
    assert not digest.fits("")
    assert "c4c9" not in repr(digest)
