"""`python -m kms --config etc/kms.ini`: the server in the foreground, also from a bare checkout.

It is `twistd -n kms …`: arguments go to the kms plugin. The plugin is found because the current folder, or the
place where kms is installed, is on the import path.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run twistd with the kms plugin."""
    from twisted.scripts.twistd import run

    sys.argv[:] = ["twistd", "-n", "--pidfile=", "kms", *sys.argv[1:]]
    run()


if __name__ == "__main__":
    main()
