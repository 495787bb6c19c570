"""No number and no word of a result is typed: not in the prose, not in a caption, not in a table."""

import functools
import re
from pathlib import Path

import pandas as pd
import pytest

from t0qat.paper import PAPER
from t0qat.pipeline import lookups, notebooks, places, publish, readme, receipts, results, typeset

ROOT = Path(__file__).parents[1]
APPENDIX, MAIN = ((ROOT / name).read_text() for name in typeset.texts())
MAIN = MAIN.replace(r"\input{appendix}", APPENDIX)
BODY = MAIN.split(r"\begin{document}")[1]
BUILD = {"BuildVersion", "BuildCodeHash", "BuildProfile", "BuildMark"}

# What may be typed in the manuscript, and why. Every entry must be in use.
TYPED = {
    r"95\\,\\%": "the level of every interval",
    r"90\\,\\% power": "the power at which detectable effects are stated",
    r"5\\,\\%(?= for the whole| or less)": "the error rate, a fixed rule",
    r"\b2\.5\b|\b97\.5\\,\\%|\b50\b": "which points of a distribution are shown",
    r"\\tfrac43 \\cdot 10\^\{-4\}": "xi, by its definition",
    r"\b80000\b": "xi_scaling as published",
    r"\b32/3\b": "xi times xi_scaling as published",
    r"\b1000 samples": "the published number of samples",
    r"\b300 full-batch steps": "the published number of steps",
    r"learning rate 0\.005": "the published learning rate",
    r"11\\,s\^2": "ten weights and a bias, in a formula",
    r"\\mathcal N\(0, 1\)|\(x, 1\)|\\tfrac1n": "mathematics",
    r"2 s\^[24]|2 s\\,|4 s\^2|[sbA]\^2|\\rVert\^2": "mathematics",
    r"2 \\max\|w\| / \(2\^b - 1\)|\\log_2(\\bigl\(2 \\max\|w\| / \\xi \+ 1)?": "where a step equals xi",
    r"2\^b|2\^\{b-1\}(, \\dots, 2\^\{b-1\}-1)?": "the codes of an integer grid",
    r"\\sigma = 0": "plain training, by definition",
    r"\(1 - \\mathrm e\^\{-\\sigma\^2/2\}\)/2": "the chance of a flip that stands for noise",
    r"\\sigma\^[24]|\\tfrac12": "mathematics",
    r"\\texttt\{xi\\_scaling\} = 1\b": "xi alone, by definition",
    r"\\Delta/2|\\sqrt\{12\}": "the standard deviation of a uniform rounding error",
    r"INT4(?= grid of the plainly)": "the grid whose step sets the matched noise, by definition",
    r"INT4(?= means)": "what the name of a width means",
    r"\b1797 images": "the size of a public data set",
    r"\bGPT-2\b": "the name of a model",
    r"codes of 2, 4 or 8 bits|codes of 8, 4, 3 and 2 bits|16-bit floats": "what file formats hold",
    r"codes of 3 bits lie in a container of 4|INT3 costs there what INT4": "likewise",
    r"256\s+weights of a row": "the size of a block of a file format",
    r"rounded to 8 bits|rounds (?:inputs )?to 8 bits|layer to 8 bits": "how runtimes round inputs",
}
# Words that say how a result came out; they may come from macros only, or stand in a general statement.
DIRECTION = re.compile(
    r"\b(?:outperform\w*|better|worse|significant\w*|fails?|succeeds?|wins?|beats?|confirm\w*|refut\w*|"
    r"contradicted|supported|superior|inferior|hardly|barely|most of|clearly|much)\b"
)
GENERAL = {
    "A worse fit": "a statement of theory",
    r"\emph{supported} or \emph{contradicted} where one-sided": "the rule itself",
    r"A verdict is \emph{supported} or \emph{contradicted} where a direction is shown": "likewise",
    "fails most clearly, or holds least clearly": "the rule itself",
    "Positive numbers are better": "a sign, by definition",
}


def prose(body: str) -> str:
    """The text without comments, citations, labels, file names, lengths and macro calls."""
    body = re.sub(r"(?m)(?<!\\)%.*$", "", body)
    commands = (
        r"cite\w*|label|ref|[cC]ref|input|includegraphics|bibliography\w*|begin|end|made|Answer|Setting"
    )
    commands += "".join(f"|{kind}" for kind in lookups.KINDS)
    return re.sub(rf"\\(?:{commands})(?:\[[^\]]*\])*\{{[^}}]*\}}", "", body)


def typed_numbers(body: str) -> list[str]:
    before, start, rest = body.partition(r"\section{Proofs}")
    proofs, end, after = rest.partition(r"\section")
    proofs = re.sub(r"\\begin\{equation\}.*?\\end\{equation\}|\$.*?\$", "", proofs, flags=re.S)
    text = prose(before + start + proofs + end + after)  # formulas of proofs are mathematics
    for pattern in TYPED:
        text = re.sub(pattern, "", text)
    return [text[max(0, m.start() - 30) : m.end() + 10] for m in re.finditer(r"\d[\d.,]*", text)]


def test_the_manuscript_types_no_number_of_a_result():
    assert typed_numbers(BODY) == []


@pytest.mark.parametrize("pattern", TYPED)
def test_every_exception_is_in_use(pattern):
    assert re.search(pattern, prose(BODY))


@pytest.mark.parametrize("typed", ["36.0", "a drop of 2.2", "in 4 of 6", "51\\,\\%", "INT8 costs 0.1"])
def test_the_scan_finds_a_typed_result(typed):
    assert typed_numbers(BODY.replace("We hold no", f"It is {typed}. We hold no"))


def test_the_manuscript_types_no_word_that_depends_on_a_result():
    text = whole = " ".join(prose(BODY).split())
    for allowed in GENERAL:
        text = text.replace(allowed, "")
    assert DIRECTION.findall(text) == []
    for allowed in GENERAL:
        assert allowed in whole, f"no longer used: {allowed}"


def test_every_generated_macro_is_used_and_every_used_one_is_generated():
    tables = readme.read(PAPER, ROOT)
    generated = {name for make in PAPER.exhibits.values() for name in make(tables)[1]} | BUILD
    prefixes = "|".join(sorted({re.match(r"[A-Z][a-z]+", name)[0] for name in generated}))
    used = set(re.findall(rf"\\((?:{prefixes})[A-Za-z]*)", MAIN))
    assert used - generated == set(), "used, not generated"
    assert generated - used == set(), "not used"


def test_everything_looked_up_is_there_and_what_is_not_stops_with_one_line():
    shown = typeset.lookup_macros(PAPER, MAIN, ROOT)
    assert all(f"/{place}\\endcsname{{" in shown for _, place in lookups.used(MAIN))
    for wrong, told in (
        (r"\Count{tabel1}", "no results file is named 'tabel1'; there are table1, "),
        (r"\Number{table1/quantity=drop/mean}", "3 rows match; table1 has quantity: full_precision, "),
    ):
        with pytest.raises(typeset.TypesetError, match=f"^the manuscript: .*{told}") as error:
            typeset.lookup_macros(PAPER, wrong, ROOT)
        assert str(error.value).count("\n") == 0


@functools.cache
def committed(file: str) -> pd.DataFrame:
    return results.read(PAPER, file)


NUMBERS = sorted(used for used in lookups.used(MAIN) if used[0] != lookups.ANSWER)


@pytest.mark.parametrize(("kind", "place"), NUMBERS)
def test_a_changed_number_changes_what_is_looked_up(kind, place):
    table = committed(place.split("/")[0])
    numbers = [column for column in table if PAPER.columns[column].kind == "number"]
    larger = table.assign(**2 * table[numbers] + 7)  # far from any value that is shown
    smaller = table.assign(**-larger[numbers])
    if "p_holm" in table:
        larger["p_holm"] = smaller["p_holm"] = 0.0
    if kind == "Count" and place.split("/")[-1] not in table:
        larger = smaller = pd.concat([table, table])
    found = [lookups.look_up(kind, place, lambda _, t=t: t) for t in (table, larger, smaller)]
    assert found[0] != found[1] or (kind == "Direction" and found[0] != found[2])


def test_every_figure_and_table_of_the_manuscript_has_a_maker_and_every_one_made_is_shown():
    shown = {
        name.replace("../", "") for name in re.findall(r"\\includegraphics(?:\[.*?\])?\{([^}]*)\}", MAIN)
    }
    shown |= {f"paper/{name}.tex" for name in re.findall(r"\\input\{((?:tables|macros)/[^}]*)\}", MAIN)}
    made = {name for notebook in notebooks.load(PAPER) for name in notebook.outputs}
    made = {name for name in made if name.endswith((".tex", ".pdf"))}
    assert shown == made | {"paper/macros/build.tex"}


def test_the_committed_tables_and_macros_are_what_the_committed_results_give(tmp_path):
    for experiment, exhibit in PAPER.exhibits.items():
        for name in exhibit.files:
            data = (ROOT / f"paper/results/{name}.csv").read_bytes()
            places.write(tmp_path / f"paper/results/{name}.csv", data)
        publish.render(PAPER, experiment, tmp_path)
        for kind in ("tables", "macros"):
            name = f"paper/{kind}/{experiment}.tex"
            assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes(), name


def test_the_committed_results_were_made_by_the_committed_code():
    run = places.RUNS["paper"]
    for notebook in notebooks.load(PAPER):
        receipt = receipts.read(notebook, run)
        assert receipt["profile"] == "paper"
        assert receipt["changed_parameters"] == {}
        assert receipt["parameters"] == notebook.parameters("paper", {})
        assert receipts.outdated(notebook, run) == [], (
            f"`make paper` after the last change of {notebook.name}"
        )
        assert receipts.altered(notebook, run) == []


def test_every_citation_has_an_entry_and_every_entry_is_cited():
    keys = set(re.findall(r"@\w+\{([^,]+),", (ROOT / "paper/references.bib").read_text()))
    cited = {k.strip() for group in re.findall(r"\\cite\w*\{([^}]*)\}", MAIN) for k in group.split(",")}
    assert cited == keys
