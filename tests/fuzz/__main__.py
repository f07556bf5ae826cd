"""`python -m tests.fuzz [--seconds N] [--seed S] [TARGET …]`: atheris on the targets, all by default, two at a time.

Ends with 1 when an input breaks a promise; the input is then in var/fuzz/, and
`python -m tests.fuzz.run TARGET var/fuzz/crash-…` shows it again. Make it a unit test, and a seed in corpus/.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.seeds import FOLDER, TARGETS

ROOT = Path(__file__).parents[2]
FOUND = ROOT / "var" / "fuzz"

MOST_INPUT_OCTETS = 4096
MOST_MEMORY_MB = 1024
MOST_SECONDS_AN_INPUT = 10


def fuzz(target: str, seconds: int, seed: int) -> tuple[str, int, str]:
    """Run one target; gives its name, its status (0 = nothing found) and what libFuzzer printed."""
    with tempfile.TemporaryDirectory(prefix=f"kms-fuzz-{target}-") as fresh:
        ended = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.fuzz.run",
                target,
                f"-max_total_time={seconds}",
                f"-seed={seed}",
                f"-max_len={MOST_INPUT_OCTETS}",
                f"-timeout={MOST_SECONDS_AN_INPUT}",
                f"-rss_limit_mb={MOST_MEMORY_MB}",
                f"-artifact_prefix={FOUND}/{target}-",
                "-print_final_stats=1",
                fresh,
                str(FOLDER / target),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds + 120,
            check=False,
        )
    return target, ended.returncode, ended.stdout + ended.stderr


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=10, help="for each target")
    parser.add_argument("--seed", type=int, default=0, help="0 = another one each time")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    asked = parser.parse_args()
    targets = asked.targets or TARGETS
    if unknown := set(targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    FOUND.mkdir(parents=True, exist_ok=True)
    worst = 0
    with ThreadPoolExecutor(2) as pool:
        for target, status, output in pool.map(lambda one: fuzz(one, asked.seconds, asked.seed), targets):
            runs = re.search(r"number_of_executed_units: (\d+)", output)
            print(
                f"{target}: {runs[1] if runs else 'no'} inputs, {'FOUND ONE' if status else 'all well'}",
                flush=True,
            )
            if status:
                print(output[-6000:])
            worst = max(worst, int(status != 0))
    return worst


if __name__ == "__main__":
    sys.exit(main())
