"""The foreign world of the tests: DNS with the test zones, the server of far.test, a smarthost that asks for AUTH.

Run by itself it stays until Control-C, so that the dialogues of docs/first-hour.md can be typed:

    .venv/bin/python -m tests.e2e.peers.world FOLDER

Then DNS is served on 127.0.0.1 port 5300, far.test on 127.0.0.11 port 2600, the smarthost on 127.0.0.13 port 2600.
It needs root and the packages of `make e2e`; FOLDER must not exist, and must lie where every user may look into it.
"""

import signal
import sys
from pathlib import Path

from tests.e2e.peers.dovecot import SaslServer
from tests.e2e.peers.knot import Knot
from tests.e2e.peers.postfix import Postfix, PostfixSettings
from tests.e2e.peers.process import run

FAR_HOST, DOWN_HOST, SMARTHOST = "127.0.0.11", "127.0.0.12", "127.0.0.13"
STRANGER, OFFICE, VISITOR = "127.0.0.2", "127.0.0.3", "127.0.0.4"
DNS_PORT, SMTP_PORT = 5300, 2600
SMARTHOST_USER, SMARTHOST_PASSWORD = "office", "let me relay"

RECORDS = (
    "far MX 10 mx.far",
    f"mx.far A {FAR_HOST}",
    "down MX 10 mx.down",
    f"mx.down A {DOWN_HOST}",
    "stranger MX 10 mx.stranger",
    f"mx.stranger A {STRANGER}",
    "nomail MX 0 .",
    f"smart A {SMARTHOST}",
)


def make_far(folder: Path, port: int) -> Postfix:
    """The MX of far.test, with two mailboxes; not started."""
    settings = PostfixSettings(
        hostname="mx.far.test",
        host=FAR_HOST,
        port=port,
        mailboxes=["box@far.test", "second@far.test"],
        domains=["far.test"],
    )
    return Postfix(folder, settings)


class Smarthost:
    """A Postfix that takes mail only after AUTH (`office`, `let me relay`), in clear or after STARTTLS; started.

    Dovecot comes first: an smtpd that finds no socket ends, and Postfix lets none begin for a while after that.
    """

    def __init__(self, ground: Path, port: int) -> None:
        make_certificate(ground / "smarthost.pem", "smart.test")
        settings = PostfixSettings(
            hostname="smart.test",
            host=SMARTHOST,
            port=port,
            mailboxes=["box@far.test", "box@elsewhere.test"],
            domains=["far.test", "elsewhere.test"],
            more={
                "mynetworks": "",
                "smtpd_sasl_auth_enable": "yes",
                "smtpd_sasl_type": "dovecot",
                "smtpd_sasl_path": "private/auth",
                "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
                "smtpd_recipient_restrictions": "permit_sasl_authenticated, reject",
                "smtpd_tls_security_level": "may",
                "smtpd_tls_loglevel": "1",
                "smtpd_tls_chain_files": str(ground / "smarthost.pem"),
            },
        )
        self.server = Postfix(ground / "smarthost", settings)
        socket = self.server.queue / "private" / "auth"
        socket.parent.mkdir(mode=0o700)
        run(["chown", "postfix", socket.parent])
        self._sasl = SaslServer(ground / "sasl", socket, {SMARTHOST_USER: SMARTHOST_PASSWORD})
        self.server.start()

    def stop(self) -> None:
        self.server.stop()
        self._sasl.stop()


def make_certificate(path: Path, name: str) -> None:
    """Write a key and a self-signed certificate."""
    key, chain = path.with_suffix(".key"), path.with_suffix(".crt")
    result = run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "30", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}",
         "-keyout", key, "-out", chain]
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    path.write_bytes(key.read_bytes() + chain.read_bytes())


def main(folder: Path) -> None:
    """Start the world in a new folder; stop it at SIGINT or SIGTERM."""
    folder.mkdir(mode=0o755)
    knot = Knot(folder / "knot", RECORDS, DNS_PORT)
    far = make_far(folder / "far", SMTP_PORT)
    far.start()
    smarthost = Smarthost(folder, SMTP_PORT)
    print("The world is there; Control-C ends it.", flush=True)
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    signal.sigwait(ends)
    smarthost.stop()
    far.stop()
    knot.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
