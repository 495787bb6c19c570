"""The answers: whole sentences, in all their forms, chosen by the results alone."""

import re

import pandas as pd
import pytest

from t0qat.exhibits import answers
from t0qat.paper import PAPER
from t0qat.pipeline import latex, places, publish, readme, typeset
from t0qat.pipeline.notebooks import load
from t0qat.pipeline.results import ResultsError

# One value: a number, alone or with its interval and a power of ten.
NUMBER = r"−?\d[\d,]*(?:\.\d+)?"
VALUE = re.compile(rf"(?<![\w.]){NUMBER}(?: \[{NUMBER}, {NUMBER}\])?(?: · 10[⁻⁰-⁹¹²³]+)?(?![\w])")
SPAN = re.compile(rf"{NUMBER} to {NUMBER}")  # `10 to 34`, one value too


@pytest.fixture(scope="module")
def committed():
    return readme.read(PAPER, places.ROOT)


def moved(table: pd.DataFrame, to: float, half: float = 1e-3, **keys) -> pd.DataFrame:
    """The rows with these keys with another estimate, its interval, and p-values that go with them."""
    table, mine = table.copy(), pd.Series(True, table.index)
    for column, value in keys.items():
        mine &= table[column].isin(value if isinstance(value, list) else [value])
    assert mine.any(), keys
    centre = "estimate" if "estimate" in table else "mean"
    values = {centre: to, "ci_low": to - half, "ci_high": to + half}
    p = 0.0 if abs(to) > half else 1.0
    values |= {name: p for name in ("p_holm", "p_bh") if name in table}
    for column, value in values.items():
        table[column] = table[column].astype(float)
        table.loc[mine, column] = value
    return table


class Edit:
    """An edit: rows of a results file with other numbers, as of `moved`; gives all tables anew."""

    def __init__(self, file: str, to: float, half: float = 1e-3, **keys):
        self.file, self.to, self.half, self.keys = file, to, half, keys

    def __call__(self, tables: dict) -> dict:
        return tables | {self.file: moved(tables[self.file], self.to, self.half, **self.keys)}


def no_better_on_another(family: str, **keys):
    """An edit: on one more network, what is recommended is neither better nor worse than plain.

    keys: only in rows that have these.
    """

    def edit(tables):
        table = tables["recommendation"]
        mine = (table.family == family) & (table.pick == "recommended")
        rows = table[mine & (table.quantity == "minus_plain")].drop_duplicates("eval_bits")
        rows = moved(rows.assign(model="another"), to=-1.0)
        rows = moved(rows, to=0.0, **keys)
        return tables | {"recommendation": pd.concat([table, rows], ignore_index=True)}

    return edit


def without(file: str, **keys):
    """An edit: the rows with these keys are not there."""

    def edit(tables):
        (column, value), table = *keys.items(), tables[file]
        return tables | {file: table[~table[column].isin(value if isinstance(value, list) else [value])]}

    return edit


def column(file: str, name: str, value, **keys):
    """An edit: the rows with these keys have this value there."""

    def edit(tables):
        table = tables[file].copy()
        mine = pd.Series(True, table.index)
        for key, wanted in keys.items():
            mine &= table[key] == wanted
        assert mine.any(), keys
        table[name] = table[name].astype(object if isinstance(value, str) else float)
        table.loc[mine, name] = value
        return tables | {file: table}

    return edit


def both(*edits):
    def edit(tables):
        for each in edits:
            tables = each(tables)
        return tables

    return edit


GRIDS = "integer_grids_overall"
NEAR = {"file": "scale_neighbours", "quantity": "quantized"}
TUNED = {"scale_rule": "own", "quantity": "mean", "method": "t0_qat_tuned"}
CIRCUIT = {"file": "circuits_paired", "channel": "all", "way": "t0_qat_tuned"}
NOISE = {"file": "response_best", "method": ["t0_qat_tuned", "relative_noise"]}


def claimed(file: str, against: str = "plain"):
    return {"file": file, "against": against, **TUNED}


def plain_costs(widths, how_much=1.0, half=1e-3):
    return Edit("vision_kept", how_much, half, method="no_noise", eval_bits=widths, scale_rule="own")


def plain_is_best(widths):
    return both(
        *(column("vision_tuned", "mean", 0.0, method="no_noise", eval_bits=bits) for bits in widths)
    )


def beaten(family: str, to: float, **keys):
    """An edit: how far what is recommended lies from plain training, rounded, where it is another."""

    def edit(tables):
        table = tables["recommendation"]
        first = (table.family == family) & (table.eval_bits == 8) & (table.pick == "recommended")
        lone = table[first & (table.quantity == "loss")].assign(quantity="minus_plain")
        have = first & (table.quantity == "minus_plain")
        rows = table if have.any() else pd.concat([table[first], lone, table[~first]])
        moves = {"family": family, "pick": "recommended", "quantity": "minus_plain"} | keys
        return tables | {"recommendation": moved(rows.reset_index(drop=True), to, 1e-3, **moves)}

    return edit


def verdicts(**cells):
    """An edit: verdicts by column, the same for every claim or a list of one for each."""
    return lambda tables: tables | {"verdicts": tables["verdicts"].assign(**cells)}


# What gives each form. A notebook's question is put to these tables as to any others.
FORMS = {
    "table1/1": {
        "all": both(),
        "some": column("table1", "reported", 99.0, method="t0_qat", quantity="drop"),
        "none": both(
            *(
                column("table1", "reported", 99.0, method=m, quantity=q)
                for m in ("t0_qat", "standard_qat")
                for q in ("drop", "quantized", "full_precision")
            )
        ),
    },
    "table1/2": {
        "not detectably different from": Edit("table1_paired", 0.0, quantity="drop_difference"),
        "smaller than": Edit("table1_paired", -1.0, quantity="drop_difference"),
        "larger than": Edit("table1_paired", 1.0, quantity="drop_difference"),
    },
    "integer_grids/1": {
        "supported": Edit(GRIDS, -3.0, quantity="quantized"),
        "contradicted": Edit(GRIDS, 3.0, quantity="quantized"),
        "no effect": Edit(GRIDS, 0.0, quantity="quantized"),
        "undecided": Edit(GRIDS, 0.0, half=9.0, quantity="quantized"),
        "not measured yet": Edit(GRIDS, 0.0, half=0.0, quantity="quantized"),
    },
    "integer_grids/2": {
        "none": Edit(GRIDS, 0.01, quantity="drop"),
        "all": Edit(GRIDS, 9.0, quantity="drop"),
        "some": Edit(GRIDS, 9.0, quantity="drop", dataset="diabetes"),
    },
    "theory/1": {"none": both(), "some": column("theory", "z", 9.0, quantity="drop_mean")},
    "theory/2": {
        "later": Edit(
            "theory_training", 1.0, method="t0_qat", quantity="explained", schedule="decaying"
        ),
        "at once": Edit(
            "theory_training", 1.0, method="t0_qat", quantity="explained", schedule="constant"
        ),
        "never": Edit(
            "theory_training", 0.5, method="t0_qat", quantity="explained", schedule="decaying"
        ),
    },
    "scale/1": {
        "supported": Edit(**NEAR, to=-1.0),
        "contradicted": Edit(**NEAR, to=1.0),
        "no effect": Edit(**NEAR, to=0.0),
        "undecided": Edit(**NEAR, to=0.0, half=9.0),
        "not measured yet": Edit(**NEAR, to=0.0, half=0.0),
    },
    "scale/2": {
        "published": Edit("scale_excess", 1.0, xi_scaling=80000, quantity="quantized"),
        "alone": both(
            Edit("scale_excess", 0.0, xi_scaling=80000, quantity="quantized"),
            Edit("scale_excess", 1.0, xi_scaling=1, quantity="quantized"),
        ),
        "published and alone": Edit("scale_excess", 1.0, xi_scaling=[1, 80000], quantity="quantized"),
        "neither": Edit("scale_excess", 0.0, xi_scaling=[1, 80000], quantity="quantized"),
    },
    "constants/1": {
        "neither": Edit("constants", 0.0, quantity="unexplained_from_xi"),
        "larger": Edit("constants", 1.0, quantity="unexplained_from_xi"),
        "smaller": Edit("constants", -1.0, quantity="unexplained_from_xi"),
        "larger and smaller": both(
            Edit("constants", 1.0, quantity="unexplained_from_xi"),
            Edit("constants", -1.0, quantity="unexplained_from_xi", dataset="diabetes"),
        ),
    },
    "constants/2": {
        "same": both(),
        "differ": column("constants_product", "largest_difference", 0.01, constant="weak_mixing"),
    },
    "calibration/1": {
        "some": both(),
        "all": column("calibration", "estimate", 0.5, quantity="p_value"),
        "none": column("calibration", "estimate", 0.0, quantity="p_value"),
    },
    "calibration/2": {
        "none": column("calibration_verdicts", "verdict", "contradicted", id="C1"),
        "some": column("calibration_verdicts", "verdict", "supported", id="C1", target="sum"),
        "all": column("calibration_verdicts", "verdict", "supported", id="C1"),
        "nothing left": column("calibration", "estimate", 0.0, quantity="p_value"),
    },
    "precision/1": {
        "none": Edit("precision_knee", 5.0, quantity="distance"),
        "some": Edit("precision_knee", 0.5, quantity="distance", dataset="diabetes"),
        "all": Edit("precision_knee", 0.5, quantity="distance"),
    },
    "precision/2": {
        "above": Edit("precision_knee", 1.0, quantity="difference"),
        "below": Edit("precision_knee", -1.0, quantity="difference"),
        "mixed": Edit("precision_knee", -1.0, quantity="difference", dataset="diabetes"),
    },
    "vision/1": {
        "none": plain_costs([8, 4, 3, 2], 0.0),
        "open": plain_costs([8, 4, 3, 2], 0.0, half=1.0),
        "some": both(plain_costs([8, 4, 3], 0.0), plain_costs([2])),
        "some, plain": both(plain_costs([8, 4, 3], 0.0), plain_costs([2]), plain_is_best([2])),
        "all": plain_costs([8, 4, 3, 2]),
        "all, plain": both(plain_costs([8, 4, 3, 2]), plain_is_best([2])),
    },
    "vision/2": {
        "supported": Edit(**claimed("vision_any_paired"), to=-1.0),
        "contradicted": Edit(**claimed("vision_any_paired"), to=1.0),
        "no effect": Edit(**claimed("vision_any_paired"), to=0.0),
        "undecided": Edit(**claimed("vision_any_paired"), to=0.0, half=1.0),
        "not learned": Edit("vision", 0.1, metric="accuracy", method="t0_qat_tuned"),
        "not measured yet": without("vision_any_paired", model="mlp"),
    },
    "language/1": {
        "supported": Edit(**claimed("language_any_paired"), to=-1.0),
        "supported, little": both(),
        "contradicted": Edit(**claimed("language_any_paired"), to=1.0),
        "no effect": Edit(**claimed("language_any_paired"), to=0.0),
        "undecided": Edit(**claimed("language_any_paired"), to=0.0, half=1.0),
        "not learned": Edit("language", 9.0, metric="bits_per_character", method="t0_qat_tuned"),
        "not measured yet": without("language_any_paired", model="small_llama"),
    },
    "language/2": {
        "higher": Edit(**claimed("language_any_paired", "best_baseline"), to=1.0),
        "lower": Edit(**claimed("language_any_paired", "best_baseline"), to=-1.0),
        "open": Edit(**claimed("language_any_paired", "best_baseline"), to=0.0, model="small_gpt2"),
        "not run": without("language_any_paired", against="best_baseline"),
    },
    "response/1": {
        "none": Edit(**NOISE, to=1.0),
        "chance": both(
            Edit(**NOISE, to=1.0), Edit(**NOISE, to=-1.0, eval_bits=2, budget=1, strength=30)
        ),
        "some": both(Edit(**NOISE, to=1.0), Edit(**NOISE, to=-1.0, eval_bits=2)),
    },
    "response/2": {
        "ste": column("response_best", "loss", 0.0, method="random_bits"),
        "noise": column("response_best", "loss", 99.0, method="random_bits"),
        "even": both(
            column("response_best", "loss", 0.0, method="random_bits", model="small_gpt2"),
            column("response_best", "loss", 99.0, method="random_bits", model="deep_cnn"),
        ),
    },
    **{
        f"recommendation/{n}": {
            "nowhere": beaten(family, to=1.0),
            "everywhere": beaten(family, to=-1.0),
            "everywhere, partly": both(
                beaten(family, to=-1.0), no_better_on_another(family, eval_bits=2)
            ),
            "lowest": both(beaten(family, to=1.0), beaten(family, to=-1.0, eval_bits=2)),
            "lowest, partly": both(
                beaten(family, to=1.0),
                beaten(family, to=-1.0, eval_bits=2),
                no_better_on_another(family),
            ),
            "mixed": both(beaten(family, to=1.0), beaten(family, to=-1.0, eval_bits=4)),
            "not run": without("recommendation", family=family),
        }
        for n, family in enumerate(("images", "text"), 1)
    },
    "deployment/1": {
        "same": both(),
        "within": column(
            "deployment", "mean", 1.0, metric="differing", runtime="onnxruntime", model="mlp"
        ),
        "beyond": both(
            column("deployment", "mean", 1.0, metric="differing", runtime="onnxruntime", model="mlp"),
            column("deployment", "mean", -0.5, metric="difference", runtime="onnxruntime", model="mlp"),
        ),
    },
    "deployment/2": {
        "all": both(),
        "some": column("deployment", "mean", 1e12, metric="file_bytes", model="mlp", eval_bits=2),
        "none": column("deployment", "mean", 1e12, metric="file_bytes", eval_bits=2),
        "not run": without("deployment", eval_bits=[8, 4, 3, 2]),
    },
    "circuits/1": {
        "supported": Edit(**CIRCUIT, to=0.1),
        "contradicted": Edit(**CIRCUIT, to=-0.1),
        "no effect": Edit(**CIRCUIT, to=0.0),
        "undecided": Edit(**CIRCUIT, to=0.0, half=0.5),
        "not learned": Edit("circuits_robust", 0.1, way="t0_qat_tuned", channel="none"),
        "not measured yet": without("circuits_paired", model="circuit_0123"),
    },
    "circuits/2": {
        "none": Edit("circuits_paired", 0.0, way="t0_qat", other_way="guess"),
        "some": both(
            Edit("circuits_paired", 0.0, way="t0_qat", other_way="guess"),
            Edit("circuits_paired", 0.3, way="t0_qat", other_way="guess", model="circuit_38"),
        ),
        "all": Edit("circuits_paired", 0.3, way="t0_qat", other_way="guess"),
        "not run": without("circuits_paired", other_way="guess"),
    },
    "claims/1": {
        "none": verdicts(as_published="undecided", scale_tuned="no effect"),
        "one": verdicts(as_published="undecided", scale_tuned=[*["no effect"] * 12, "supported"]),
        "some": verdicts(as_published="undecided", scale_tuned="supported"),
        "all": verdicts(as_published="supported", scale_tuned="supported"),
    },
    "claims/2": {
        "equal and open": verdicts(as_published="no effect", scale_tuned="undecided"),
        "equal": verdicts(as_published="no effect", scale_tuned="contradicted"),
        "open": verdicts(as_published="supported to INT4", scale_tuned="undecided"),
        "decided": verdicts(as_published="supported", scale_tuned="contradicted at INT2"),
    },
}
EVERY = [(place, form) for place, forms in FORMS.items() for form in forms]


def test_every_notebook_has_an_answer_and_every_answer_a_notebook():
    published = {
        name for nb in load(PAPER) for name in re.findall(r"publish\(\\\"(\w+)", nb.path.read_text())
    }
    assert published == set(answers.MODULES)


def test_every_form_of_every_sentence_is_among_those_rendered_here():
    assert {place: [*forms] for place, forms in answers.sentences().items()} == {
        place: [form for form in answers.sentences()[place] if form in forms]
        for place, forms in FORMS.items()
    }


@pytest.mark.parametrize(("place", "form"), EVERY)
def test_each_form_is_chosen_by_the_results_and_is_a_short_whole_sentence(place, form, committed):
    tables = FORMS[place][form](committed)
    assert answers.chosen(place, tables.__getitem__)[0] == form
    text = answers.answer(place, tables.__getitem__)
    assert re.fullmatch(r"[A-Z].*[^.]\.", text), text
    assert not re.search(r"[${}]|\\|\bnan\b|–| {2}", text), text
    values = VALUE.findall(SPAN.sub("1", text.replace("95 %", "").replace("T0-QAT", "")))
    assert len(values) <= 3, (values, text)
    assert len(VALUE.sub("1", text).split()) <= 30, text


def test_an_answer_is_both_of_its_sentences(committed):
    for experiment in answers.MODULES:
        first, second = (answers.answer(f"{experiment}/{n}", committed.__getitem__) for n in (1, 2))
        assert answers.answer(experiment, committed.__getitem__) == f"{first} {second}"


# What a sentence hangs on: a results file, and rows of it. Another sign there is another sentence.
SIGNS = {
    "table1/2": ("table1_paired", {"quantity": "drop_difference"}),
    "integer_grids/1": (GRIDS, {"quantity": "quantized"}),
    "scale/1": ("scale_neighbours", {"quantity": "quantized"}),
    "scale/2": ("scale_excess", {"xi_scaling": 80000, "quantity": "quantized"}),
    "constants/1": ("constants", {"quantity": "unexplained_from_xi"}),
    "precision/2": ("precision_knee", {"quantity": "difference"}),
    "vision/2": ("vision_any_paired", TUNED | {"against": "plain"}),
    "language/1": ("language_any_paired", TUNED | {"against": "plain"}),
    "language/2": ("language_any_paired", TUNED | {"against": "best_baseline"}),
    "response/1": ("response_best", {"method": ["t0_qat_tuned", "relative_noise"], "eval_bits": 2}),
    "circuits/1": ("circuits_paired", {"channel": "all", "way": "t0_qat_tuned"}),
    "circuits/2": ("circuits_paired", {"way": "t0_qat", "other_way": "guess"}),
}


@pytest.mark.parametrize("place", SIGNS)
@pytest.mark.parametrize("size", [0.2, 3.0])
def test_another_sign_is_another_sentence(place, size, committed):
    file, keys = SIGNS[place]
    above, below = (Edit(file, sign * size, **keys)(committed) for sign in (1, -1))
    forms = {answers.chosen(place, tables.__getitem__)[0] for tables in (above, below)}
    assert len(forms) == 2, forms


def test_values_are_those_of_the_results(committed):
    tables = Edit("table1_paired", 1.25, half=0.25, quantity="drop_difference")(committed)
    assert "(difference 1.25 [1.00, 1.50])" in answers.answer("table1/2", tables.__getitem__)
    tables = column("table1", "n", 77.0)(committed)
    assert "our 77 runs" in answers.answer("table1/1", tables.__getitem__)
    tables = both(
        Edit("language_any_paired", -0.5, half=0.1, **TUNED, against="plain", model="small_gpt2"),
        Edit("language_any_paired", -0.7, half=0.1, **TUNED, against="plain", model="small_llama"),
    )(committed)
    said = answers.answer("language/1", tables.__getitem__)
    assert "0.50 [0.40, 0.60] on the small GPT-2 and 0.70 [0.60, 0.80] on the small Llama" in said


@pytest.mark.parametrize("place", ["visio", "vision/3", "vision/", "/1", "", "vision/1/2"])
def test_an_unknown_answer_is_one_line_that_names_what_there_is(place, committed):
    with pytest.raises(ResultsError) as error:
        answers.answer(place, committed.__getitem__)
    assert str(error.value).startswith(f"no answer is named {place!r}; there are table1, integer_grids")
    assert "\n" not in str(error.value)


def test_latex_looks_answers_up(committed):
    source = "\\Answer{table1/2} or \\Answer{scale}"
    shown = typeset.lookup_macros(PAPER, source, places.ROOT)
    for place in ("table1/2", "scale"):
        said = latex.tex(answers.answer(place, committed.__getitem__))
        assert rf"\csname Answer/{place}\endcsname{{{said}}}" in shown
    with pytest.raises(typeset.TypesetError, match=r"^the manuscript: no answer is named 'sclae'; "):
        typeset.lookup_macros(PAPER, r"\Answer{sclae}", places.ROOT)


TABLES = ("table1", "table1_paired", "table1_same_method")


def published(committed, monkeypatch, stage, run: str = "", edit=None) -> str:
    monkeypatch.setenv(places.STAGE, str(stage))
    monkeypatch.setenv(places.RUN, run)
    tables = edit(committed) if edit else committed
    return publish.publish(PAPER, "table1", {name: tables[name] for name in TABLES}, {}).data


SMALLER = Edit("table1_paired", -1.0, quantity="drop_difference")


def test_by_hand_the_full_runs_answer_stands_first(committed, tmp_path, monkeypatch):
    text = published(committed, monkeypatch, tmp_path, edit=SMALLER)
    full, own = text.split("\n\n")
    assert full == f"**The full run:** {answers.answer('table1', committed.__getitem__)}"
    tables = SMALLER(committed)
    assert own == f"**With the parameters above:** {answers.answer('table1', tables.__getitem__)}"


def test_by_hand_the_same_answer_is_said_once(committed, tmp_path, monkeypatch):
    text = published(committed, monkeypatch, tmp_path)
    assert text == answers.answer("table1", committed.__getitem__)


@pytest.mark.parametrize("run", ["paper", "smoke", "verify", "run/01_table1"])
def test_under_make_a_notebook_gives_its_own_answer_and_reads_no_other(
    run, committed, tmp_path, monkeypatch
):
    monkeypatch.setattr(places, "ROOT", tmp_path / "nothing is here")
    text = published(committed, monkeypatch, tmp_path, run, SMALLER)
    assert text == answers.answer("table1", SMALLER(committed).__getitem__)


@pytest.mark.parametrize(
    "content", [None, "", "method,quantity\n", "\xff\n", "a table of another kind\n1\n"]
)
def test_a_full_run_that_cannot_be_read_is_left_out(content, committed, tmp_path, monkeypatch):
    monkeypatch.setattr(places, "ROOT", tmp_path / "copy")
    if content is not None:
        places.write(tmp_path / "copy/paper/results/table1.csv", content)
    text = published(committed, monkeypatch, tmp_path, edit=SMALLER)
    assert text == answers.answer("table1", SMALLER(committed).__getitem__)


def test_publishing_makes_every_exhibit_of_the_experiment(committed, tmp_path, monkeypatch):
    monkeypatch.setenv(places.STAGE, str(tmp_path))
    names = [name for name in PAPER.results if name.startswith("vision")]
    answer = publish.publish(PAPER, "vision", {name: committed[name] for name in names}, {}).data
    assert answer == answers.answer("vision", committed.__getitem__)
    made = {path.stem for path in (tmp_path / "paper" / "macros").iterdir()}
    assert made == {name for name in PAPER.exhibits if name.startswith("vision")}
