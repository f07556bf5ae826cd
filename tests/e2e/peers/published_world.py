"""Receiving domains that publish what TLS their mail needs: MTA-STS in `plain.test`, DANE in the signed `proof.test`.

One Postfix serves them all, at three addresses: with a right certificate, with one that has expired, without TLS.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import attrs

from tests.e2e.peers.policy_server import POLICY_HOST, PolicyServer
from tests.e2e.peers.postfix import Postfix, PostfixSettings
from tests.e2e.peers.process import run
from tests.e2e.peers.signed_dns import SignedDns
from tests.support.authorities import Issued, make_root, make_self_signed

GOOD, ENDED, NAKED, DEAD = "127.0.0.31", "127.0.0.32", "127.0.0.33", "127.0.0.99"

PROOF = (
    "right",
    "anchor",
    "ended",
    "wrong",
    "endedanchor",
    "wrongname",
    "naked",
    "lost",
    "useless",
    "fallback",
    "leaving",
    "wrongleaving",
)
PLAIN = ("good", "wild", "ended", "mismatch", "naked", "testing", "untrusted", "later", "none")


@attrs.define
class PublishedWorld:
    """All of it, started; `ca_file` has the authority of the good certificates."""

    dns: SignedDns
    receiver: Postfix
    policies: PolicyServer
    ca_file: Path

    def stop(self) -> None:
        self.policies.stop()
        self.receiver.stop()
        self.dns.stop()


def start(folder: Path, port: int) -> PublishedWorld:
    """Make authorities, certificates, zones and servers."""
    folder.mkdir(mode=0o755)
    root = make_root()
    good = root.issue("mx.plain.test", *(f"{name}.proof.test" for name in ("mx", "tamx", "wrongmx")))
    ended = root.issue("old.plain.test", "old.proof.test", "oldta.proof.test", ended=True)
    ca_file = folder / "ca.pem"
    ca_file.write_bytes(root.write(folder, "root")[0].read_bytes())
    dns = SignedDns(folder / "dns", _proof_records(root, good, ended, port), _plain_records())
    receiver = _make_receiver(folder, good, ended, port)
    receiver.start()
    hosts = [f"mta-sts.{name}.plain.test" for name in PLAIN]
    served = root.issue(*hosts).write(folder, "policies")
    untrusted = "mta-sts.untrusted.plain.test"
    other = make_self_signed(untrusted).write(folder, "untrusted")
    policies = PolicyServer(*served, other, untrusted)
    policies.policies.update({f"mta-sts.{name}.plain.test": policy(mx, mode) for name, mx, mode in _POLICIES})
    return PublishedWorld(dns, receiver, policies, ca_file)


def policy(mx: str, mode: str = "enforce") -> str:
    """The text of a policy."""
    return f"version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: 86400\r\n"


_POLICIES = (
    ("good", "mx.plain.test", "enforce"),
    ("wild", "*.plain.test", "enforce"),
    ("ended", "old.plain.test", "enforce"),
    ("mismatch", "other.plain.test", "enforce"),
    ("naked", "naked-mx.plain.test", "enforce"),
    ("testing", "other.plain.test", "testing"),
    ("untrusted", "other.plain.test", "enforce"),
    ("none", "other.plain.test", "none"),
)


def _proof_records(root: Issued, good: Issued, ended: Issued, port: int) -> list[str]:
    def tlsa(host: str, usage: int, selector: int, octets: bytes) -> str:
        return f"_{port}._tcp.{host} TLSA {usage} {selector} 1 {hashlib.sha256(octets).hexdigest()}"

    return [
        f"right MX 10 mx\nmx A {GOOD}\n" + tlsa("mx", 3, 1, good.public_key),
        f"anchor MX 10 tamx\ntamx A {GOOD}\n" + tlsa("tamx", 2, 0, root.der),
        f"ended MX 10 old\nold A {ENDED}\n" + tlsa("old", 3, 1, ended.public_key),
        f"wrong MX 10 wrongmx\nwrongmx A {GOOD}\n" + tlsa("wrongmx", 3, 1, b"another key"),
        f"endedanchor MX 10 oldta\noldta A {ENDED}\n" + tlsa("oldta", 2, 0, root.der),
        f"wrongname MX 10 nameless\nnameless A {GOOD}\n" + tlsa("nameless", 2, 0, root.der),
        f"naked MX 10 nakedmx\nnakedmx A {NAKED}\n" + tlsa("nakedmx", 3, 1, good.public_key),
        f"lost MX 10 lostmx\nlostmx A {GOOD}\n_tcp.lostmx NS ns.dead\nns.dead A {DEAD}",
        f"useless MX 10 uselessmx\nuselessmx A {GOOD}\n" + tlsa("uselessmx", 1, 1, good.public_key),
        "fallback MX 10 wrongmx\nfallback MX 20 mx",
        "leaving MX 10 leavingmx\nleavingmx CNAME mx.plain.test.\n"
        + tlsa("leavingmx", 3, 1, good.public_key),
        "wrongleaving MX 10 otherleavingmx\notherleavingmx CNAME mx.plain.test.\n"
        + tlsa("otherleavingmx", 3, 1, b"another key"),
    ]


def _plain_records() -> list[str]:
    hosts = {"ended": "old", "naked": "naked-mx"}
    records = [f"@ MX 10 mx\nmx A {GOOD}\nold A {ENDED}\nnaked-mx A {NAKED}"]
    for name in PLAIN:
        host = hosts.get(name, "mx")
        records.append(f"{name} MX 10 {host}\nmta-sts.{name} A {POLICY_HOST}")
        records.append(f'_mta-sts.{name} TXT "v=STSv1; id=1;"')
    return records


def _make_receiver(folder: Path, good: Issued, ended: Issued, port: int) -> Postfix:
    chains = {}
    for name, issued in (("good", good), ("ended", ended)):
        certificate, key = issued.write(folder, name)
        chains[name] = folder / f"{name}.pem"
        chains[name].write_bytes(key.read_bytes() + certificate.read_bytes())
    domains = [*(f"{name}.proof.test" for name in PROOF), *(f"{name}.plain.test" for name in PLAIN)]
    return Postfix(
        folder / "receiver",
        PostfixSettings(
            hostname="mx.plain.test",
            host=GOOD,
            port=port,
            mailboxes=[f"box@{domain}" for domain in domains],
            domains=domains,
            more={
                "smtpd_tls_security_level": "may",
                "smtpd_tls_received_header": "yes",
                "smtpd_tls_chain_files": str(chains["good"]),
            },
            more_listeners=(
                f"{ENDED}:{port} inet n - n - - smtpd -o smtpd_tls_chain_files={chains['ended']}",
                f"{NAKED}:{port} inet n - n - - smtpd -o smtpd_tls_security_level=none",
            ),
        ),
    )


def ask_posttls_finger(folder: Path, world: PublishedWorld, domain: str, port: int, level: str) -> str:
    """What Postfix's own client thinks of a domain's servers; it sees our resolver as the system's."""
    resolver = folder / "resolv.conf"
    resolver.write_text(f"nameserver {world.dns.host}\noptions edns0 trust-ad\n")
    command = f"mount --bind {resolver} /etc/resolv.conf && exec /usr/sbin/posttls-finger -c -t 10 -T 10"
    words = ["-F", str(world.ca_file), "-l", level, "-L", "summary", f"{domain}:{port}"]
    finger = run(["unshare", "-m", "sh", "-c", f'{command} "$@"', "sh", *words])
    return (finger.stdout + finger.stderr).decode()
