"""The registry: every method has the gradient of its formula, and what its line says is so."""

import inspect
import itertools

import numpy as np
import pytest
import torch
from formulas import (
    ORACLES,
    Problem,
    objective_of,
)

from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization import rounding
from t0qat.training import methods
from t0qat.training.methods import REGISTRY, on_layer

FOR_BITS = {
    "ste", "lsq", "parq", "matched_noise", "diffq", "lotion", "stable_qat", "cage", "quest", "seq",
    "ring", "star",
}  # fmt: skip
# What their strength acts through, or its steps.
THROUGH_OPTIMIZER = {"lsq", "seq", "parq", "cage", "weight_decay", "ring", "star"}


def test_settings_reach_the_method_that_names_them_and_no_other():
    built = methods.build(xi_scaling=300.0, baseline_noise=7.0)
    parameter, draws = torch.tensor([1.0, 2.0]).double(), torch.tensor([1.0, -1.0]).double()
    seen = {name: view(parameter, draws).tolist() for name, view in built.items()}
    assert seen["standard_qat"] == [8.0, -5.0]
    assert seen["t0_qat"] == pytest.approx([1.04, 1.96], rel=1e-14)
    assert seen["no_noise"] == [1.0, 2.0]
    with pytest.raises(ParameterError, match="xi_scalling"):
        methods.build(xi_scalling=1.0)


@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.parametrize("seed", [21, 22])
def test_the_gradient_of_every_method_is_that_of_its_formula(name, seed):
    """Each against its own closed form above, from gradients of a copy of the network."""
    problem = Problem(seed=seed)
    stored = {key: p.detach().clone() for key, p in problem.weights.items()}
    found = problem.gradient(objective_of(name), np.random.default_rng(5))
    expected = ORACLES[name](problem.slope, stored, np.random.default_rng(5))
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-12)
    for key, p in problem.weights.items():
        assert torch.equal(p, stored[key])


@pytest.mark.parametrize(
    ("name", "settings"),
    [("sam", {"rho": 0.0}), ("kure", {"strength": 0.0}), ("two_point_noise", {"sigma": 0.0})],
)
def test_a_method_of_no_strength_is_plain(name, settings):
    problem = Problem()
    found = problem.gradient(REGISTRY[name].objective(**settings), np.random.default_rng(2))
    for key, value in problem.slope(problem.weights).items():
        torch.testing.assert_close(found[key], value, rtol=1e-12, atol=1e-14)


def test_what_the_registry_says_of_a_method_is_so():
    assert set(ORACLES) == set(REGISTRY)
    assert list(on_layer()) == ["standard_qat", "t0_qat", "no_noise"]
    assert len({method.label for method in REGISTRY.values()}) == len(REGISTRY)
    for name, method in REGISTRY.items():
        takes = inspect.signature(method.build).parameters
        assert all(p.default is not p.empty for p in takes.values())
        assert bool(method.strength) == bool(method.values)
        assert method.for_bits == (name in FOR_BITS)
        few = {"seq": [2], "ring": [4, 2], "star": [4, 2]}
        assert method.trained_for([8, 4, 3, 2]) == few.get(name, [8, 4, 3, 2])
        assert method.rounding in rounding.ROUNDINGS
        if method.strength:
            assert method.strength in takes and len(method.values) == 3
            assert all(a < b for a, b in itertools.pairwise(method.values))
        problem = Problem()
        problem.gradient(objective_of(name), np.random.default_rng(6))
        assert len(problem.shown) == method.gradients


def test_a_strength_that_is_tuned_reaches_what_the_network_sees():
    for name, method in REGISTRY.items():
        if not method.strength or name in THROUGH_OPTIMIZER:
            continue
        gradients = []
        for value in method.values[::2]:
            found = Problem().gradient(
                method.objective(**{method.strength: value}), np.random.default_rng(7)
            )
            gradients.append(found["3.weight"])
        assert not torch.allclose(*gradients, rtol=1e-3)
