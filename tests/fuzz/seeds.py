"""The stored corpus: small seeds that reach every command, one folder a target.

Those of the two server sessions are made of the dialogue files, so a new dialogue is a new seed:
`python -m tests.fuzz.seeds` writes them anew. The others were written by hand. An input that once broke a promise is
kept beside them, and as a unit test.
"""

from collections.abc import Iterator
from pathlib import Path

from tests.support import dialogue

FOLDER = Path(__file__).parent / "corpus"
TARGETS = tuple(
    sorted(path.stem for path in (Path(__file__).parent / "targets").glob("*.py") if path.stem != "__init__")
)
MOST_SEED_OCTETS = 4096
PREFIX = "dialogue-"

_GIVENS = {
    "max_message_octets": 1,
    "max_failed_commands": 2,
    "bare_newlines": 4,
    "needs_authentication": 8,
    "offers_starttls": 16,
    "encrypted": 32,
    "plain passwords": 64,
}


def seeds(target: str) -> list[Path]:
    """Its stored inputs."""
    return sorted((FOLDER / target).iterdir())


def dialogue_seeds() -> Iterator[tuple[str, bytes]]:
    """Name and octets, of SMTP: switches, a size of pieces, and all that the client says."""
    for path in sorted(dialogue.DIALOGUES.rglob("*.txt")):
        if path.parent.name == "pop3":
            continue
        spoken = dialogue.parse(path.read_text(encoding="utf-8"))
        switches = sum(_GIVENS.get(given.partition(" = ")[0], 0) for given in spoken.givens)
        if "reception" in path.parts:
            switches |= _GIVENS["plain passwords"]
        said = b"".join(step.data for step in spoken.steps if step.kind == "C")
        if len(said) <= MOST_SEED_OCTETS:
            yield PREFIX + path.stem, bytes([switches, 6]) + said


def write_dialogue_seeds() -> None:
    folder = FOLDER / "smtp_server"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(PREFIX + "*"):
        old.unlink()
    for name, data in dialogue_seeds():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    write_dialogue_seeds()
