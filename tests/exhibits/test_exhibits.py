"""What is typeset of every experiment: each number that is shown, escaped labels, macros of one name."""

import re

import pandas as pd
import pytest
from made_up import HOSTILE, HOSTILE_ESCAPED, differs, frames, typeset

from t0qat.exhibits import verdicts
from t0qat.paper import PAPER
from t0qat.training.methods import REGISTRY

# What is shown of each file, by columns: in the table, a macro or a lookup.
SHOWN = {
    "table1": "reported mean std ci_low ci_high q025 median q975 reported_percentile",
    "table1_paired": "estimate ci_low ci_high",
    "integer_grids_overall": "estimate ci_low ci_high",
    "precision_full": "mean ci_low ci_high",
    "recommendation": "estimate ci_low ci_high",
    "claims": "estimate ci_low ci_high n",
}
ROWS = 20  # of each file, evenly


@pytest.mark.parametrize("name", SHOWN)
def test_every_changed_number_changes_what_is_typeset(name):
    before = frames()
    original = [*typeset(before, name)]
    for column in SHOWN[name].split():
        values = before[name][column]
        for i in range(0, len(values), -(-len(values) // ROWS)):
            if pd.notna(values[i]):
                value = values[i]
                table = before[name].astype({column: float})
                table.loc[i, column] = 2 * value + 11.3  # far from any value that is shown
                assert differs(before | {name: table}, name, original), f"{column} of row {i}"


def test_hostile_labels_are_escaped_and_leave_the_tables_whole(monkeypatch):
    tables = frames()
    monkeypatch.setitem(REGISTRY, "t0_qat", REGISTRY["t0_qat"]._replace(label=HOSTILE))
    for name in ("table1", "integer_grids"):
        body, macros = PAPER.exhibits[name](tables)
        assert HOSTILE_ESCAPED in body and HOSTILE not in body
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        cells = {len(re.findall(r"(?<!\\)&", line)) for line in rows}
        assert len(cells) == 1  # as many cells in every row, the header included
        assert all(name.isascii() and name.isalpha() for name in macros)
    claimed = tables["claims"].assign(condition=HOSTILE)
    said = tables["verdicts"].assign(claim=HOSTILE, as_published=HOSTILE)
    for show in (verdicts.condition_table, verdicts.verdict_table, verdicts.changed_table):
        body, _ = show(tables | {"claims": claimed, "verdicts": said})
        assert HOSTILE_ESCAPED in body and HOSTILE not in body
    more = tables["claims_exploratory"].assign(condition=HOSTILE)
    body, _ = verdicts.exploratory_table({"claims_exploratory": more})
    assert HOSTILE_ESCAPED in body and HOSTILE not in body


def test_macros_are_defined_once_over_all_exhibits():
    """Two experiments whose macros share a name would stop LaTeX, or silently show the wrong number."""
    tables = frames()
    names = [name for make in PAPER.exhibits.values() for name in make(tables)[1]]
    assert len(names) == len(set(names))
