"""Results files: what is written comes back to nine digits, and a damaged file is named, not used."""

import csv
import io
import itertools
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from t0qat.experiments.arms import LOUD_RATES
from t0qat.paper import PAPER
from t0qat.pipeline import results
from t0qat.pipeline.results import ResultsError
from t0qat.training.methods import named

TABLE1 = (
    "method,quantity,evaluation_noise,reported,mean,std,ci_low,ci_high,q025,median,q975,reported_percentile,n\n"
    "t0_qat,drop,0.4458,1.435758,2.2007,2.69e-05,2.148,2.253,-2.52,2.1,8.03,37.26,10000\n"
    "no_noise,drop,0.4458,,2.18,1.0,2.16,2.2,0.65,2.05,4.58,,10000\n"
)
CLAIMS = (
    "id,column,condition,estimate,ci_low,ci_high,n,margin,p_better,p_worse,p_equal,p_corrected,"
    "detectable,skewness,wanted\n"
    'C1,as_published,"drop, mean",0.02,-0.02,0.06,200,0.1,0.16,0.84,0.01,0.2,0.07,-0.5,17\n'
    'C2,scale_tuned,"bits, mean",,,,,0,,,,,,,\n'
)
# What a number looks like in a results file; not taken from the code that reads it.
NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]\d+)?")

numbers = st.floats(-1e300, 1e300).map(lambda x: x + 0.0)  # no -0.0, which a file of whole numbers loses


@pytest.fixture
def home(tmp_path):
    (tmp_path / "paper" / "results").mkdir(parents=True)
    return tmp_path


def written(home, name: str, content: str | bytes):
    path = home / "paper" / "results" / f"{name}.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return home


def test_networks_of_the_full_run_learned_their_task():
    """Plain training, not rounded: what all else is compared with would say nothing otherwise."""
    plain = "method == 'no_noise' and eval_bits == 32 and metric == "
    assert (results.read(PAPER, "vision").query(plain + "'accuracy'")["mean"] > 0.85).all()
    text = results.read(PAPER, "language").query(plain + "'bits_per_character'")
    assert text["mean"].between(1.5, 4.5).all()  # of 6.6 for a guess among 96 characters
    images = "method == 'no_noise' and dataset.str.startswith('digits')"
    losses = results.read(PAPER, "precision_full").query(images)
    assert (losses["mean"] < 0.7).all()  # nats, of 2.3 for a guess among ten classes


def test_noise_that_is_tuned_less_leaves_image_networks_at_or_near_chance_at_every_rate():
    """The text gives this as the reason."""
    tried = results.read(PAPER, "vision_tuning")
    loud = named(lambda method: method.loud)
    few = tried[tried.method.isin(loud)]
    assert few.groupby(["model", "method"]).size().eq(LOUD_RATES).all()
    accuracy = results.read(PAPER, "vision").query("metric == 'accuracy'")
    for methods, near in ((["t0_qat"], 0.03), (loud, 0.15)):  # of the paper, and its baseline's too
        lost = few[few.method.isin(methods)]["mean"]
        assert lost.between((1 - near) * np.log(10), np.log(10) + 1e-6).all()  # nats, of ten classes
        assert accuracy[accuracy.method.isin(methods)]["mean"].between(0.1 - near, 0.1 + near).all()


def test_intact_files_are_read_with_their_types(home):
    table = results.read(PAPER, "table1", written(home, "table1", TABLE1))
    assert table["n"].tolist() == [10000, 10000] and table["std"].tolist() == [2.69e-05, 1.0]
    assert table["reported"].isna().tolist() == [False, True]
    claims = results.read(PAPER, "claims", written(home, "claims", CLAIMS))
    assert claims.condition.tolist() == ["drop, mean", "bits, mean"]
    assert claims.p_corrected.isna().tolist() == [False, True]


@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(st.lists(numbers, min_size=3, max_size=3), st.integers(2, 10**7)),
        min_size=1,
        max_size=4,
    )
)
def test_what_is_written_comes_back_to_nine_digits(home, rows):
    table = pd.DataFrame(
        [["drop_difference", *losses, n] for losses, n in rows],
        columns=PAPER.columns_of("table1_paired"),
    )
    content = results.text(PAPER, "table1_paired", table)
    back = results.read(PAPER, "table1_paired", written(home, "table1_paired", content))
    for column in ("estimate", "ci_low", "ci_high", "n"):
        np.testing.assert_allclose(back[column], table[column], rtol=5.1e-9, atol=1e-300)
    assert back["n"].tolist() == table["n"].tolist()
    # Written again it is the same file: what is made from a file does not drift.
    assert results.text(PAPER, "table1_paired", back) == content


def test_text_holds_the_columns_of_its_file_in_order_and_drops_others():
    table = pd.DataFrame(
        {"n": [3], "p": [0.1], "estimate": [1 / 3], "quantity": ["x"], "ci_high": [1.0]}
    )
    text = results.text(PAPER, "table1_paired", table.assign(ci_low=0.25))
    assert text == "quantity,estimate,ci_low,ci_high,n\nx,0.333333333,0.25,1,3\n"
    with pytest.raises(KeyError, match="ci_low"):
        results.text(PAPER, "table1_paired", table)


def test_every_column_of_every_file_is_explained():
    assert {column for file in PAPER.results for column in PAPER.columns_of(file)} == set(PAPER.columns)


HEADER, FIRST, LAST = TABLE1.splitlines(keepends=True)
COLUMNS_ERROR = "line 1: the columns must be method,quantity"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (TABLE1, "", COLUMNS_ERROR),
        (TABLE1, "\n", COLUMNS_ERROR),
        (HEADER, "", COLUMNS_ERROR),
        ("ci_low", "ci_lo", COLUMNS_ERROR),
        ("mean,std", "std,mean", COLUMNS_ERROR),
        (FIRST + LAST, "", "cut short at line 1"),
        (LAST, LAST.rstrip("\n"), "cut short at line 3"),
        (LAST, LAST[:20], "cut short at line 3"),
        ("2.2007", "2.2x07", "line 2: mean = '2.2x07'"),
        ("2.18", "nan", "line 3: mean = 'nan'"),
        ("2.18", "", "line 3: mean = ''"),
        ("0.65", "-inf", "line 3: q025 = '-inf'"),
        ("0.65", "1e999", "line 3: q025 = '1e999'"),
        ("8.03", "8_03", "line 2: q975 = '8_03'"),
        ("0.65", "0,65", "line 3: 13 fields"),
        ("37.26,", "", "line 2: 13 fields"),
        ("no_noise", "\n", "line 3: 13 fields"),
        ("no_noise", "", "line 3: method = ''"),
        ("no_noise", "no noise", "line 3: method = 'no noise'"),
        ("t0_qat", "t1_qat", "line 2: method = 't1_qat'"),
        ("10000", "10000.5", "line 2: n = '10000.5'"),
        ("10000", "-10000", "line 2: n = '-10000'"),
    ],
)
def test_a_damaged_file_stops_with_one_line_that_names_file_line_and_column(home, old, new, message):
    with pytest.raises(ResultsError) as caught:
        results.read(PAPER, "table1", written(home, "table1", TABLE1.replace(old, new, 1)))
    assert str(caught.value).startswith("paper/results/table1.csv")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_stops_with_one_line_that_says_what_makes_it(home):
    with pytest.raises(
        ResultsError, match=r"^paper/results/claims\.csv is missing; `make paper` makes it$"
    ):
        results.read(PAPER, "claims", home)
    (home / "paper" / "results" / "claims.csv").mkdir()
    with pytest.raises(ResultsError, match=r"^paper/results/claims\.csv"):
        results.read(PAPER, "claims", home)


@pytest.mark.parametrize(("name", "content"), [("table1", TABLE1), ("claims", CLAIMS)])
def test_a_file_cut_anywhere_within_a_line_is_not_used(home, name, content):
    """A cut at the end of a line leaves a whole, shorter file; its receipt knows better."""
    whole = {i + 1 for i, character in enumerate(content) if character == "\n"} - {
        content.index("\n") + 1
    }
    for length in set(range(len(content))) - whole:
        with pytest.raises(ResultsError, match=rf"^paper/results/{name}\.csv"):
            results.read(PAPER, name, written(home, name, content[:length]))


@pytest.mark.parametrize(("name", "content"), [("table1", TABLE1), ("claims", CLAIMS)])
def test_any_flipped_bit_is_refused_or_leaves_a_well_formed_file(home, name, content):
    """Every bit of the file in turn: a ResultsError, or names and plain decimal numbers as before.

    A digit that became another digit cannot be seen here; that is what receipts are for.
    """
    intact = results.read(PAPER, name, written(home, name, content))
    may_be_empty = {c.rstrip("?") for c in PAPER.results[name].split() if c.endswith("?")}
    numeric = [c for c in intact if PAPER.columns[c].is_number]
    accepted, surprises = 0, set()
    for i in range(len(content)):
        for bit in range(8):
            flipped = bytearray(content.encode())
            flipped[i] ^= 1 << bit
            context = flipped[max(0, i - 4) : i + 5]
            try:
                table = results.read(PAPER, name, written(home, name, flipped))
            except ResultsError as error:
                assert str(error).startswith(f"paper/results/{name}.csv") and "\n" not in str(error)
                continue
            except Exception as error:
                surprises.add(f"{type(error).__name__} at {bytes(context)}")
                continue
            accepted += 1
            if list(table.columns) != list(intact.columns) or len(table) != len(intact):
                surprises.add(f"another shape at {bytes(context)}")
                continue
            text = flipped.decode(errors="replace")
            if "\N{REPLACEMENT CHARACTER}" in text:
                surprises.add(f"no text at {bytes(context)}")
            cells = list(csv.DictReader(io.StringIO(text, newline="")))
            for column, cell in itertools.product(numeric, cells):
                plain = NUMBER.fullmatch(cell[column]) or (cell[column] == "" and column in may_be_empty)
                if not plain or not pd.api.types.is_numeric_dtype(table[column]):
                    surprises.add(f"{column} = {cell[column]!r}")
    assert not surprises
    assert accepted > 0  # letters in names and digits in numbers do pass


KEPT = (
    ",".join(PAPER.columns_of("vision_kept"))
    + "\n{},{},4,own,{},{},unrounded,no_noise,0,0.1,0,0.2,9,0.02,1,1,0.1,-0.5,\n"
)


@pytest.mark.parametrize(
    ("where", "layout", "method", "model_bits", "wrong"),
    [
        ("digits,small_cnn", "channels", "sam", "0", None),
        ("mnist_784,mlp", "groups", "ste", "4", None),
        ("some/file.npz,mlp", "everything", "ste", "4", None),
        (",mlp", "channels", "ste", "4", "dataset = ''"),
        ("digits,vgg", "channels", "ste", "4", "model = 'vgg'"),
        ("digits,mlp", "rows", "ste", "4", "layout = 'rows'"),
        ("digits,mlp", "channels", "half_sam", "0", "method = 'half_sam'"),
        ("digits,mlp", "channels", "ste", "four", "train_bits = 'four'"),
    ],
)
def test_files_of_images_hold_registered_methods_and_any_data_set(
    home, where, layout, method, model_bits, wrong
):
    written(home, "vision_kept", KEPT.format(where, layout, method, model_bits))
    if wrong is None:
        assert results.read(PAPER, "vision_kept", home).n.tolist() == [9]
    else:
        with pytest.raises(ResultsError, match=wrong):
            results.read(PAPER, "vision_kept", home)
