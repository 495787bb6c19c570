"""Bad input stops before anything runs; one line names the thing, the value and what is allowed."""

import functools
import html
import json
import re
import statistics

import pytest

from t0qat import paper
from t0qat.exhibits import answers
from t0qat.experiments.settings import RULES
from t0qat.paper import PAPER
from t0qat.pipeline import notebooks, places
from t0qat.pipeline.notebooks import NotebookError
from t0qat.pipeline.parameters import ParameterError

LINK = re.compile(r"\]\(([^)#]+)")
GAP = re.compile(r"(\{[^}]+\})")
# Words that say how a result came out; a generated answer has its own.
DIRECTION = re.compile(
    r"\b(?:outperform\w*|significant\w*|fails?|succeeds?|wins?|beats?|confirm\w*|refut\w*|superior|"
    r"inferior|hardly|barely|clearly)\b"
)


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
        (lambda p: _edit_cells(p, lambda c: c[0].update(source="x = {[]: 1}")), "not `x = {[]: 1}`"),
        (
            lambda p: _edit_cells(p, lambda c: c[0].update(source="x = 1\ny = 2 3")),
            "01_toy.ipynb: parameters cell, line 2: invalid syntax",
        ),
        (lambda p: p.write_text("{"), "01_toy.ipynb or its .toml cannot be read"),
        (lambda p: p.with_suffix(".toml").unlink(), "01_toy.toml is missing"),
        (
            lambda p: p.with_suffix(".toml").write_text(""),
            "its entries are none, not cell_limit_seconds, paper, smoke",
        ),
        (
            lambda p: p.with_suffix(".toml").write_text("cell_limit_seconds=1\n[papr]"),
            "its entries are cell_limit_seconds, papr, not",
        ),
    ],
)
def test_a_malformed_notebook_is_named(toys, change, told):
    with pytest.raises(NotebookError) as caught:
        notebooks.load(PAPER, _toy_folder(toys, change))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_notebook_with_neither_parameters_nor_toml_is_left_alone(toys):
    def change(path):
        _edit_cells(path, lambda cells: cells[0]["metadata"].clear())
        path.with_suffix(".toml").unlink()

    assert notebooks.load(PAPER, _toy_folder(toys, change)) == []


def test_a_profile_may_only_set_what_the_notebook_declares(toys):
    def change(path):
        path.with_suffix(".toml").write_text("cell_limit_seconds=1\n[paper]\nn=3\n[smoke]")

    with pytest.raises(ParameterError, match=r"01_toy.toml, \[paper\]: n = 3: unknown parameter"):
        notebooks.load(PAPER, _toy_folder(toys, change))


def test_a_table_in_a_readers_file_is_a_parameter_or_a_notebooks(tmp_path):
    every, path = notebooks.load(PAPER), tmp_path / "mine.toml"
    path.write_text("settings = { xi_scaling = 3 }\n[01_table1]\nseed = 1")
    changed = notebooks.changes(path, every)
    assert changed["01_table1"] == {"settings": {"xi_scaling": 3}, "seed": 1}
    assert changed["02_theory"] == {"settings": {"xi_scaling": 3}}
    assert changed["03_scale"] == {}
    path.write_text("[01_tabel1]\nseed = 1")
    with pytest.raises(ParameterError, match=r"mine.toml: \[01_tabel1\]: unknown notebook; known are"):
        notebooks.changes(path, every)


PATHS = sorted((places.ROOT / "notebooks").glob("*.ipynb"))
EVERY = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
RUN = pytest.mark.parametrize("notebook", notebooks.load(PAPER), ids=lambda notebook: notebook.name)


def cells_of(path, kind: str) -> list[dict]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def sections(path) -> list[tuple[str, str]]:
    """The first line of each text, and what follows it."""
    texts = ["".join(cell["source"]) for cell in cells_of(path, "markdown")]
    return [tuple(part.strip() for part in f"{text}\n".split("\n", 1)) for text in texts]


def words_of(path) -> str:
    return "\n\n".join("".join(cell["source"]) for cell in cells_of(path, "markdown"))


@RUN
def test_a_committed_notebook_is_fit_for_every_profile(notebook):
    assert set(notebook.defaults) <= set(RULES)
    for profile in places.PROFILES:
        notebook.parameters(profile, {})


@EVERY
def test_a_committed_notebook_was_run_from_top_to_bottom_and_is_small(path):
    code = cells_of(path, "code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    metadata = json.loads(path.read_text())["metadata"]
    assert "papermill" not in metadata, "an executed copy of the pipeline was committed"
    assert path.stat().st_size < 400_000


@EVERY
def test_a_committed_notebook_shows_pictures_tables_and_text_only(path):
    for output in (output for cell in cells_of(path, "code") for output in cell["outputs"]):
        assert output["output_type"] in ("execute_result", "display_data"), output
        shown = set(output["data"]) - {"text/plain"}
        assert shown, f"only a repr: {output['data']}"
        if "text/html" in shown:
            assert "<table" in "".join(output["data"]["text/html"])


@EVERY
def test_a_notebook_is_short(path):
    code = cells_of(path, "code")
    assert len(code) <= 10
    for cell in code:
        if "parameters" not in cell["metadata"].get("tags", []):
            lines = "".join(cell["source"]).splitlines()
            assert len(lines) <= 12, lines  # one call with all its parameters named takes most of them
    lengths = [len("".join(cell["source"]).splitlines()) for cell in code]
    assert statistics.median(lengths) <= 5


@EVERY
def test_a_notebook_asks_its_question_first(path):
    title = words_of(path).splitlines()[0]
    assert title.startswith("# ")
    assert title.endswith("?"), "the title asks the notebook's question"


@RUN
def test_a_notebook_answers_its_question_before_anything_else(notebook):
    cells = json.loads(notebook.path.read_text())["cells"]
    outputs = [output["data"] for cell in cells for output in cell.get("outputs", [])]
    first, second = ({*output} - {"text/plain"} for output in outputs[:2])
    assert first == {"text/markdown"}, "the generated answer"
    assert {"image/png", "text/html"} & second, "its figure, or its table"
    at = next(i for i, cell in enumerate(cells) if cell.get("outputs"))
    texts = ["".join(cell["source"]) for cell in cells[:at] if cell["cell_type"] == "markdown"]
    assert len(texts) == 2
    assert texts[1].splitlines()[0] == "## The answer"
    assert cells[at - 1]["cell_type"] == "markdown", "nothing stands between it and the answer"
    assert sum(map(len, texts)) < 1600


@RUN
def test_a_notebook_ends_with_what_would_change_its_answer(notebook):
    *_, (heading, said), (link, none) = sections(notebook.path)
    assert heading == "## What would change the answer?"
    assert re.match("Next: |Back to ", link) and not none
    assert 2 <= len(re.findall(r"\.(?:\s|$)", said)) <= 4, said
    named = re.findall(r"`([^`]+)`", said)
    assert {*named} & {*notebook.defaults}, "a parameter to turn"
    unknown = [name for name in named if name not in notebook.defaults and not name.startswith("make ")]
    assert unknown == []
    assert not re.search(r"\d", LINK.sub("", said)), "no number, as that would be a result"


def answered(path) -> list[tuple[str, str]]:
    """The experiments that a notebook publishes, each with the answer that it shows."""
    found = []
    for cell in cells_of(path, "code"):
        published = re.findall(r"paper\.publish\(\"(\w+)", "".join(cell["source"]))
        texts = [output["data"].get("text/markdown") for output in cell["outputs"]]
        found += zip(published, ["".join(text) for text in texts if text], strict=True)
    return found


def pattern(place: str) -> str:
    """Of every form of a sentence, with anything in its gaps."""
    forms = (
        "".join(
            ".+" if part[:1] == "{" else re.escape(part) for part in GAP.split(html.escape(form, False))
        )
        for form in answers.sentences()[place].values()
    )
    return f"(?:{'|'.join(forms)})"


@RUN
def test_every_answer_is_a_generated_one_and_the_full_runs_that_of_the_results(notebook):
    """Nobody edits an output, words it a second time, or forgets `make outputs` after a full run."""
    read = functools.cache(paper.read)
    shown = answered(notebook.path)
    assert shown
    for name, text in shown:
        full, _, own = text.rpartition("\n\n**With the parameters above:** ")
        assert re.fullmatch(f"{pattern(f'{name}/1')} {pattern(f'{name}/2')}", own), own
        said = html.escape(answers.answer(name, read), quote=False)
        assert full == f"**The full run:** {said}" if full else own == said, text


@EVERY
def test_no_word_of_a_notebook_says_how_a_result_came_out(path):
    asked = re.sub(r"[^.?!]*\?", "", words_of(path))  # questions may name both ways
    assert DIRECTION.findall(asked) == []


@EVERY
def test_a_notebook_ends_with_a_link_to_the_next_and_every_link_leads_somewhere(path):
    following = dict(zip(PATHS, [*PATHS[1:], PATHS[0]], strict=True))[path]
    last = json.loads(path.read_text())["cells"][-1]
    assert last["cell_type"] == "markdown"
    assert LINK.findall("".join(last["source"]))[-1] == following.name
    for target in LINK.findall(words_of(path)):
        # `make lab` shows the folder of the notebooks only.
        assert target in {other.name for other in PATHS} or target.startswith("https://"), target


def test_each_parameter_line_of_a_committed_notebook_says_why():
    for notebook in notebooks.load(PAPER):
        cells = json.loads(notebook.path.read_text())["cells"]
        (tagged,) = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
        for line in "".join(tagged["source"]).splitlines():
            assert len(line.partition("  # ")[2]) > 5, line


def test_two_notebooks_never_claim_the_same_output():
    outputs = [
        name for notebook in notebooks.load(PAPER) for name in (*notebook.outputs, notebook.receipt)
    ]
    assert len(outputs) == len(set(outputs))


@pytest.mark.parametrize("budget", ["epochs", "context", "pretraining_steps", "steps"])
def test_what_follows_the_benchmarks_trains_as_long_as_they_do(budget):
    """The response is told in multiples of them, and the transfer takes settings tuned at them."""
    later = {"05_vision", "06_language", "07_response", "08_recommendation", "09_deployment"}
    every = [notebook for notebook in notebooks.load(PAPER) if notebook.name in later]
    asked = [found for n in every if budget in (found := n.parameters("paper", {}))]
    assert len({parameters[budget] for parameters in asked}) == 1
