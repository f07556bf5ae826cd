"""What the documents and the house rules say of the tree, held to the tree."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "kms").rglob("*.py"))
LAYERS = ("domain", "ports", "policy", "config", "protocol", "store", "service", "tap", "cli")
MOST_LINES = 350
MOST_BODY_LINES = 45

_NAME = re.compile(
    r"`(?:kms/)?((?:domain|policy|config|protocol|store|service|cli|tap|ports)(?:/\w+)*(?:\.py)?)`"
)


def named_modules(document: str) -> set[str]:
    """Everything in the document that looks like a module of ours."""
    return set(_NAME.findall((ROOT / "docs" / document).read_text()))


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its head and its docstring."""
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("document", ["architecture.md", "message-flow.md"])
def test_the_document_names_only_modules_that_exist(document: str) -> None:
    named = named_modules(document)
    assert len(named) > 5, "the document's way of naming modules is not understood any more"
    missing = [
        name
        for name in named
        if not (ROOT / "kms" / name).exists() and not (ROOT / "kms" / f"{name}.py").exists()
    ]
    assert not missing


def test_every_folder_and_module_at_the_top_is_a_layer_of_the_document() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    found = {
        path.stem for path in (ROOT / "kms").iterdir() if path.name[0] not in "_." and path.name != "py.typed"
    }
    assert found == set(LAYERS)
    assert all(f"`{layer}`" in text for layer in LAYERS)


def test_twisteds_folders_are_not_made_packages_of_ours() -> None:
    assert not (ROOT / "twisted" / "__init__.py").exists()
    assert not (ROOT / "twisted" / "plugins" / "__init__.py").exists()


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
class TestEveryModule:
    def test_says_at_its_head_what_it_is(self, module: Path) -> None:
        tree = ast.parse(module.read_text())
        assert ast.get_docstring(tree) or not tree.body

    def test_is_short(self, module: Path) -> None:
        assert len(module.read_text().splitlines()) <= MOST_LINES

    def test_has_short_functions(self, module: Path) -> None:
        functions = [
            node
            for node in ast.walk(ast.parse(module.read_text()))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        assert [node.name for node in functions if body_lines(node) > MOST_BODY_LINES] == []
