"""What is typeset of the theory: every number, and what lies beyond its limits."""

import re

import pytest
from made_up import differs, frames, typeset

from t0qat.exhibits import theory


def test_every_shown_number_of_the_theory_changes_what_is_typeset():
    before = frames()
    shown = {
        "theory_expansion": lambda rows: (rows.quantity == "ratio") & (rows.noise_scale > 10),
        "theory_norms": lambda rows: (
            (rows.quantity == "weight_norm") | ((rows.quantity == "curvature") & (rows.noise_scale == 0))
        ),
        "theory_training": lambda rows: (
            (rows.quantity == "explained") & (rows.method == "t0_qat") & (rows.epoch > 0)
        ),
    }
    for name, which in shown.items():
        original = [*typeset(before, name)]
        for i in before[name].index[which(before[name])]:
            for column in ("mean", "ci_low") if name == "theory_training" else ("mean",):
                table = before[name].copy()
                table.loc[i, column] += 0.5
                assert differs(before | {name: table}, name, original), f"{name}: {column} of row {i}"


def test_checks_count_what_lies_beyond_the_limit():
    tables = frames()
    (line, *_) = rows_below(theory.checks(tables)[0])
    limit = float(line[3])
    tables["theory"]["z"] = [0.5, -limit - 0.1, limit - 0.1]
    body, macros = theory.checks(tables)
    (line, other) = rows_below(body)
    assert line[1:4] == ["3", "1", f"{limit:.2f}"] and other[2] == "0"
    assert float(line[4]) == pytest.approx(limit + 0.1, abs=0.006)
    assert macros["TheorySentence"] == theory.agreement(1)


def test_theory_stands_beside_what_is_left_of_the_way():
    tables = frames()
    table = tables["theory_training"]
    places = [("constant", 300), ("constant", 3000), ("decaying", 300), ("decaying", 3000)]
    for i, (schedule, epoch) in enumerate(places):
        mine = (table.method == "t0_qat") & (table.schedule == schedule) & (table.epoch == epoch)
        for j, quantity in enumerate(("explained", "left", "left_predicted")):
            table.loc[mine & (table.quantity == quantity), "mean"] = 0.1 + 0.2 * i + 0.05 * j
    rows = rows_below(theory.learned(tables)[0])[1:]
    for i, cells in enumerate(rows[:2]):
        shown = [float(re.match(r"[\d.]+", cell)[0]) for cell in cells[2:]]
        expected = [10 + 40 * i + 20 * k + 5 * j for k in range(2) for j in range(3)]
        assert shown == pytest.approx(expected)
    assert rows[2][0] == "No noise" and rows[2].count("--") == 4


def rows_below(body: str) -> list[list[str]]:
    """Cells of the lines below the first."""
    return [line.rstrip("\\ ").split(" & ") for line in body.splitlines() if " & " in line][1:]
