"""Every rule takes what it should and stops what it should, in one line, before anything is computed."""

import inspect

import numpy as np
import pytest

from t0qat.experiments import published
from t0qat.experiments.settings import RULES, check
from t0qat.pipeline.parameters import ParameterError
from t0qat.training import linear
from t0qat.training.methods import on_layer

NAN, INF = float("nan"), float("inf")

# name -> (values that pass, values that do not)
WIDTHS = (
    [[8], [8, 4, 3, 2], (1, 16)],
    [[], [0], [17], [8, 8], [4.0], [-4], [True], ["8"], "8, 4", 8, None],
)
NOISES = (
    [[0], [0, 0.1, 1e3], (0.5, 1)],
    [[], [0.1, 0], [1, 1], [-1], [NAN], [INF], ["a"], [True], "0, 1", 0.1, None],
)
POSITIVE = [[0.5], [0.1, 2], (1, 3)], [[], [0], [2, 1], [1, 1], [-1], [NAN], [INF], ["1"], [True], 1]
NETWORKS = [[], ["mlp", "small_gpt2"]], [["mlp", "mlp"], ["MLP"], ["mlp\n"], [1], "mlp", None]
METHODS = [[], ["ste"], ["ste", "my2nd"]], [["2nd"], ["ste", "ste"], ["ste\n"], [1], "ste", None]
CASES = {
    "replicates": ([2, 10_000_000], [1, 0, -5, 10_000_001, 300.0, True, "300", None, NAN]),
    "seed": ([0, 2**32 - 1], [-1, 2**32, 1.0, False, "0", None]),
    "epochs": ([1, 1_000_000], [0, -1, 1_000_001, 300.0, True, "300", INF]),
    "learning_rate": ([1e-12, 0.005, 1, 10.0], [0, 0.0, -0.1, 10.1, NAN, INF, True, "0.005", None]),
    "xi_scaling": (
        [0, 0.0, 80_000, 80_000.0, 1e9, np.float64(3)],
        [-0.1, 1.1e9, NAN, INF, -INF, True, "1"],
    ),
    "baseline_noise": ([0, 0.4, 1e6], [-0.1, 1.1e6, NAN, INF, False, "0.4", None, [0.4]]),
    "evaluation_noise": (["reported", 0, 0.4, 1e6], ["Reported", "", -0.1, NAN, INF, True, None, 2e6]),
    "settings": (
        [{}, {"xi_scaling": 3.0}, {"baseline_noise": 0}],
        [[], None, {3: 1}, "xi_scaling = 3"],
    ),
    "target": (["sum", "normal"], ["Sum", "", "sums", 1, None, True, ["sum"]]),
    "target_noise": ([0, 0.1, 1e6], [-0.1, NAN, INF, True, "0.1", 2e6]),
    "bits": WIDTHS,
    "grid_range": (["narrow", "full"], ["Full", "both", "", 0, None]),
    "error_rate": ([1e-9, 0.05, 0.5], [0, 0.0, 0.6, 1, -0.05, NAN, INF, True, "0.05"]),
    "grid_scale": (["absmax", "mse"], ["max", "MSE", "", True, None]),
    "draws": ([100, 5000, 100_000_000], [99, 0, -100, 1e3, True, "100", None, NAN]),
    "networks": ([2, 16, 100_000], [1, 0, -2, 2.0, True, "2", None]),
    "noise_pairs": ([1, 60], [0, -1, 1.0, True, "1", None]),
    "probes": ([1, 100], [0, -1, 1.0, True, "1", None]),
    "longest": ([1, 100, 100_000], [0, -1, 10.0, 100_001, True, "10", None]),
    "noise_scales": NOISES,
    "training_noises": NOISES,
    "network_replicates": ([2, 30, 100_000], [1, 0, -5, 2.5, "30", True, None, NAN, 100_001]),
    "network_epochs": ([1, 100, 1_000_000], [0, -1, 1.0, "100", True, None, 1_000_001]),
    "points": ([2, 1000], [1, 0, -2, 1001, 20.0, True, "20", None]),
    "tuning_points": ([2, 1000], [1, 0, -2, 1001, 20.0, True, "20", None]),
    "calibration_replicates": ([2, 10_000_000], [1, 0, 10_000_001, 300.0, True, "300", None, NAN]),
    "tolerance": ([1e-9, 0.25, 1], [0, 0.0, -0.1, 1.1, NAN, INF, True, "0.25", None]),
    "target_noises": NOISES,
    "baseline_noises": NOISES,
    "evaluation_noises": NOISES,
    "dataset": (
        ["digits", "CIFAR_10", "my data/1.npz"],
        ["", "a b", "-x", "a\n", ".npz", "x.npy", 1, None],
    ),
    "readers": NETWORKS,
    "models": (
        [["mlp"], ["small_gpt2", "small_llama"], ["org/name-1.5", "checkpoints/my own", "/data/llama"]],
        [[], ["mlp", "mlp"], ["../etc"], ["a/../b"], ["a;b"], ["a\nb"], [""], [1], "mlp", None],
    ),
    "few_models": (
        [[], ["mlp", "small_llama"], ["models/of_mine"]],
        [["mlp", "mlp"], ["../etc"], ["a;b"], [""], [1], "mlp", None],
    ),
    "methods": (
        ["all", ["ste", "t0_qat"], ["my2nd"]],
        [[], "ste", ["ste", "ste"], ["2nd"], ["ste\n"], [1], None],
    ),
    "few_replicates": ([2, 10_000_000], [1, 0, -5, 2.0, True, "2", None, 10_000_001]),
    "text_trainings": ([1, 40], [0, 1.0, True, None]),
    "trainings": ([1, 40, 1_000_000], [0, -1, 1.0, True, "5", None, 1_000_001]),
    "tuning_starts": ([1, 100_000], [0, -1, 1.0, True, "5", None, 100_001]),
    "rates": ([1, 1000], [0, -1, 1.0, True, "5", None, 1001]),
    "trained_bits": WIDTHS,
    "lowest_rate": ([1e-12, 0.01, 10], [0, -0.01, 11, NAN, INF, "0.01", True, None]),
    "highest_rate": ([1e-12, 0.01, 10], [0, -0.01, 11, NAN, INF, "0.01", True, None]),
    "batch_size": ([1, 64, 1_000_000], [0, -1, 64.0, True, "64", None]),
    "schedule": (["constant", "cosine", "warmup_cosine", "decaying"], ["Cosine", "", 1, None]),
    "image_rates": POSITIVE,
    "text_rates": POSITIVE,
    "budgets": POSITIVE,
    "scalings": NOISES,
    "shares": NOISES,
    "device": (["auto", "cpu", "cuda"], ["gpu", "", "cuda:0", None]),
    "corpus": (["pydoc_topics", "my text.txt", "/data/a.md"], ["", "/etc/passwd", "a\nb.txt", 1, None]),
    "groups": METHODS,
    "everything": METHODS,
    "digits": ([["38"], ["38", "0123"]], [[], ["3x"], [""], ["38", "38"], [38], "38", None]),
    "ways": ([["no_noise", "t0_qat_tuned"]], [["no_noise", "no_noise"], ["2nd"], [1], "no_noise", None]),
    "qubits": ([1, 4, 6], [0, -1, 4.0, True, "4", None]),
    "layers": ([1, 3], [0, -1, 3.0, True, "3", None]),
    "strengths": ([[0], [0.01, 0.1, 1]], [[], [0.1, 0.1], [1.1], [-0.1], [0.2, 0.1], ["1"], 0.1, None]),
    "shots": ([1, 1024], [0, -1, 10.0, True, "1024", None]),
    "context": ([2, 64], [1, 0, 1_000_001, 64.0, True, "64", None]),
    "pretraining_steps": ([1, 1000], [0, -1, 10_000_001, 5.0, True, "5", None]),
    "pretraining_batch_size": ([1, 16, 1_000_000], [0, -1, 16.0, True, "16", None]),
    "pretraining_rate": ([1e-12, 0.004, 10], [0, -0.1, 10.1, NAN, INF, True, "0.1", None]),
    "steps": ([1, 64], [0, -1, 10_000_001, 5.0, True, "5", None]),
    "blocks": ([2, 16], [1, 0, 100_001, 2.0, True, "2", None]),
    "wide_replicates": ([2, 10_000_000], [1, 0, -5, 2.0, True, "2", None, 10_000_001]),
    "wide_steps": ([1, 300], [0, -1, 10_000_001, 5.0, True, "5", None]),
    "rounds": ([2, 5, 1000], [1, 0, -1, 2.0, True, "2", None, 1001]),
    "repeats": ([1, 20], [0, -1, 100_001, 2.0, True, "2", None]),
    "block_windows": ([1, 8], [0, -1, 100_001, 2.0, True, "2", None]),
}
GOOD = [(name, value) for name, (good, _) in CASES.items() for value in good]
BAD = [(name, value) for name, (_, bad) in CASES.items() for value in bad]


def test_every_rule_has_cases():
    assert set(CASES) == set(RULES)


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_good_values_pass(name, value):
    check({name: value})


@pytest.mark.parametrize(("name", "value"), BAD)
def test_bad_values_stop_with_one_line_that_names_parameter_value_and_what_is_allowed(name, value):
    with pytest.raises(ParameterError) as caught:
        check({"seed": 1, name: value})
    assert str(caught.value) == f"{name} = {value!r}: allowed is {RULES[name].allowed}"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "line_breaks", ["sum\nnormal", np.zeros((2, 2)), ["a\nb"]], ids=["text", "array", "list"]
)
def test_the_message_is_one_line_whatever_the_value(line_breaks):
    with pytest.raises(ParameterError) as caught:
        check({"target": line_breaks})
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("replicates", ("2", "10000000")),
        ("seed", ("0", "4294967295")),
        ("learning_rate", ("1e-12", "10")),
        ("evaluation_noise", ("0", "1e+06", "'reported'")),
        ("target", ("'sum'", "'normal'")),
        ("bits", ("1", "16")),
    ],
)
def test_the_words_name_the_limits_that_hold(name, limits):
    words = RULES[name].allowed.split()
    assert set(limits) <= {word.strip(",") for word in words}


def test_an_unknown_name_stops_and_lists_the_known_ones():
    with pytest.raises(ParameterError) as caught:
        check({"replicates": 5, "xi_scalling": 3})
    message = str(caught.value)
    assert message.startswith("xi_scalling = 3: unknown parameter")
    assert all(name in message for name in RULES)
    assert "\n" not in message


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"xi_scaling": -1}, "xi_scaling = -1: allowed is a number from 0"),
        ({"sigma": 1}, "sigma = 1: unknown parameter; known are baseline_noise, xi_scaling"),
        ({"baseline_noise": 1}, "settings: baseline_noise = 1: it is a parameter of its own here"),
    ],
)
def test_settings_of_methods_have_the_rules_of_their_lines(settings, told):
    with pytest.raises(ParameterError) as caught:
        check({"baseline_noise": 0.4, "settings": settings})
    assert str(caught.value).startswith(told)


@pytest.fixture
def nothing_computed(monkeypatch):
    """Reaching the engine is a failure of its own."""

    def started(*_):
        raise AssertionError("computing began before the parameters were checked")

    for first_step in ("chunks", "moments", "initial", "noise_draws", "train"):
        monkeypatch.setattr(linear, first_step, started)


@pytest.mark.usefixtures("nothing_computed")
@pytest.mark.parametrize("experiment", [published.published, published.integer_grids])
@pytest.mark.parametrize(("name", "value"), BAD)
def test_experiments_check_before_they_compute(experiment, name, value):
    settings = {"replicates": 50, name: value}
    own = {setting for method in on_layer().values() for setting in method.settings}
    if name in own | {*inspect.signature(experiment).parameters}:
        with pytest.raises(ParameterError, match=f"^{name} = "):
            experiment(**settings)
    else:
        with pytest.raises((ParameterError, TypeError), match=name):
            experiment(**settings)


@pytest.mark.usefixtures("nothing_computed")
def test_experiments_check_their_own_defaults_and_need_replicates(monkeypatch):
    with pytest.raises((ParameterError, TypeError), match="replicates"):
        published.published()
    monkeypatch.setitem(RULES, "epochs", RULES["epochs"]._replace(type=str))
    with pytest.raises(ParameterError, match=r"^epochs = 300"):
        published.published(replicates=5)
