"""What exhibits say of a small run of the scale experiments: tables, sentences, figures."""

import re

import numpy as np
import pandas as pd
import pytest
from test_scale import GRID, SMALL

from t0qat.exhibits import calibration as calibrated
from t0qat.exhibits import figures
from t0qat.exhibits import scale as scales
from t0qat.experiments import calibration, noise_choice, scale
from t0qat.paper import PAPER
from t0qat.pipeline import grid, results


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> dict[str, pd.DataFrame]:
    """Every results file of the scale notebook, from tiny runs, written and read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid, "STORE", tmp_path_factory.mktemp("cells"))
        sweep = scale.sweep(replicates=6, points=5, **SMALL)
        arms = noise_choice.tuning(replicates=6, tuning_points=2, bits=[4], **SMALL)
        added, product = noise_choice.constants(replicates=6, bits=[4], **SMALL)
        runs = calibration.calibrate(calibration_replicates=170, **GRID)
    agreed = calibration.compatibility(runs, 0.25)
    made = {
        "scale": scale.sweep_losses(sweep),
        "scale_best": scale.best(sweep),
        "scale_excess": scale.excess(sweep),
        "scale_neighbours": scale.neighbours(sweep),
        "scale_arms": noise_choice.arm_means(arms),
        "scale_tuning": noise_choice.arm_differences(arms),
        "constants": added,
        "constants_product": product,
        "calibration": agreed,
        "calibration_verdicts": calibration.setting_verdicts(agreed),
    }
    home = tmp_path_factory.mktemp("home")
    (home / "paper/results").mkdir(parents=True)
    for name, table in made.items():
        (home / f"paper/results/{name}.csv").write_text(results.text(PAPER, name, table))
    return {name: results.read(PAPER, name, home) for name in made}


def test_each_row_is_told_apart_by_its_keys(small):
    for name, table in small.items():
        keys = [c for c in table if PAPER.columns[c].says_which]
        assert not table.duplicated(keys).any(), name


def test_the_calibration_rules_settings_out_and_counts_them(small):
    wide = small["calibration"].pivot(index=calibrated.SETTING, columns="quantity", values="estimate")
    left = wide[wide.p_value >= 0.05]
    assert 0 < len(left) < len(wide)
    assert not len(left.query("baseline_noise == 2"))  # its loss in full precision is far off
    body, macros = calibrated.calibration(small)
    runs = 24 * small["calibration"].n.max()
    assert macros == {"CalibrationRuns": f"{runs:,}", "CalibrationSettings": "24"}
    verdicts = small["calibration_verdicts"].merge(left.reset_index()[calibrated.SETTING])
    first = [line for line in body.splitlines() if " of 12 & " in line][:2]
    for column, id in ((-2, "C1"), (-1, "C2")):
        counts = verdicts[verdicts.id == id].verdict.value_counts()
        cells = [[*map(int, line.rstrip("\\ ").split(" & ")[column].split("/"))] for line in first]
        shown = [sum(pair) for pair in zip(*cells, strict=True)]
        assert shown == [counts.get(side, 0) for side in calibrated.SIDES.values()]
    kept = re.findall(r"& (\d+) of 12 &", body)
    assert int(kept[0]) + int(kept[1]) == len(left)


def test_what_two_runs_show_is_told_of_the_settings_that_are_left(small):
    wide = small["calibration"].pivot(index=calibrated.SETTING, columns="quantity", values="estimate")
    body, _ = calibrated.answers(small)
    lines = [line.rstrip("\\ ").split(" & ") for line in body.splitlines() if " & " in line][2:]
    for (target, count, *chances), (*_, a, b, c) in zip(lines, lines, strict=True):
        mine = wide.xs(target)
        left = mine[mine.p_value >= 0.05]
        assert int(count) == len(left)
        asked = ("chance_of_reported_reduction", "chance_t0_worse_quantized")
        for cell, quantity in zip(chances, asked, strict=False):
            ends = [float(end) for end in cell.split(" to ")]
            shown = 100 * left[quantity]
            assert (ends[0], ends[-1]) == pytest.approx((shown.min(), shown.max()), abs=0.06)
        assert mine.acceptance[float(a), float(b), float(c)] == mine.acceptance.max()
    assert len(lines) == 2


def test_a_calibration_that_rules_everything_out_can_be_typeset(small):
    table = small["calibration"].copy()
    table.loc[table.quantity.isin(["p_value", "acceptance_half", "acceptance"]), "estimate"] = 0.0
    tables = small | {"calibration": table}
    body, _ = calibrated.calibration(tables)
    answers, macros = calibrated.answers(tables)
    assert macros["CalibrationSentence"] == calibrated.agreement(pd.DataFrame())
    assert answers.count(" & 0 & -- & -- & ") == 2
    assert "0 of 12 & -- & -- & -- & 0/0/0 & 0/0/0" in body
    figures.calibration(table)


@pytest.mark.parametrize("experiment", ["scale", "constants", "calibration"])
def test_tables_have_as_many_cells_in_every_row_and_macros_have_names_of_letters(small, experiment):
    body, macros = PAPER.exhibits[experiment](small)
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    spans = [sum(int(span) - 1 for span in re.findall(r"\\multicolumn\{(\d+)\}", line)) for line in rows]
    assert len({line.count("& ") + span for line, span in zip(rows, spans, strict=True)}) == 1
    assert all(name.isalpha() and name.startswith(experiment.capitalize()) for name in macros)


def test_a_changed_number_changes_the_table_of_arms(small):
    body, _ = scales.scale(small)
    for name in ("scale_arms", "scale_tuning"):
        table = small[name].copy()
        column = "mean" if name == "scale_arms" else "estimate"
        rows = table.index
        if name == "scale_arms":
            rows = rows[table.quantity == "unexplained"]
        else:
            of = table[["arm", "other_arm"]]
            shown = of.isin(["plain", "tuned"]).any(axis=1) & (table.quantity == "unexplained")
            shown |= (of == "standard_qat").any(axis=1) & (table.quantity == "drop")
            rows = rows[shown]
        for i in rows:
            changed = table.copy()
            changed.loc[i, column] += 0.37
            assert scales.scale(small | {name: changed})[0] != body, f"{name}, row {i}"


def test_the_figure_of_the_sweep_marks_the_best_and_the_named_scalings(small):
    figure = figures.scale(small["scale"], small["scale_best"])
    for panel in figure.axes:
        marks = {tuple(line.get_xdata()) for line in panel.get_lines()}
        assert {(1, 1), (80_000, 80_000)} <= marks
        assert panel.get_xlim()[0] <= 0
    drawn = small["scale"].query("quantity == 'quantized'").sort_values("xi_scaling")
    lines = [line.get_ydata() for line in figure.axes[0].get_lines()]
    assert any(np.array_equal(line, drawn["mean"]) for line in lines)
