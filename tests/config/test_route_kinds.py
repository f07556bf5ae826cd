import pytest

from kms.config.problems import ValueFault
from kms.config.route_kinds import parse_route_key, parse_route_target
from kms.domain.next_hop import NextHop
from kms.policy.route_table import ByMx, Refusal, RouteTarget


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Boss@Example.NET", "boss@example.net"),
        ("@Example.NET", "@example.net"),
        ("example.net", "example.net"),
        ("*.Example.NET", "*.example.net"),
        ("bücher.example", "xn--bcher-kva.example"),
    ],
)
def test_a_line_is_for_a_sender_its_domain_a_domain_or_what_lies_below_one(text: str, key: str) -> None:
    assert parse_route_key(text) == key


@pytest.mark.parametrize("text", ["@", "*.", "*", "a b@c.test", "a@", "[192.0.2.1]", "-"])
def test_anything_else_is_for_nobody(text: str) -> None:
    with pytest.raises(ValueFault):
        parse_route_key(text)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("mx", ByMx()),
        ("error: No mail for them", Refusal("No mail for them")),
        ("smtp:mail.example", NextHop("mail.example", (), 25)),
        ("smtp:mail.example:2525", NextHop("mail.example", (), 2525)),
        ("smtp:[2001:db8::1]:25", NextHop("2001:db8::1", ("2001:db8::1",), 25)),
        ("smtp:192.0.2.1:465", NextHop("192.0.2.1", ("192.0.2.1",), 465, is_tls_at_once=True)),
        ("lmtp:127.0.0.1", NextHop("127.0.0.1", ("127.0.0.1",), 24, is_lmtp=True)),
        ("lmtp:box.example:465", NextHop("box.example", (), 465, is_lmtp=True)),
        ("lmtp:unix:/run/lmtp.sock", NextHop("localhost", ("/run/lmtp.sock",), 0, is_lmtp=True)),
    ],
)
def test_a_way_is_a_host_a_socket_the_dns_or_back(text: str, target: RouteTarget) -> None:
    assert parse_route_target(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mx:a",
        "error:",
        "error:\x07",
        "error:ü",
        "smtp",
        "smtp:",
        "smtp:a:0",
        "lmtp:",
        "lmtp:unix:run/x",
        "uucp:a",
    ],
)
def test_anything_else_is_no_way(text: str) -> None:
    with pytest.raises(ValueFault):
        parse_route_target(text)
