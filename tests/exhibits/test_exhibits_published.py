"""What is typeset of the published experiment and of integer grids: counts, ranks and rows."""

import re

import pytest
from made_up import DATASETS, differs, frames, typeset

from t0qat.exhibits import grids, table1
from t0qat.training.methods import on_layer


def test_changed_grid_losses_change_what_is_typeset():
    before, name = frames(), "integer_grids"
    original = [*typeset(before, name)]
    rows = before[name]
    # Losses in full precision are the same at every bit-width and are shown once.
    shown = (rows.quantity == "quantized") | ((rows.quantity == "full_precision") & (rows.bits == 4))
    for i in rows.index[shown]:
        for column in ("mean", "ci_low", "ci_high"):
            table = rows.copy()
            table.loc[i, column] += 0.5
            assert differs(before | {name: table}, name, original), f"{column} of row {i}"


def test_counts_of_grids_are_those_of_the_corrected_tests():
    tables = frames()
    pairs = tables["integer_grids_paired"]
    body, macros = grids.counts(tables)
    lines = [line.rstrip("\\ ").split(" & ") for line in body.splitlines() if " & " in line][1:]
    dataset, over = "", {"Smaller": 0, "Larger": 0, "Unclear": 0}
    for cells in lines:
        dataset, quantity = cells[0].strip().lower() or dataset, cells[1].lower()
        mine = pairs[(pairs.dataset == dataset) & (pairs.quantity == quantity)]
        counted, detectable = {"Smaller": 0, "Larger": 0, "Unclear": 0}, []
        for row in mine[mine.other == "standard_qat"].itertuples():
            word = "Unclear" if row.p_holm >= 0.05 else "Larger" if row.estimate > 0 else "Smaller"
            counted[word] += 1
            over[word] += quantity == "quantized"
            detectable.append(row.detectable)
        assert [*map(int, cells[3:6])] == [*counted.values()]
        least, most = map(float, cells[6].split(" to "))
        assert (least, most) == pytest.approx((min(detectable), max(detectable)), rel=0.05)
    assert len(lines) == 2 * len(DATASETS)
    assert macros["GridsSentence"] == grids.rounded(over)


def test_macros_count_and_rank_the_reported_numbers():
    tables = frames()
    table = tables["table1"]
    table.loc[0, ["reported", "q025", "q975", "reported_percentile"]] = [
        1.0,
        1.0,
        2.0,
        2.5,
    ]  # on the edge
    table.loc[1, ["reported", "q025", "q975", "reported_percentile"]] = [2.1, 1.0, 2.0, 99.0]
    macros = table1.table1(tables)[1]
    assert macros["TableOneInsideSentence"] == table1.reproduced(5, 6)
    assert macros["TableOneReportedReduction"] == "51.1"


def test_every_method_has_its_rows_and_the_reported_numbers_stand_beside_theirs():
    tables = frames()
    body = table1.table1(tables)[0]
    rows = [line.split(" & ") for line in body.splitlines() if line.endswith(r"\\")][1:]
    assert [row[0] for row in rows if row[0]] == [method.label for method in on_layer().values()]
    assert [row[2] for row in rows] == ["3.3000"] * 6 + ["--"] * 3
    assert [row[-1] for row in rows] == [r"41 \\"] * 6 + [r"-- \\"] * 3
    assert body.count(r"\midrule") == len(on_layer())
    for row, source in zip(rows, tables["table1"].itertuples(), strict=True):
        mean, low, high = map(float, re.findall(r"-?[\d.]+", row[3]))
        assert (mean, low, high) == pytest.approx((source.mean, source.ci_low, source.ci_high), rel=0.02)
