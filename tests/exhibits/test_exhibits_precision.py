"""What is typeset of bits: every knee and flip, and sentences that follow the tests."""

import itertools

from made_up import differs, frames, typeset

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


def test_the_sentences_of_bits_count_what_intervals_and_corrected_tests_say():
    tables = frames()
    tables["precision_knee"].loc[3, "ci_high"] = 1.0  # one bit itself
    distances = tables["precision_knee"].query("quantity == 'distance'")
    near = sum(row.ci_high < 1 for row in distances.itertuples())
    assert 0 < near < len(distances)
    said = precision.precision(tables)[1]["PrecisionSentence"]
    assert said.endswith(f"in {near} of {len(distances)} cases.")
    flips = tables["precision_flips"]
    less = sum(row.p_holm < 0.05 and row.estimate < 0 for row in flips.itertuples())
    more = sum(row.p_holm < 0.05 and row.estimate > 0 for row in flips.itertuples())
    said = precision.flips(tables)[1]["PrecisionFlipsSentence"]
    assert said.endswith(f"in {less} of {len(flips)} comparisons, and more in {more}.")


def test_every_flip_stands_in_its_row_beside_the_method_that_it_is_held_against():
    tables = frames()
    flips = tables["precision_flips"]
    flips["estimate"] = [100.0 + i for i in range(len(flips))]
    flips["ci_low"], flips["ci_high"] = flips.estimate - 1, flips.estimate + 1
    flips["p_holm"] = [0.01 + 0.08 * (i % 2) for i in range(len(flips))]
    other = flips[flips.dataset != "synthetic"].index[0]
    body, _ = precision.flips(tables | {"precision_flips": flips.drop(index=other)})
    lines = [line.split(" & ") for line in body.splitlines() if " & " in line][1:]
    cases = flips.drop_duplicates(["dataset", "model", "bits", "flipped"])
    others = [*flips.other.unique()]
    assert len(lines) == len(cases)
    for cells, case in zip(lines, cases.itertuples(), strict=True):
        assert int(cells[2]) == case.flipped
        for cell, name in zip(cells[3:-1], others, strict=True):
            (row,) = flips[
                (flips.dataset == case.dataset) & (flips.flipped == case.flipped) & (flips.other == name)
            ].itertuples()
            if row.Index == other:
                assert cell == "--"
            else:
                assert cell.startswith(f"{row.estimate:.1f}")
                assert (r"\ast" in cell) == (row.p_holm < 0.05)
