"""One fuzz target in a process of its own: `python -m tests.fuzz.run TARGET [libFuzzer's options and folders]`.

libFuzzer ends the process itself. What is measured is kms alone: its modules are imported within the instrumentation.
"""

import importlib
import sys


def main(name: str, options: list[str]) -> None:
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["kms"]):
        target = importlib.import_module(f"tests.fuzz.targets.{name}")
    atheris.Setup([sys.argv[0], *options], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
