"""The figures of all rounds as Markdown tables, and what must be reached."""

from statistics import median

import attrs

from bench.scenarios import Figures, Sizes
from tests.load.deferred import LEAST_RATIO

Rounds = dict[str, list[Figures]]
"""Server name, and its figures of each round."""


@attrs.frozen
class Row:
    """One figure that is compared."""

    figure: str
    title: str
    unit: str
    must: float
    aim: float
    is_lower_better: bool = False


ROWS = (
    Row("accept m=1", "accepted, one message a connection", "msgs/s", 3, 4.5),
    Row("accept m=50", "accepted, fifty a connection", "msgs/s", 4, 6),
    Row("accept m=50 pipelined", "accepted, fifty, pipelined", "msgs/s", 5, 8),
    Row("mailbox m=1", "in the mailbox, one a connection", "msgs/s", 4, 6),
    Row("mailbox m=50", "in the mailbox, fifty", "msgs/s", 5, 8),
    Row("mailbox m=50 pipelined", "in the mailbox, fifty, pipelined", "msgs/s", 5, 8),
    Row("relay", "relayed to a sink", "msgs/s", 4, 6),
    Row("large MB/s", "25 MiB messages, four at a time", "MB/s", 1, 1.5),
    Row("latency p50", "session at 100 connections, p50", "ms", 0.5, 0.25, is_lower_better=True),
    Row("latency max", "session at 100 connections, max", "ms", 0.5, 0.25, is_lower_better=True),
)
MAX_LARGE_RISE_MEGABYTES = 8
MAX_IDLE_KIB = 6


def middle(rounds: list[Figures], figure: str) -> float:
    return median(figures[figure] for figures in rounds)


def ratios(rounds: Rounds, server: str, figure: str) -> list[float]:
    pairs = zip(rounds[server], rounds["Postfix"], strict=True)
    return [ours[figure] / theirs[figure] for ours, theirs in pairs]


def is_reached(row: Row, ratio: float) -> bool:
    return ratio <= row.must if row.is_lower_better else ratio >= row.must


def comparison(rounds: Rounds, server: str) -> tuple[list[str], list[str]]:
    """The table of one server against Postfix, and what it missed."""
    lines = [
        f"| scenario | Postfix | {server} | ratio | rounds | must | aim | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    missed: list[str] = []
    for row in ROWS:
        if any(row.figure not in figures for figures in (*rounds["Postfix"][:1], *rounds[server][:1])):
            continue
        theirs, ours = middle(rounds["Postfix"], row.figure), middle(rounds[server], row.figure)
        ratio, each = ours / theirs, ratios(rounds, server, row.figure)
        verdict = "reached" if is_reached(row, ratio) else "MISSED"
        if verdict == "MISSED":
            missed.append(f"{server}: {row.title}: {ratio:.2f}, must be {row.must}")
        spread = ", ".join(f"{value:.2f}" for value in each)
        lines.append(
            f"| {row.title} | {theirs:,.0f} {row.unit} | {ours:,.0f} {row.unit} | **{ratio:.2f}** | {spread} "
            f"| {row.must:g} | {row.aim:g} | {verdict} |"
        )
    return lines, missed


def bounds(rounds: Rounds, sizes: Sizes) -> tuple[list[str], list[str]]:
    """What is bound by a figure and not by a ratio to Postfix: memory, and accepting beside a backlog."""
    lines = ["| bound | Postfix | kms | must | |", "|---|---|---|---|---|"]
    missed: list[str] = []

    def add(title: str, theirs: str, ours: str, must: str, is_good: bool) -> None:
        lines.append(f"| {title} | {theirs} | {ours} | {must} | {'reached' if is_good else 'MISSED'} |")
        if not is_good:
            missed.append(f"{title}: {ours}, must be {must}")

    first = rounds["kms"][0]
    if "large memory" in first:
        ours, theirs = middle(rounds["kms"], "large memory"), middle(rounds["Postfix"], "large memory")
        add(
            "memory rise, 25 MiB messages, four at once",
            f"{theirs:.1f} MB",
            f"{ours:.1f} MB",
            f"at most {MAX_LARGE_RISE_MEGABYTES} MB",
            ours <= MAX_LARGE_RISE_MEGABYTES,
        )
    if "idle held" in first:
        held, each = middle(rounds["kms"], "idle held"), middle(rounds["kms"], "idle KiB")
        add("idle sessions held", "-", f"{held:,.0f}", f"{sizes.idle:,}", held >= sizes.idle)
        add("an idle session", "-", f"{each:.2f} KiB", f"at most {MAX_IDLE_KIB} KiB", each <= MAX_IDLE_KIB)
    if "backlog ratio" in first:
        ratio = middle(rounds["kms"], "backlog ratio")
        add(
            f"accepting beside {sizes.backlog:,} deferred messages, against none",
            "-",
            f"{ratio:.2f}",
            f"at least {LEAST_RATIO:g}",
            ratio >= LEAST_RATIO,
        )
    return lines, missed
