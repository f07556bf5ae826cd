"""A smarthost that relays only after a POP3 login (a second kms), and smarthosts that stand in for each other."""

from tests.e2e.conftest import StartKms
from tests.e2e.peers.clients import Clients
from tests.e2e.peers.kms_server import PASSWORD, Kms
from tests.e2e.peers.postfix import Postfix
from tests.e2e.peers.process import wait_until
from tests.e2e.peers.world import OFFICE

USER = "office@example.test"
BOX = "box@far.test"
NOBODY = "127.0.0.99"
"""Nothing listens there."""


def start_provider(start_kms: StartKms) -> Kms:
    """Relays to anywhere for addresses that have logged in over POP3, and for nobody else."""
    return start_kms(
        {
            "relay": {"address_group": "", "pop_before_smtp": "yes", "pop_window": "30 minutes"},
            "limits": {"sender_domain_must_exist": "no"},
        },
        users=(USER,),
    )


def start_office(start_kms: StartKms, provider: Kms, **more: str) -> Kms:
    """Sends everything through the provider, after a POP3 login there."""
    return start_kms(
        {
            "server": {"hostname": "office.test"},
            "domains": {"local": "office.test"},
            "delivery": {
                "mode": "smarthost",
                "smarthost": f"{NOBODY}:25, {provider.host}:{provider.smtp}",
                "smarthost_auth": "pop3",
                "smarthost_pop3": f"{provider.host}:{provider.pop3}",
                "smarthost_user": USER,
                "smarthost_password": PASSWORD,
                **more,
            },
        },
        users=("worker@office.test",),
    )


def send(clients: Clients, kms: Kms, number: int) -> None:
    sender = "worker@office.test"
    header = ("--header", f"Subject: number {number}")
    sent = clients.swaks(kms.smtp, BOX, *header, source=OFFICE, sender=sender)
    assert sent.status == 0, sent.text


def logins(provider: Kms) -> int:
    return provider.log().count(f"login: user=<{USER}>")


def test_mail_goes_through_a_smarthost_that_demands_pop3_first(
    start_kms: StartKms, clients: Clients, far: Postfix
) -> None:
    provider = start_provider(start_kms)
    office = start_office(start_kms, provider)
    before = len(far.messages(BOX))

    def arrived(count: int) -> bool:
        return len(far.messages(BOX)) == before + count

    send(clients, office, 1)
    wait_until(lambda: arrived(1), what=lambda: office.everything() + provider.everything())
    send(clients, office, 2)
    wait_until(lambda: arrived(2), what=office.everything)
    assert logins(provider) == 1
    provider.ctl("windows", "revoke", "127.0.0.1")  # as if it had ended: the next RCPT is answered 550 5.7.1
    send(clients, office, 3)
    wait_until(lambda: arrived(3), what=lambda: office.everything() + provider.everything())
    wait_until(lambda: logins(provider) == 2, what=provider.everything)
    assert "Relaying to" in provider.log()
    assert "status=bounced" not in office.log()
    assert office.messages("worker@office.test") == []


def test_every_message_logs_in_again_where_the_last_login_is_too_old(
    start_kms: StartKms, clients: Clients, far: Postfix
) -> None:
    provider = start_provider(start_kms)
    hop = f"{provider.host}:{provider.smtp}"
    office = start_office(start_kms, provider, smarthost=hop, smarthost_pop3_every="0")
    for number in (1, 2):
        send(clients, office, number)
        office.wait_for_log("mail", "status=sent", number)
    wait_until(lambda: logins(provider) == 2, what=provider.everything)


def test_a_wrong_pop3_password_defers_and_never_bounces(start_kms: StartKms, clients: Clients) -> None:
    provider = start_provider(start_kms)
    office = start_office(start_kms, provider, smarthost_password="wrong")
    send(clients, office, 1)
    office.wait_for_log("mail", "status=deferred", 2)
    assert "the server refused our login" in office.log()
    assert office.messages("worker@office.test") == []
    assert provider.log("security").count("Failed POP3 login") <= 1


def test_the_second_smarthost_stands_in_for_the_first(
    start_kms: StartKms, clients: Clients, far: Postfix
) -> None:
    before = len(far.messages(BOX))
    places = f"{NOBODY}:25, {far.settings.host}:{far.settings.port}"
    kms = start_kms({"delivery": {"mode": "smarthost", "smarthost": places}})
    assert clients.swaks(kms.smtp, BOX, source=OFFICE).status == 0
    wait_until(lambda: len(far.messages(BOX)) == before + 1, what=kms.everything)
