"""Bad input stops before anything runs; one line names the thing, the value and what is allowed."""

import json

import pytest

from t0qat import notebooks, places
from t0qat.notebooks import NotebookError
from t0qat.parameters import RULES, ParameterError


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ("replicates = 1", ("01_toy", "replicates = 1", "2 to")),
        ("replicates = 2.5", ("replicates = 2.5", "whole number")),
        ("replicates = true", ("replicates = True", "whole number")),
        ("replicats = 5", ("mine.toml", "replicats = 5", "known are replicates")),
        ("[01_toy]\nnothing = 5", ("mine.toml, [01_toy]", "nothing = 5", "known are replicates")),
        ("[02_toy]\nreplicates = 5", ("mine.toml", "[02_toy]", "known are 01_toy")),
        ("replicates = __import__('os')", ("mine.toml", "Invalid value")),
        ("replicates = 'a'", ("replicates = 'a'", "whole number")),
        ("replicates = [5]", ("replicates = [5]", "whole number")),
    ],
)
def test_a_bad_parameters_file_stops_before_any_notebook(toys, params, told):
    (toys.root / "mine.toml").write_text(params)
    before = toys.files("paper", "figures")
    done = toys.run("run", "--profile", "paper", "--params", "mine.toml")
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert all(part in line for part in told), line
    assert toys.files("paper", "figures") == before
    assert not (toys.root / "build" / "runs").exists()


def test_a_parameters_file_that_is_not_there_is_named(toys):
    done = toys.run("run", "--params", "no such.toml")
    assert (done.returncode, done.stderr) == (1, "t0qat: PARAMS = no such.toml: there is no such file\n")


def test_an_unknown_profile_is_refused_with_those_that_exist(toys):
    done = toys.run("run", "--profile", "fast")
    assert done.returncode == 2
    assert "'fast'" in done.stderr
    assert "paper" in done.stderr
    assert "smoke" in done.stderr


def _toy_folder(toys, change):
    path = toys.root / "notebooks" / "01_toy.ipynb"
    change(path)
    return path.parent


def _edit_cells(path, edit):
    content = json.loads(path.read_text())
    edit(content["cells"])
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda p: _edit_cells(p, lambda c: c[0]["metadata"].clear()),
            "0 cells are tagged 'parameters'",
        ),
        (lambda p: _edit_cells(p, lambda c: c.append(c[0])), "2 cells are tagged 'parameters'"),
        (lambda p: _edit_cells(p, lambda c: c[0].update(source="x = open('y')")), "not `x = open('y')`"),
        (lambda p: _edit_cells(p, lambda c: c[0].update(source="import os")), "not `import os`"),
        (lambda p: p.write_text("{"), "01_toy.ipynb or its .toml cannot be read"),
        (lambda p: p.with_suffix(".toml").unlink(), "01_toy.toml is missing"),
        (lambda p: p.with_suffix(".toml").write_text("outputs = []"), "cell_limit_seconds is missing"),
        (
            lambda p: p.with_suffix(".toml").write_text("outputs=[]\ncell_limit_seconds=1\n[papr]"),
            "unknown entry papr",
        ),
    ],
)
def test_a_malformed_notebook_is_named(toys, change, told):
    with pytest.raises(NotebookError) as caught:
        notebooks.load(_toy_folder(toys, change))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_notebook_with_neither_parameters_nor_toml_is_left_alone(toys):
    def change(path):
        _edit_cells(path, lambda cells: cells[0]["metadata"].clear())
        path.with_suffix(".toml").unlink()

    assert notebooks.load(_toy_folder(toys, change)) == []


def test_a_profile_may_only_set_what_the_notebook_declares(toys):
    def change(path):
        path.with_suffix(".toml").write_text("outputs=[]\ncell_limit_seconds=1\n[paper]\nn=3\n[smoke]")

    with pytest.raises(ParameterError, match=r"01_toy.toml, \[paper\]: n = 3: unknown parameter"):
        notebooks.load(_toy_folder(toys, change))


@pytest.mark.parametrize("notebook", notebooks.load(), ids=lambda n: n.name)
def test_a_committed_notebook_is_run_small_and_fit_for_every_profile(notebook):
    content = json.loads(notebook.path.read_text())
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in code), "nbval compares nothing in a cell never run"
    assert not [o for cell in code for o in cell["outputs"] if o["output_type"] in ("error", "stream")]
    assert "papermill" not in content["metadata"], "an executed copy of the pipeline was committed"
    assert len(code) <= 10
    assert notebook.path.stat().st_size < 400_000
    first = "".join(content["cells"][0]["source"]).splitlines()[0]
    assert first.startswith("# ")
    assert first.endswith("?"), "the title asks the notebook's question"
    assert set(notebook.defaults) <= set(RULES)
    for profile in places.PROFILES:
        notebook.parameters(profile, {})


def test_each_parameter_line_of_a_committed_notebook_says_why():
    for notebook in notebooks.load():
        cells = json.loads(notebook.path.read_text())["cells"]
        (tagged,) = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
        for line in "".join(tagged["source"]).splitlines():
            assert len(line.partition("  # ")[2]) > 5, line


def test_two_notebooks_never_claim_the_same_output():
    outputs = [name for notebook in notebooks.load() for name in (*notebook.outputs, notebook.receipt)]
    assert len(outputs) == len(set(outputs))
