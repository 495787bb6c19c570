"""The wings of the package hold: what imports what, and what the first of them does not know."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from projects import ROOT

from t0qat.paper import PAPER
from t0qat.training.methods import REGISTRY

WINGS = ["pipeline", "quantization", "training", "experiments", "exhibits", "explorer"]
SOURCE = ROOT / "src/t0qat"


def name_of(path: Path) -> str:
    """A file's module, below the package: `explorer.site`; "" for the package itself."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in SOURCE.rglob("*.py")}
TREES = {name: ast.parse(path.read_text()) for name, path in FILES.items()}


def wing_of(name: str) -> str:
    return name.split(".")[0]


def imported(name: str) -> set[str]:
    """Modules of the package that a module imports, on its top level or in a function."""
    found = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name} imports relatively"
            both = {(node.module, f"{node.module}.{alias.name}") for alias in node.names}
            found |= {sub if sub.removeprefix("t0qat.") in FILES else of for of, sub in both}
    return {m.removeprefix("t0qat").lstrip(".") for m in found if m.split(".")[0] == "t0qat"}


def text_of(node: ast.AST) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def quoted(name: str) -> set[str]:
    """Its strings, without docstrings."""
    nodes = [node for node in ast.walk(TREES[name])]
    prose = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    return {text_of(node) for node in nodes if text_of(node) is not None and id(node) not in prose}


def test_nothing_stands_beside_the_wings_but_what_the_paper_holds_and_what_make_calls():
    beside = {path.name for path in SOURCE.iterdir()} - {"__pycache__"}
    assert beside == {*WINGS, "__init__.py", "__main__.py", "paper.py"}
    assert all((SOURCE / wing / "__init__.py").is_file() for wing in WINGS)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_module_imports_only_from_its_own_wing_and_those_before_it(name):
    order = ["", *WINGS, "paper", "__main__"]
    mine = order.index(wing_of(name))
    for other in imported(name):
        assert order.index(wing_of(other)) <= mine, f"{name or 't0qat'} imports {other}"
    # Nor by a name in a string, which what paper.py holds may do.
    if wing_of(name) in WINGS:
        for wing in order[mine + 1 :]:
            code = {text for text in quoted(name) if re.search(rf"\bt0qat(\.| import ){wing}\b", text)}
            assert not code, f"{name} names {wing} in {code}"


@pytest.mark.parametrize("wing", WINGS)
def test_no_imports_of_a_wing_go_in_a_circle(wing):
    mine = {name for name in FILES if wing_of(name) == wing} - {wing}
    order = TopologicalSorter({name: imported(name) & mine - {name} for name in mine})
    assert {*order.static_order()} == mine


# What the pipeline's own files are called, or hold.
ITS_OWN = {("claims", name) for name in ("claims", "verdicts", "claims_exploratory")}


def test_the_pipeline_knows_nothing_of_this_paper():
    figures = {figure for e in PAPER.experiments.values() for figure in e.figures.split()}
    known = {*PAPER.experiments, *REGISTRY, *PAPER.results, *PAPER.exhibits, *figures}
    found = set()
    for name in FILES:
        if wing_of(name) == "pipeline":
            assert {wing_of(other) for other in imported(name)} <= {"pipeline"}, name
            whole = {text for text in quoted(name) if not re.search(r"\s", text)}
            words = {word for text in whole for word in re.split(r"\W+", text)}
            found |= {(name.removeprefix("pipeline."), word) for word in words & known}
    assert found <= ITS_OWN


def test_the_house_lists_the_wings_in_their_order():
    (house,) = re.findall(r"^# The house\n(.*?)^## ", (ROOT / "docs/house.md").read_text(), re.M | re.S)
    rows = re.findall(r"^\| `(\w+)` \|.*\|$", house, re.M)
    assert rows == WINGS
    assert len(re.findall(r"^\|", house, re.M)) == len(WINGS) + 2
    starts = re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", house, re.M)
    for wing, modules in starts:
        for module in re.findall(r"`(\w+)`", modules):
            assert f"{wing}.{module}" in FILES, f"{wing}.{module}"
