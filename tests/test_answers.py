"""The answers of the notebooks: nothing in them is typed, and they follow the results."""

import re

import pytest

from t0qat.exhibits import answers
from t0qat.paper import PAPER
from t0qat.pipeline import places, publish, readme
from t0qat.pipeline.notebooks import load


@pytest.fixture(scope="module")
def committed():
    return readme.read(PAPER, places.ROOT)


def said(experiment: str, tables: dict) -> str:
    of = [n for n in PAPER.exhibits if n == experiment or n.startswith(f"{experiment}_")]
    macros = {key: value for n in of for key, value in PAPER.exhibits[n](tables)[1].items()}
    return answers.fill(experiment, macros, tables.__getitem__)


def test_every_notebook_has_an_answer_and_every_answer_a_notebook():
    published = {
        name for nb in load(PAPER) for name in re.findall(r"publish\(\\\"(\w+)", nb.path.read_text())
    }
    assert published == set(answers.ANSWERS)


@pytest.mark.parametrize("experiment", answers.ANSWERS)
def test_an_answer_types_no_number_and_no_direction(experiment):
    typed = re.sub(r"\{[^}]+\}", "", answers.ANSWERS[experiment])
    numbers = re.findall(r"\d+", typed.replace("T0-QAT", ""))
    assert set(numbers) <= {"95", "1"}, "the level of an interval, and the scaling of xi alone"
    assert not re.search(r"\b(?:better|worse|higher|lower|none|much|clearly|significant\w*)\b", typed)


@pytest.mark.parametrize("experiment", answers.ANSWERS)
def test_an_answer_reads_as_text(experiment, committed):
    text = said(experiment, committed)
    assert not re.search(r"[${}]|\\(?!_)|\bnan\b", text), text
    assert text.endswith(".")


def test_an_answer_turns_with_its_results(committed):
    paired = committed["table1_paired"].set_index("quantity")
    for shift, word in ((1.0, "larger than"), (-1.0, "smaller than")):
        moved = paired.copy()
        moved.loc["drop_difference", ["estimate", "ci_low", "ci_high"]] += shift
        tables = committed | {"table1_paired": moved.reset_index()}
        assert f"expected drop is {word} Standard QAT's" in said("table1", tables)


def test_publishing_returns_the_answer_and_makes_every_exhibit_of_the_experiment(
    committed, tmp_path, monkeypatch
):
    monkeypatch.setenv(places.STAGE, str(tmp_path))
    names = [name for name in PAPER.results if name.startswith("vision")]
    answer = publish.publish(PAPER, "vision", {name: committed[name] for name in names}, {}).data
    assert answer == said("vision", committed)
    made = {path.stem for path in (tmp_path / "paper" / "macros").iterdir()}
    parts = ["differences", "few", "rules", "methods", "accuracy", "convergence"]
    assert made == {"vision", *(f"vision_{part}" for part in parts)}
