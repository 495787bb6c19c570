"""Another seed flips no verdict: two small runs of the linear layer."""

import pandas as pd

from t0qat.experiments import noise_choice, published, scale
from t0qat.paper import PAPER
from t0qat.pipeline import agreement, claims, decision


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
