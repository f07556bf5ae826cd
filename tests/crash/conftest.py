"""The kill run is collected only where it is named (`make crash`): it needs a real sink and takes about a minute."""

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Only where the command line names this folder or a file in it."""
    here = Path(__file__).parent
    for argument in config.invocation_params.args:
        path = Path(config.invocation_params.dir, str(argument).partition("::")[0]).resolve()
        if path == here or here in path.parents:
            return None
    return True
