"""`kmsctl`: administration from the command line.

Promises: exit statuses of sysexits.h (64 wrong usage, 65 unacceptable data, 67 no such user, 69 no server,
75 try again, 77 not permitted, 78 wrong configuration); errors on stderr, with `--json` also as JSON on stdout.
It never imports Twisted, so it starts in a blink.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from kms.cli import failure
from kms.cli.aliases import alias
from kms.cli.failure import CommandFailed
from kms.cli.fsck import fsck
from kms.cli.limits import blocks, limits
from kms.cli.queue import mailq, queue
from kms.cli.reports import reports
from kms.cli.server import check, reload_, status
from kms.cli.session import Session
from kms.cli.users import user
from kms.cli.why import explain, why
from kms.cli.windows import windows


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "-c",
    default="etc/kms.ini",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The configuration file.",
)
@click.option("--json", "is_json", is_flag=True, help="Print JSON for programs.")
@click.pass_context
def kmsctl(context: click.Context, config: Path, is_json: bool) -> None:
    """Administer kms: the running server, or its store where none runs."""
    context.obj = Session(config, is_json)


queue.add_command(fsck)
for command in (
    check, user, alias, queue, mailq, windows, limits, blocks, why, explain, status, reload_, reports,
):  # fmt: skip
    kmsctl.add_command(command)


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Returns:
        The exit status.
    """
    is_json = "--json" in arguments
    try:
        status = kmsctl.main(list(arguments), prog_name="kmsctl", standalone_mode=False)
    except CommandFailed as error:
        return _fail(error.status, error.lines, is_json)
    except click.UsageError as error:
        error.show()
        return failure.USAGE
    except click.ClickException as error:
        return _fail(failure.USAGE, (error.format_message(),), is_json)
    except click.Abort:
        return _fail(failure.USAGE, ("given up",), is_json)
    return status if isinstance(status, int) else 0


def _fail(status: int, lines: Sequence[str], is_json: bool) -> int:
    for line in lines:
        click.echo(f"kmsctl: {line}" if status != failure.BAD_CONFIGURATION else line, err=True)
    if is_json:
        click.echo(json.dumps({"error": lines[0], "problems": list(lines), "status": status}))
    return status


def main() -> None:
    """Be the command `kmsctl`."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
