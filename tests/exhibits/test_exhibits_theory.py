"""What is typeset of the theory: every number, and words that follow its rules."""

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


def test_the_words_of_the_theory_follow_its_rules():
    tables = frames()
    training = tables["theory_training"]
    plain = (training.method == "no_noise") & (training.quantity == "explained")
    training.loc[plain, "mean"] = 0.95
    mine = (training.method == "t0_qat") & (training.quantity == "explained") & (training.epoch == 3000)
    for low, word in ((0.941, "comes"), (0.939, "does not come")):
        training.loc[mine, "ci_low"] = low
        macros = theory.theory(tables)[1]
        assert macros["TheoryConstantWord"] == macros["TheoryDecayingWord"] == word
    laws = tables["theory"]
    limit = float(theory.theory(tables)[1]["TheoryLimit"])
    laws["z"] = [0.5, -limit - 0.1, limit - 0.1]
    macros = theory.theory(tables)[1]
    assert macros["TheoryBeyond"] == "1"
    assert float(macros["TheoryLargest"]) == pytest.approx(limit + 0.1, abs=0.006)
