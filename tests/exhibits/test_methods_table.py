"""The table of methods: what it says of each, and where each is from."""

import inspect
import re

import pytest
from made_up import frames

from t0qat.exhibits.methods import bibliography, methods, source
from t0qat.experiments.arms import preset
from t0qat.pipeline.latex import Raw
from t0qat.training.methods import REGISTRY, named


@pytest.fixture(scope="module")
def made():
    return methods(frames())


def rows(table: str) -> dict[str, list[str]]:
    """The label of a method -> its cells."""
    lines = [line.split(" & ") for line in table.splitlines() if line.count(" & ") == 6]
    return {cells[1]: cells for cells in lines[1:]}


def test_every_method_that_is_run_has_a_row_and_is_counted(made):
    run = named(lambda method: method.images or method.text)
    assert len(rows(made[0])) == len(run) == int(made[1]["MethodsCount"])


def test_a_row_says_what_the_line_of_the_method_says(made):
    found = rows(made[0])
    assert found["SEQ"][2:5] == ["INT2", "1", "0.1, 0.3 and 1"]
    assert found["STE"][2:4] == ["each width", "1"] and found["Random-bit STE"][2] == "all widths"
    assert found["SAM"][3] == "2" and found["SAM"][5] == "images"
    assert found["No noise, twice as long"][3] == "1, 2 times the steps"
    assert found["No fine-tuning"][3] == "0" and found["No fine-tuning"][5] == "text"
    assert r"\citet{esser2020learned}" in found["LSQ"][6] and "--" in found["GPTQ"][6]


@pytest.mark.parametrize("name", REGISTRY)
def test_every_number_that_a_docstring_names_is_in_the_bibliography(name):
    numbers = re.findall(r"arXiv\s(\d+\.\d+)", inspect.getdoc(preset(REGISTRY[name])[0]))
    assert {*numbers} <= {*bibliography()}
    assert isinstance(source(REGISTRY[name], bibliography()), Raw) == bool(numbers)
