"""What is typeset of bits: every knee and flip, and counts that follow the tests."""

import itertools

from made_up import SUBJECTS, differs, frames, typeset

from t0qat.exhibits import precision


def test_every_changed_knee_and_flip_changes_what_is_typeset():
    before = frames()
    for name, mine in (
        ("precision_knee", lambda rows: rows.quantity.isin(["knee", "xi_bits"])),
        ("precision_flips", lambda rows: (rows.flipped == 2) & (rows.other == "standard_qat")),
    ):
        original = [*typeset(before, name)]
        rows = before[name].index[mine(before[name])]
        for i, column in zip(rows, itertools.cycle(("estimate", "ci_low", "ci_high")), strict=False):
            table = before[name].copy()
            table.loc[i, column] += 0.5
            assert differs(before | {name: table}, name, original), f"{column} of row {i}"


def test_precision_macros_count_what_the_intervals_and_the_corrected_tests_say():
    tables = frames()
    flips = tables["precision_flips"]
    flips.loc[3, ["estimate", "ci_low", "ci_high", "p_holm"]] = 0.0, 0.0, 0.0, 1.0  # nothing in any pair
    macros = precision.precision(tables)[1]
    near = above = below = 0
    for row in tables["precision_knee"].itertuples():
        near += row.quantity == "distance" and row.ci_high < 1
        above += row.quantity == "difference" and row.ci_low > 0
        below += row.quantity == "difference" and row.ci_high < 0
    found = [int(macros[f"Precision{name}"]) for name in ("Near", "DifferenceAbove", "DifferenceBelow")]
    assert found == [near, above, below] and near and above and below
    counted = {"Smaller": 0, "Larger": 0, "Unclear": 0, "Same": 0}
    for row in flips.itertuples():
        word = "Unclear" if row.p_holm >= 0.05 else "Larger" if row.estimate > 0 else "Smaller"
        counted["Same" if row.estimate == 0 else word] += 1
    assert {key: int(macros[f"PrecisionFlips{key}"]) for key in counted} == counted
    assert len(flips) == sum(counted.values()) and all(counted.values())
    assert macros["PrecisionReplicates"].count("2,000") == len(SUBJECTS)
