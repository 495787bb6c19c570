"""What is compared: every method as an arm, and what its trainings depend on."""

import sys
from functools import partial

import pytest
from on_digits import WIDTHS, training

from t0qat.experiments import trained, vision
from t0qat.experiments.arms import Arm
from t0qat.pipeline import cells
from t0qat.quantization import layers
from t0qat.training import coupled, methods, noise, own_grids, plain, regularizers, rounders, views
from t0qat.training.methods import REGISTRY


def test_methods_that_train_alike_are_one_training_with_all_its_settings_named():
    assert training(method="gptq").key == training().key
    alone, tuned = training(method="xi_alone"), training(method="t0_qat_tuned", strength=1.0)
    assert alone.key == tuned.key != training(method="t0_qat").key
    assert tuned.arguments["settings"] == {"xi_scaling": 1.0}
    assert training(method="ste", bits=2).arguments["settings"] == {"bits": 2}
    assert training(method="lsq", bits=2, strength=0.3).arguments["settings"] == {
        "bits": 2,
        "step_rate": 0.3,
    }


def planned(**parameters) -> list[Arm]:
    """The arms of a benchmark with these."""
    jobs = vision.plan(replicates=2, few_replicates=2, bits=[8, 4, 3, 2], **parameters)
    return [*jobs.replicates]


def test_every_method_is_an_arm_and_tries_every_rate_with_every_strength():
    found = planned(models=["small_cnn"], few_models=["mlp", "residual_cnn"], trained_bits=[8, 2])
    methods_of = {m: {a.method for a in found if a.model == m} for m in ("small_cnn", "mlp")}
    assert methods_of["small_cnn"] == {*methods.named(lambda method: method.images)} < {*REGISTRY}
    assert len(methods_of["mlp"]) >= 6 and {"no_noise", "t0_qat", "random_bits"} <= methods_of["mlp"]
    for arm in found:
        assert arm.train_bits in ((8, 2) if arm.registered.for_bits else (0,))
        assert arm.method != "seq" or arm.train_bits == 2
        tried = arm.candidates(4, 0.001, 0.1)
        assert {rate for rate, _ in tried} == {0.001, 0.00464, 0.0215, 0.1}
        assert len(tried) == len({*tried}) == 4 * max(1, len(arm.registered.values))
    assert [rate for rate, _ in Arm("digits", "mlp", "no_noise", 0).candidates(1, 0.01, 1.0)] == [0.1]


def test_named_methods_run_with_plain_training_on_all_models():
    where = {"models": ["small_cnn"], "few_models": ["mlp"], "trained_bits": [4, 2]}
    found = planned(methods=["sam", "ste"], **where)
    one = [("no_noise", 0), ("ste", 4), ("ste", 2), ("sam", 0)]
    for model in ("small_cnn", "mlp"):
        assert [(a.method, a.train_bits) for a in found if a.model == model] == one
    assert planned(methods=["ste", "no_noise"], **where) == planned(methods=["ste"], **where)


def test_a_module_of_ones_own_determines_its_cells(tmp_path, monkeypatch):
    path = tmp_path / "of_my_own.py"
    path.write_text("def mine():\n    return lambda parameter, noise: parameter\n")
    monkeypatch.syspath_prepend(tmp_path)
    import of_my_own

    line = views.Method("Mine", of_my_own.mine, "none")
    monkeypatch.setitem(methods.REGISTRY, "mine", line)
    made = training(method="mine")
    assert made.kept and {of_my_own, views, layers} <= {*made.code}
    assert trained.asked(trained.at_widths, made, "mine", widths=WIDTHS).kept
    del sys.modules["of_my_own"]


FILES = {  # methods by the file of their family
    noise: {
        "standard_qat",
        "t0_qat",
        "xi_alone",
        "t0_qat_tuned",
        "matched_noise",
        "diffq",
        "two_point_noise",
        "uniform_noise",
        "annealed_noise",
        "weights_only_noise",
        "relative_noise",
        "two_bit_noise",
    },
    plain: {"no_noise", "gptq", "longer", "not_tuned"},
    rounders: {"ste", "lsq", "parq", "random_bits", "lotion", "stable_qat", "cage"},
    own_grids: {"quest", "seq", "matryoshka"},
    regularizers: {"sam", "kure", "weight_decay"},
    coupled: {"ring", "star"},
}


@pytest.mark.parametrize("changed", [*FILES, views, layers], ids=lambda module: module.__name__)
def test_a_changed_file_changes_the_cells_of_its_methods_only(changed, monkeypatch):
    assert set.union(*FILES.values()) == set(REGISTRY)

    def key(method):
        made = training(method=method, bits=4 if REGISTRY[method].for_bits else 0, strength=0.1)
        return trained.asked(trained.at_widths, made, method, widths=WIDTHS).key

    before = {method: key(method) for method in REGISTRY}
    assert len({*before.values()}) == len(before)
    source = cells.source_of
    monkeypatch.setattr(cells, "source_of", lambda thing: "other" if thing is changed else source(thing))
    assert {m for m in REGISTRY if key(m) != before[m]} == FILES.get(changed, set(REGISTRY))


def test_a_changed_line_changes_the_cells_of_its_method(monkeypatch):
    before = training(method="xi_alone").key
    line = REGISTRY["xi_alone"]._replace(build=partial(noise.t0_qat, 2.0))
    monkeypatch.setitem(methods.REGISTRY, "xi_alone", line)
    assert training(method="xi_alone").key != before
