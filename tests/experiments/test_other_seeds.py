"""Another seed flips no verdict: two small runs of the linear layer; and what is said of two runs."""

import shutil

import pandas as pd

from t0qat.experiments import noise_choice, other_seeds, published, scale
from t0qat.paper import PAPER
from t0qat.pipeline import agreement, claims, decision, places, results


def on_the_layer(seed: int) -> pd.DataFrame:
    """The verdicts of a small run in which nothing but the linear layer is measured."""
    first, second = published.published(replicates=200, seed=seed)
    cells = published.integer_grids(replicates=60, seed=seed)
    sweep = scale.sweep(replicates=60, seed=seed, points=8)
    small = {"replicates": 60, "bits": [4, 2], "seed": seed}
    arms = noise_choice.tuning(tuning_points=6, **small)
    added, product = noise_choice.constants(**small)
    made = {
        "table1": published.table1(first),
        "table1_paired": published.table1_paired(first, second),
        "integer_grids_conventions": published.grid_losses(cells),
        "integer_grids_overall": published.grid_overall(cells),
        "scale_neighbours": scale.neighbours(sweep),
        "scale_tuning": noise_choice.arm_differences(arms),
        "constants": added,
        "constants_product": product,
    }
    nothing = {name: pd.DataFrame(columns=PAPER.columns_of(name)) for name in claims.read_by()}
    return claims.decide(nothing | made)["verdicts"]


def test_another_seed_flips_no_verdict_on_the_layer():
    first, second = on_the_layer(0), on_the_layer(1)
    assert agreement.flips(first, second).empty
    words = {decision.SUPPORTED, decision.CONTRADICTED, decision.NO_EFFECT}
    both = first.as_published.isin(words) & second.as_published.isin(words)
    assert both.sum() >= 4, (first, second)  # so that there is something to flip


def test_a_flipped_verdict_and_another_recommendation_are_named(tmp_path):
    """Of the committed results against a copy of them, as it is and with two things changed."""
    there = tmp_path / "paper" / "results"
    shutil.copytree(places.ROOT / "paper" / "results", there)
    *same, columns, picks = other_seeds.compared(PAPER, tmp_path)
    assert all(line.endswith(", the same") for line in same) and same
    assert sum(line.startswith("images with one training for all widths: ") for line in same) == 1
    assert not any("INT0" in line for line in same)
    assert columns.startswith("0 of ") and picks.startswith(f"0 of {len(same)} ")
    verdicts = results.read(PAPER, "verdicts")
    verdicts.loc[verdicts.as_published == decision.CONTRADICTED, "as_published"] = decision.SUPPORTED
    arms = results.read(PAPER, "recommendation_arms")
    arms.loc[(arms.family == "images") & (arms.eval_bits == 2) & (arms.behind == 0), "behind"] = 9.0
    for name, table in (("verdicts", verdicts), ("recommendation_arms", arms)):
        (there / f"{name}.csv").write_text(results.text(PAPER, name, table))
    lines = [*other_seeds.compared(PAPER, tmp_path)]
    flipped = (results.read(PAPER, "verdicts").as_published == decision.CONTRADICTED).sum()
    assert sum("contradicted here, supported there" in line for line in lines) == flipped > 0
    assert lines[-2].startswith(f"{flipped} of ") and lines[-1].startswith("1 of ")
    (other,) = [line for line in lines if line.startswith("images at INT2")]
    assert "beyond the margin" in other and "9 behind here" not in other
