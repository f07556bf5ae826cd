"""`python -m bench`: kms against Postfix, alternating, medians of the rounds, as ratios."""

import argparse
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from bench import report
from bench.ground import Ground, ground, machine
from bench.load import LoadError, Smtpload
from bench.scenarios import SMOKE, Sizes, Turn
from bench.servers import KmsServer, PostfixServer, Server, stated_lines
from tests.e2e.peers.process import missing_packages

FAMILIES = ("inbound", "relay", "large", "idle", "backlog")


def arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="medians of so many (default 3)")
    parser.add_argument(
        "--only", action="append", choices=FAMILIES, help="only this family (may be repeated)"
    )
    parser.add_argument("--smoke", action="store_true", help="one short round, to see that it all works")
    parser.add_argument(
        "--check", action="store_true", help="exit with 1 when something that must be reached is not"
    )
    parser.add_argument(
        "--ground", type=Path, help="an existing folder for spools and mailboxes (else a loop image)"
    )
    parser.add_argument(
        "--no-decision-row", action="store_true", help="leave out kms with a decision record's row a message"
    )
    return parser.parse_args(words)


def say(*words: object) -> None:
    print(*words, flush=True)


def measure(options: argparse.Namespace, place: Ground, smtpload: Smtpload, sizes: Sizes) -> report.Rounds:
    """Run all rounds: in each family every server has its turn, one after the other."""
    folder = place.folder
    kms = KmsServer(folder / "kms-a", place.own("kms-data"))
    servers: list[Server] = [PostfixServer(place.own("postfix-data") / "all"), kms]
    if not options.no_decision_row:
        servers.append(
            KmsServer(folder / "kms-b", place.own("kms-with-decisions-data"), has_decision_row=True)
        )
    say(f"spools and mailboxes: {place.description}")
    say(f"\n{stated_lines(kms)}\n")
    rounds: report.Rounds = {server.name: [{} for _ in range(options.rounds)] for server in servers}
    for number in range(options.rounds):
        for family in options.only or FAMILIES:
            for server in servers:
                if family not in families_of(server):
                    continue
                figures = Turn(smtpload, server, sizes, folder).run(family)
                rounds[server.name][number].update(figures)
                shown = ", ".join(f"{name} {value:,.1f}" for name, value in figures.items())
                say(f"round {number + 1}, {family}, {server.name}: {shown}")
    return rounds


def families_of(server: Server) -> tuple[str, ...]:
    """Postfix holds no ten thousand idle sessions, and kms alone is compared with itself beside a backlog; the
    decision row matters to what is accepted."""
    return {"Postfix": FAMILIES[:3], "kms": FAMILIES}.get(server.name, ("inbound",))


def main(words: list[str]) -> int:
    options = arguments(words)
    if "postfix" in missing_packages() or shutil.which("cc") is None:
        say("the benchmark needs: apt-get install postfix gcc")
        return 69
    if options.smoke:
        options.rounds = 1
    sizes = SMOKE if options.smoke else Sizes()
    version = subprocess.run(["postconf", "-dh", "mail_version"], capture_output=True, text=True, check=True)
    with ground(options.ground) as place:
        say(f"machine: {machine()}")
        say(f"Python {platform.python_version()}, Postfix {version.stdout.strip()}; all on loopback")
        smtpload = Smtpload(place.folder)
        try:
            rounds = measure(options, place, smtpload, sizes)
        except LoadError as error:
            say(f"a load did not go through: {error}")
            return 1
    missed: list[str] = []
    for name in rounds:
        if name != "Postfix":
            lines, short = report.comparison(rounds, name)
            say("\n" + "\n".join(lines))
            missed += short if name == "kms" else []
    lines, short = report.bounds(rounds, sizes)
    say("\n" + "\n".join(lines))
    missed += short
    for line in missed:
        say(f"MISSED {line}")
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
