"""The comparison of ways to train circuits: against dense matrices, scipy and numbers made up."""

import functools
import itertools

import numpy as np
import pandas as pd
import pytest
from dense_circuits import cross_entropy, dense
from scipy import stats

from t0qat.experiments import circuits, on_circuits, tuning
from t0qat.experiments.circuits import ALL
from t0qat.experiments.on_circuits import (
    CHANNEL,
    DEVICE,
    GLOBAL,
    NONE,
    PLAIN,
    PUBLISHED,
    READOUT,
    SCALINGS,
    TUNED,
    WAYS,
)
from t0qat.paper import PAPER
from t0qat.pipeline import results
from t0qat.pipeline.parameters import ParameterError

pytestmark = pytest.mark.usefixtures("one_thread")
close = functools.partial(np.testing.assert_allclose, rtol=0)


SMALL = {"replicates": 2, "digits": ["38"], "steps": 6, "trainings": 16, "strengths": [0.05, 0.2, 0.3]}
SMALL |= {"bits": [3], "shots": 64, "qubits": 2, "layers": 2, "batch_size": 16, "seed": 1}
SMALL |= {"rates": 4, "lowest_rate": 0.05, "highest_rate": 0.4}


def run(**changed) -> tuple[pd.DataFrame, pd.DataFrame]:
    return circuits.measured(circuits.plan(**SMALL | changed))


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """A store of its own, and no processes."""

    def compute(**changed):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(circuits.grid, "STORE", tmp_path_factory.mktemp("cells"))
            patch.setattr(circuits.grid.weights, "FOLDER", tmp_path_factory.mktemp("weights"))
            patch.setattr(circuits.grid.joblib, "cpu_count", lambda: 1)
            return run(**changed)

    return compute


@pytest.fixture(scope="module")
def measured(apart) -> tuple[pd.DataFrame, pd.DataFrame]:
    return apart()


@pytest.fixture(scope="module")
def tables(measured) -> dict[str, pd.DataFrame]:
    return circuits.tables(*measured)


def test_every_way_takes_as_many_gradients_but_for_two_trainings(measured):
    spent = measured[0].groupby("method").gradients.sum() / SMALL["steps"]
    assert {*spent.index} == {*WAYS}
    assert spent.max() <= SMALL["trainings"] and spent.min() > SMALL["trainings"] - tuning.LAST
    for one in circuits.plan(replicates=20, trainings=23).rivals:
        seen = [0, *(seen for _, seen in one.rounds)]
        whole = sum(size * (seen[i + 1] - seen[i]) for i, (size, _) in enumerate(one.rounds))
        total = whole + 0.333 * len(one.candidates) * one.cut
        assert 23 - tuning.LAST < total <= 23


def test_what_is_tuned_over_and_which_candidate_is_chosen(measured):
    for way, rows in measured[0].groupby("method"):
        own = {*SCALINGS} if way in (TUNED, "sampled_paulis", CHANNEL) else set()
        assert {*rows.strength.dropna()} == own and rows.strength.isna().all() != bool(own)
        rates = [*rows.learning_rate[: 4 if own else None]]
        close(rates, np.geomspace(0.05, 0.4, 4), atol=0, rtol=5e-3)
        assert len(rows) == 4 * (len(own) or 1)
        last = rows[rows.n == rows.n.max()]
        chosen = rows[rows.chosen == 1]
        assert len(last) == tuning.LAST and len(chosen) == 1
        assert chosen["mean"].item() == last["mean"].min()


def test_tuning_reads_held_out_loss_over_channels_at_the_middle_strength(measured):
    """By dense matrices where the device is still, else by chances that aer has confirmed."""
    given = {key: SMALL[key] for key in ("qubits", "layers", "steps", "batch_size", "seed")}
    rows = measured[0].query("method in ['t0_qat_tuned', 'sampled_paulis', 'channel'] and n > 1")
    assert rows.strength.nunique() > 1
    for row in rows.itertuples():
        losses = []
        for i in range(10**9, 10**9 + int(row.n)):
            own = given | {"digits": "38", "part": "validation", "replicate": i}
            setting = {"xi_scaling": row.strength, "learning_rate": row.learning_rate}
            made = on_circuits.fit(way=row.method, **setting, **own)
            one = on_circuits.opened({"angles": made["angles"].detach()}, **own)
            target = one.found.test_target
            still = dense(one.circuit, one.angles, one.found.test_features)
            each = [cross_entropy(one.chances(one.angles, c, [0.2])[0], target) for c in DEVICE]
            losses.append(np.mean([cross_entropy(still, target), *each]))
        ends = stats.t.interval(0.95, len(losses) - 1, np.mean(losses), stats.sem(losses))
        close([row.mean, row.ci_low, row.ci_high], [np.mean(losses), *ends], atol=1e-9)


def test_tests_are_of_the_chosen_setting_on_replicates_of_their_own(measured):
    tuned, rows = measured
    row = tuned.query("method == 't0_qat_tuned' and chosen == 1").iloc[0]
    given = {key: SMALL[key] for key in ("qubits", "layers", "steps", "batch_size", "seed")}
    own = given | {"digits": "38", "part": "test", "replicate": 1}
    made = on_circuits.fit(way=TUNED, xi_scaling=row.strength, learning_rate=row.learning_rate, **own)
    one = on_circuits.opened({"angles": made["angles"].detach()}, **own)
    chances = dense(one.circuit, one.angles, one.found.test_features)
    mine = rows.query("method == 't0_qat_tuned' and replicate == 1 and channel == 'none'")
    mine = mine.query("eval_bits == 32 and shots == 0").set_index("metric")["value"]
    assert mine["loss"] == pytest.approx(cross_entropy(chances, one.found.test_target).item(), rel=1e-9)
    right = (chances.argmax(1) == one.found.test_target).double().mean().item()
    assert mine["accuracy"] == pytest.approx(right, abs=1e-12)


def test_every_way_replicate_channel_and_width_is_there_once(measured):
    _, rows = measured
    keys = ["method", "replicate", "channel", "channel_strength", "eval_bits", "shots", "metric"]
    assert not rows.duplicated(keys).any()
    # No channel, and seven at three strengths, or rounded to 3 bits at the middle one; four numbers.
    assert len(rows) == 6 * 2 * (1 + 7 * 3 + 1 + 7) * 4
    assert {*rows[(rows.eval_bits == 3) & (rows.channel != NONE)].channel_strength} == {0.2}


def test_robustness_is_the_mean_over_channels_and_strengths(measured, tables):
    rows = measured[1].query("shots == 64 and eval_bits == 32")
    for way in WAYS:
        each = np.empty((2, 7, 3))
        for i, channel, k in np.ndindex(*each.shape):
            here = rows[(rows.method == way) & (rows.replicate == i) & (rows.channel == DEVICE[channel])]
            each[i, channel, k] = here[here.channel_strength == SMALL["strengths"][k]]["value"].item()
        found = tables["circuits_robust"].query("way == @way").set_index("channel")
        assert {*found.index} == {*DEVICE, NONE, ALL} and {*found.n} == {2}
        assert found.loc[ALL, "mean"] == pytest.approx(each.mean(), abs=1e-12)
        for k, channel in enumerate(DEVICE):
            assert found.loc[channel, "mean"] == pytest.approx(each[:, k].mean(), abs=1e-12)


def made_up(replicates: int, ways: tuple, mixed=False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A table of tuning and rows of tests that scatter, of two tasks; mixed: replicates in any order."""
    draws, rows = np.random.default_rng(4), []
    where = {"dataset": "digits", "train_bits": 0, "layout": "channels"}
    for model in ("circuit_38", "circuit_01"):
        for way in ways:
            for i in draws.permutation(replicates) if mixed else range(replicates):
                label = where | {"model": model, "method": way, "replicate": i, "eval_bits": 32}
                for channel, strength in ((NONE, 0.0), (GLOBAL, 0.1), (GLOBAL, 0.2), (READOUT, 0.1)):
                    at = label | {"channel": channel, "channel_strength": strength}
                    for shots, metric in ((0, "accuracy"), (0, "loss"), (8, "accuracy")):
                        rows.append(at | {"shots": shots, "metric": metric, "value": draws.uniform()})
    tuned = pd.DataFrame([where | {"model": "circuit_38", "method": PLAIN, "learning_rate": 0.1}])
    return tuned, pd.DataFrame(rows)


def holm(values: np.ndarray) -> np.ndarray:
    """Each times as many as are left, of the least all; never less than one before."""
    order = np.argsort(values)
    grown = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)).clip(max=1)
    return grown[np.argsort(order)]


@pytest.mark.parametrize("mixed", [False, True])
def test_pairs_share_replicates_and_have_scipy_s_interval(mixed):
    """A channel counts once in the mean over all, and replicates may stand in any order."""
    tuned, rows = made_up(6, (PLAIN, PUBLISHED, TUNED, CHANNEL), mixed)
    found = circuits.tables(tuned, rows)["circuits_paired"]
    rows = rows[rows.shots == 8].set_index(["model", "method", "channel", "channel_strength"])

    def values(model, way, channel):
        if way == "guess":
            return np.full(6, 0.5)

        def at(channel, strength):
            return rows.loc[(model, way, channel, strength)].sort_values("replicate")["value"].to_numpy()

        strongest = (at(GLOBAL, 0.1) + at(GLOBAL, 0.2)) / 2
        every = {NONE: at(NONE, 0.0), GLOBAL: strongest, READOUT: at(READOUT, 0.1)}
        return every.get(channel, (strongest + every[READOUT]) / 2)

    pairs = [(PUBLISHED, PLAIN), (TUNED, PLAIN), (CHANNEL, PLAIN), (TUNED, CHANNEL)]
    families = dict.fromkeys(pairs, (NONE, GLOBAL, READOUT, ALL)) | {(PUBLISHED, "guess"): (NONE,)}
    assert len(found) == 2 * (4 * 4 + 1)
    for (way, other), channels in families.items():
        pairs = found[(found.way == way) & (found.other_way == other)]
        assert {*zip(pairs.model, pairs.channel, strict=True)} == {
            *itertools.product(("circuit_38", "circuit_01"), channels)
        }
        chances = []
        for pair in pairs.itertuples():
            first, second = (values(pair.model, name, pair.channel) for name in (way, other))
            test = stats.ttest_rel(first, second)
            ends = test.confidence_interval(0.95)
            expected = [np.mean(first - second), *ends, 6]
            close([pair.estimate, pair.ci_low, pair.ci_high, pair.n], expected, atol=1e-12)
            chances.append(test.pvalue)
        close(pairs.p_holm, holm(np.array(chances)), atol=1e-12)


@pytest.mark.parametrize("name", [name for name in PAPER.results if name.startswith("circuits")])
def test_tables_come_back_from_their_files(tables, tmp_path, name):
    table = tables[name]
    path = tmp_path / f"paper/results/{name}.csv"
    path.parent.mkdir(parents=True)
    path.write_text(results.text(PAPER, name, table))
    back = results.read(PAPER, name, tmp_path)
    pd.testing.assert_frame_equal(
        back, table[PAPER.columns_of(name)].reset_index(drop=True), check_dtype=False, rtol=1e-7
    )


def test_what_tuning_decided_may_differ_elsewhere():
    """Which candidates go on, and so n, hangs on what was measured: verify must not ask for it."""
    adaptive = {name for name, columns in PAPER.results.items() if "chosen" in columns.split()}
    assert "circuits_tuning" in adaptive <= {*PAPER.adaptive.split()}


def test_a_second_run_of_fewer_ways_gives_the_same_digits(measured, apart):
    ways = ["sampled_paulis", PLAIN]
    for one, other in zip(apart(ways=ways), measured, strict=True):
        mine = [one[one.method == way].reset_index(drop=True) for way in ways]
        theirs = [other[other.method == way].reset_index(drop=True) for way in ways]
        for a, b in zip(mine, theirs, strict=True):
            pd.testing.assert_frame_equal(a, b, check_exact=True, check_like=True)


def test_another_seed_gives_other_numbers(measured, apart):
    _, rows = apart(ways=[PLAIN, "xi_alone"], seed=2)
    theirs = measured[1][measured[1].method.isin([PLAIN, "xi_alone"])]
    loss = [table[table.metric == "loss"]["value"].to_numpy() for table in (rows, theirs)]
    assert (np.abs(loss[0] - loss[1]) > 1e-6).mean() > 0.9


@pytest.mark.parametrize("way", [way for way in WAYS if way != PLAIN])
def test_any_way_can_be_compared_with_plain_training_alone(way):
    planned = circuits.plan(**SMALL | {"ways": [way, PLAIN]})
    assert {one.arm.method for one in planned.rivals} == {way, PLAIN}
    found = circuits.tables(*made_up(3, (way, PLAIN)))
    assert {*found["circuits_robust"].way} == {way, PLAIN}
    assert {*found["circuits_paired"].other_way} == {PLAIN, *(["guess"] if way == PUBLISHED else [])}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"qubits": 6}, r"qubits = 6: 1 to 5 are allowed; one state takes 0\.0328 MB"),
        ({"qubits": 20}, r"one state takes 8\.8e\+06 MB"),
        ({"strengths": [0.1, 1.01]}, r"strengths = \[0\.1, 1\.01\]: .* from 0 to 1"),
        ({"strengths": [0.3, 0.1]}, "strengths = .* rising"),
        ({"shots": 0}, "shots = 0: allowed is a whole number from 1"),
        ({"digits": ["0"]}, "classes = 1: 4 qubits have 2 to 16 outcomes"),
        ({"digits": ["38", "012"], "qubits": 1}, "classes = 3: 1 qubits have 2 to 2 outcomes"),
        ({"digits": ["3x"]}, r"digits = \['3x'\]: allowed is"),
        ({"digits": ["33"]}, "digits: '3' is unknown or twice"),
        ({"digits": ["38", "38"]}, "digits = .* each once"),
        ({"ways": ["no_noise", "none_such"]}, "ways: 'none_such' is unknown or twice"),
        ({"ways": ["no_noise"]}, "must hold 'no_noise' and another"),
        ({"ways": ["t0_qat_tuned", "channel"]}, "must hold 'no_noise' and another"),
        ({"lowest_rate": 0.3, "highest_rate": 0.3}, r"lowest_rate = 0\.3: must be below highest_rate"),
        (
            {"lowest_rate": 0.4, "highest_rate": 0.3},
            r"lowest_rate = 0\.4: must be below highest_rate = 0\.3",
        ),
        ({"trainings": 3}, "trainings = 3: 4 candidates take 4 or more"),
        ({"replicates": 1}, "replicates = 1: allowed is a whole number from 2"),
        ({"bits": [32]}, "bits = .* from 1 to 16"),
    ],
)
def test_bad_parameters_stop_before_computing_in_one_line(monkeypatch, wrong, told):
    monkeypatch.setattr(circuits.grid, "run", None)
    monkeypatch.setattr(on_circuits.images, "load", None)
    with pytest.raises(ParameterError, match=told) as caught:
        circuits.plan(**{"replicates": 2} | wrong)
    assert "\n" not in str(caught.value)
