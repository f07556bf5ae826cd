import attrs
import pytest

from kms.cli.smtp_dialogue import find_server
from kms.config.server_settings import ListenSettings
from kms.config.settings import Settings


@pytest.mark.parametrize(
    ("listeners", "place"),
    [
        (("2525",), ("127.0.0.1", 2525)),
        (("unix:smtp.sock", "tcp:25:interface=192.0.2.1"), ("192.0.2.1", 25)),
        (("tcp6:26:interface=\\:\\:",), ("::1", 26)),
        ((), ("127.0.0.1", 25)),
    ],
)
def test_the_first_tcp_listener_is_asked(listeners: tuple[str, ...], place: tuple[str, int]) -> None:
    settings = Settings(listen=attrs.evolve(ListenSettings(), smtp=listeners))
    assert find_server(settings) == place


def test_without_the_configuration_it_is_the_usual_port() -> None:
    assert find_server(None) == ("127.0.0.1", 25)
