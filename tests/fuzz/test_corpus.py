"""Every stored seed keeps the promises of its target, also without a fuzzer; and the seeds are worth having."""

import importlib
from pathlib import Path

import pytest

from tests.fuzz.seeds import FOLDER, PREFIX, TARGETS, dialogue_seeds, seeds


@pytest.mark.parametrize(
    "seed",
    [path for target in TARGETS for path in seeds(target)],
    ids=lambda path: f"{path.parent.name}-{path.name}",
)
def test_the_seed_keeps_the_promises(seed: Path) -> None:
    importlib.import_module(f"tests.fuzz.targets.{seed.parent.name}").run(seed.read_bytes())


def test_every_target_has_seeds_and_every_folder_of_seeds_a_target() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == list(TARGETS)
    assert all(seeds(target) for target in TARGETS)


def test_the_dialogues_are_seeds() -> None:
    stored = {path.name: path.read_bytes() for path in (FOLDER / "smtp_server").glob(PREFIX + "*")}
    assert stored == dict(dialogue_seeds()), "run python -m tests.fuzz.seeds"
