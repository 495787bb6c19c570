"""An explorer of few replicates, and what it must show by the experiment itself."""

import numpy as np

from t0qat import explorer
from t0qat.experiments import published
from t0qat.experiments.published import Losses
from t0qat.explorer import measure
from t0qat.explorer.measure import Setting
from t0qat.paper import PAPER
from t0qat.training.constants import CONSTANTS, XI

SMALL = {"replicates": 20}


def forget() -> None:
    for kept in (measure._network, measure._shares_right, measure._on_device):
        kept.cache_clear()


def of_20_replicates() -> explorer.Explorer:
    made = explorer.Explorer(PAPER)
    made.set(**SMALL)
    return made


def independent(setting: Setting) -> dict[str, Losses]:
    """The losses of a setting by the experiment itself."""
    names = "replicates", "target", "baseline_noise", "evaluation_noise"
    same = {name: getattr(setting, name) for name in names}
    per_xi = 1.0 if setting.constant == "xi" else CONSTANTS[setting.constant] / XI
    return published.published(xi_scaling=per_xi * setting.scaling, **same)[0]


def assert_shows(made, setting: Setting) -> None:
    assert (
        made.linear.setting == made.networks.setting == made.circuits.setting == made.wanted == setting
    )
    for method, losses in independent(setting).items():
        for quantity in published.QUANTITIES:
            assert made.shown[quantity][method] == getattr(losses, quantity).tolist()
    drawn = made._pictures["losses"].points
    for method, losses in independent(setting).items():
        np.testing.assert_array_equal(drawn[method].get_xdata(), losses.full_precision)
        np.testing.assert_array_equal(drawn[method].get_ydata(), losses.quantized)
