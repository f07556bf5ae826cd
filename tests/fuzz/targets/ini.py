"""The configuration: any text is read whole, and every fault is told with its line."""

from pathlib import Path

from kms.config.ini import parse_ini
from kms.config.loader import read_settings
from kms.config.problems import ConfigError
from tests.fuzz.promises import check_printable

_PATH = Path("/nonexistent/kms.ini")


def run(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    complaints: list[int] = []

    def complain(line: int, section: str, key: str, fault: str) -> None:
        complaints.append(line)

    for section in parse_ini(text, complain).values():
        for key, entry in section.entries.items():
            check_printable(key.replace("\t", " "))
            for line in entry.value.split("\n"):
                check_printable(line.replace("\t", " "))
    last = text.count("\n") + text.count("\r") + 1
    assert all(1 <= line <= last for line in complaints)
    if "_file" in text:
        return  # it would read files of this machine
    for problem in _read(text):
        assert "\n" not in problem, repr(problem)


def _read(text: str) -> list[str]:
    try:
        return list(read_settings(text, _PATH).warnings)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
