"""The constant under study and what its paper reports."""

import math

from scipy.constants import physical_constants

XI = 4 / 3 * 1e-4  # dimensionless; not 4/3e-4, which Python reads as 13333.3
XI_SCALING = 80_000.0  # the published multiplier; the training noise is XI * XI_SCALING = 10.667
BASELINE_NOISE = 0.4  # of Standard QAT, in units of the weights: the paper does not publish it

# Table 1 of the paper: mean squared error on its synthetic regression task, one run each.
REPORTED = {
    "standard_qat": {"full_precision": 0.318700, "quantized": 3.254614, "drop": 2.935914},
    "t0_qat": {"full_precision": 9.501066, "quantized": 10.936824, "drop": 1.435758},
}
REPORTED_REDUCTION = 1 - REPORTED["t0_qat"]["drop"] / REPORTED["standard_qat"]["drop"]  # "51 %"

# What could stand in xi's place: dimensionless magnitudes, CODATA's recommended values through scipy.
CONSTANTS = {"xi": XI} | {
    name: abs(physical_constants[codata][0])
    for name, codata in {
        "fine_structure": "fine-structure constant",
        "proton_electron_mass_ratio": "proton-electron mass ratio",
        "electron_proton_mass_ratio": "electron-proton mass ratio",
        "electron_alpha_mass_ratio": "electron to alpha particle mass ratio",
        "electron_muon_mass_ratio": "electron-muon mass ratio",
        "muon_electron_mass_ratio": "muon-electron mass ratio",
        "electron_moment_anomaly": "electron mag. mom. anomaly",
        "proton_shielding": "proton mag. shielding correction",
        "weak_mixing": "weak mixing angle",  # sine squared
        "w_z_mass_ratio": "W to Z mass ratio",
    }.items()
}

FEATURES = 10  # inputs of the published model, nn.Linear(10, 1)
SAMPLES = 1000


def reported_evaluation_noise() -> float:
    """Standard deviation of the evaluation noise that explains the reported drops on average.

    The paper does not publish it. With standard normal inputs the expected increase of the mean
    squared error under independent Gaussian noise of standard deviation s on the FEATURES weights
    and the bias is (FEATURES + 1) * s**2, whatever the weights are. Solving this for the mean of
    the two reported drops gives s (in units of the weights).
    """
    mean_drop = sum(row["drop"] for row in REPORTED.values()) / len(REPORTED)
    return math.sqrt(mean_drop / (FEATURES + 1))


def evaluation_noise(given: float | str) -> float:
    """The parameter's value as a number: that of the reported drops where it is "reported"."""
    return reported_evaluation_noise() if given == "reported" else given
