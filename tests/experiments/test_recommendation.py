"""The rule of the recommendation: hand-made answers, and that test seeds choose nothing."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t0qat.experiments import recommendation
from t0qat.experiments.compare import Metric
from t0qat.experiments.recommendation import CHEAPER, ONE_FOR_ALL, RECOMMENDED
from t0qat.paper import PAPER
from t0qat.pipeline import results

sys.path.insert(0, str(Path(__file__).parents[1] / "exhibits"))
from made_up import frames

LOSS = Metric("loss", less_is_better=True)  # its own margin is 0.02
PLAIN = {("no_noise", 0): {32: 0.1, 4: 0.2, 2: 0.9}}  # rounding costs 0.1 and 0.8


def tuned(networks: dict[str, dict], **column) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Losses in tuning, and costs. networks: model -> (method, train_bits) -> width -> loss."""
    losses, scores = [], []
    for model, arms in networks.items():
        for (method, bits), at in arms.items():
            arm = {"dataset": "d", "model": model, "method": method, "train_bits": bits}
            arm |= {"layout": "channels"} | column
            losses += [arm | {"eval_bits": width, "mean": loss, "n": 8} for width, loss in at.items()]
            scores.append(arm | {"eval_bits": 32, "metric": "gradients", "mean": 100.0, "n": 8})
            scores.append(arm | {"eval_bits": 32, "metric": "loss", "mean": 0.3, "n": 8})
    return pd.DataFrame(losses), pd.DataFrame(scores)


def chosen(networks: dict[str, dict]) -> dict[tuple[str, int], tuple[str, int]]:
    """(pick, width) -> the arm."""
    rows = recommendation.picks(recommendation.arms(*tuned(networks), LOSS))
    return {(row.pick, row.eval_bits): (row.method, row.train_bits) for row in rows.itertuples()}


def test_recommended_is_what_lost_least_in_mean_over_the_networks():
    one = PLAIN | {("ste", 4): {4: 0.01}, ("lsq", 4): {4: 0.05}}
    other = PLAIN | {("ste", 4): {4: 0.19}, ("lsq", 4): {4: 0.06}}
    assert chosen({"a": one, "b": other})[RECOMMENDED, 4] == ("lsq", 4)
    assert chosen({"a": one})[RECOMMENDED, 4] == ("ste", 4)


def test_each_width_has_its_own_and_an_arm_stands_at_the_width_it_trained_for():
    arms = PLAIN | {("ste", 4): {32: 0.0, 4: 0.15}, ("ste", 2): {2: 0.5}, ("lsq", 2): {2: 0.4}}
    found = chosen({"a": arms})
    assert (found[RECOMMENDED, 4], found[RECOMMENDED, 2]) == (("ste", 4), ("lsq", 2))
    assert found[ONE_FOR_ALL, 4] == found[ONE_FOR_ALL, 2] == ("no_noise", 0)
    assert {width for _, width in found} == {4, 2}


def test_networks_with_few_methods_and_arms_that_a_network_lacks_do_not_count():
    every = PLAIN | {("ste", 4): {4: 0.3}, ("gptq", 0): {32: 0.1, 4: 0.18, 2: 0.8}}
    lacks = PLAIN | {("ste", 4): {4: 0.3}, ("lsq", 4): {4: 0.0}}
    few = {("no_noise", 0): {32: 0.1, 4: 0.0, 2: 0.0}}
    found = chosen({"a": every, "few": few, "b": lacks})
    assert (found[RECOMMENDED, 4], found[RECOMMENDED, 2]) == (("no_noise", 0), ("no_noise", 0))
    found = chosen({"a": every, "few": few})
    assert (found[RECOMMENDED, 4], found[RECOMMENDED, 2]) == (("gptq", 0), ("gptq", 0))


def test_controls_with_another_budget_and_other_layouts_are_no_arms():
    controls = {(name, 0): {32: 0.0, 4: 0.0, 2: 0.0} for name in ("longer", "not_tuned")}
    assert set(chosen({"a": PLAIN | controls}).values()) == {("no_noise", 0)}
    losses, scores = tuned({"a": PLAIN})
    more, scored = tuned({"a": {("gptq", 0): {32: 0.0, 4: 0.0, 2: 0.0}}}, layout="groups")
    arms = recommendation.arms(pd.concat([losses, more]), pd.concat([scores, scored]), LOSS)
    assert {*arms.method} == {"no_noise"}


@pytest.mark.parametrize(
    ("plain", "other", "cheaper"),
    [
        (0.5, 0.6, ("no_noise", 0)),  # the margin is a tenth of 0.5 - 0.1, and behind by 0.03
        (0.52, 0.6, None),  # behind by 0.05, more than 0.042
        (0.5, 0.505, ("no_noise", 0)),  # of two that cost the same, the one that lost less
        (0.505, 0.5, ("random_bits", 0)),
        (0.5, 0.5, ("no_noise", 0)),  # of equals the first
        (0.4, 0.6, None),  # what is recommended costs least itself
    ],
)
def test_the_cheaper_one_serves_every_width_and_lies_within_the_margin(plain, other, cheaper):
    free = {("no_noise", 0): plain, ("random_bits", 0): other}
    arms = {arm: {32: 0.1, 4: 0.1, 2: loss} for arm, loss in free.items()}  # one training serves both
    arms |= {("ste", 2): {2: 0.47}, ("lsq", 2): {2: 0.475}}
    assert chosen({"a": arms}).get((CHEAPER, 2)) == cheaper


def test_the_fixed_margin_holds_where_rounding_costs_little():
    for behind, cheaper in ((0.019, ("no_noise", 0)), (0.021, None)):
        arms = {("no_noise", 0): {32: 0.1, 4: 0.1 + behind, 2: 0.1}, ("ste", 4): {4: 0.1}}
        assert chosen({"a": arms}).get((CHEAPER, 4)) == cheaper


def test_a_margin_is_of_the_mean_over_networks():
    one, other = {32: 0.1, 4: 0.3, 2: 0.9}, {32: 0.1, 4: 0.1, 2: 0.1}
    arms = recommendation.arms(
        *tuned({"a": {("no_noise", 0): one}, "b": {("no_noise", 0): other}}), LOSS
    )
    assert dict(zip(arms.eval_bits, arms.margin, strict=True)) == pytest.approx({4: 0.02, 2: 0.04})


def test_of_equal_losses_the_one_that_costs_less_is_recommended():
    arms = {("ste", 4): {4: 0.2}} | PLAIN | {("gptq", 0): {32: 0.1, 4: 0.2, 2: 0.95}}
    found = chosen({"a": arms})
    assert found[RECOMMENDED, 4] == ("no_noise", 0)
    assert (CHEAPER, 4) not in found


def test_one_training_for_all_is_least_in_mean_over_widths_without_those_of_one_width():
    arms = PLAIN | {("random_bits", 0): {32: 0.3, 4: 0.4, 2: 0.6}, ("ste", 4): {4: 0.0}}
    found = chosen({"a": arms})  # means 0.55 and 0.5
    assert found[ONE_FOR_ALL, 4] == found[ONE_FOR_ALL, 2] == ("random_bits", 0)
    assert found[RECOMMENDED, 4] == ("ste", 4)


def test_an_arm_costs_one_training_and_serves_its_widths():
    losses, scores = tuned(dict.fromkeys("ab", PLAIN | {("ste", 4): {4: 0.1}}))
    scores.loc[(scores.method == "ste") & (scores.model == "b"), "mean"] = 200
    arms = recommendation.arms(losses, scores, LOSS)
    assert {*zip(arms.method, arms.cost, strict=True)} == {("no_noise", 100), ("ste", 150)}
    assert {row.method: row.serves for row in arms.itertuples()} == {"no_noise": 2, "ste": 1}


PLACES = st.tuples(st.sampled_from(["ste", "lsq", "parq"]), st.sampled_from([4, 2]))
NUMBER = st.floats(0, 1)


@given(
    free=st.dictionaries(st.sampled_from(["gptq", "random_bits", "kure"]), st.tuples(NUMBER, NUMBER)),
    fixed=st.dictionaries(PLACES, NUMBER),
    plain=st.tuples(NUMBER, NUMBER, NUMBER),
)
@settings(max_examples=60, deadline=None)
def test_the_picks_are_those_of_the_rule_read_plainly(free, fixed, plain):
    arms = {("no_noise", 0): dict(zip((32, 4, 2), plain, strict=True))}
    arms |= {(name, 0): dict(zip((4, 2), at, strict=True)) for name, at in free.items()}
    arms |= {(name, bits): {bits: loss} for (name, bits), loss in fixed.items()}
    found = chosen({"a": arms})
    for width in (4, 2):
        here = {arm: round(at[width], 12) for arm, at in arms.items() if width in at}
        best = found[RECOMMENDED, width]
        assert here[best] == min(here.values())
        margin = max(0.02, 0.1 * (arms["no_noise", 0][width] - plain[0]))
        near = {arm: loss for arm, loss in here.items() if loss - here[best] <= margin and arm[1] == 0}
        if best[1] == 0 or not near:
            assert (CHEAPER, width) not in found
        else:
            assert here[found[CHEAPER, width]] == min(near.values())
            assert found[CHEAPER, width] in near


@pytest.fixture(scope="module")
def made() -> dict[str, pd.DataFrame]:
    return frames()


CHOICE = ["family", "pick", "eval_bits", "method", "train_bits"]
TESTED = [name for name in recommendation.read_by() if "tun" not in name]


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_test_seeds_choose_nothing(made, seed):
    draws = np.random.default_rng(seed)
    before = recommendation.recommend(made)
    changed = dict(made)
    for name in TESTED:
        numbers = [c for c in made[name] if PAPER.columns[c].kind == "number" and c != "other_bits"]
        drawn = made[name].assign(**{c: draws.normal(size=len(made[name])) for c in numbers})
        if name in ("vision", "language"):  # what a training costs is no result
            drawn = drawn.where(made[name].metric != "gradients", made[name])
        changed[name] = drawn
    after = recommendation.recommend(changed)
    pd.testing.assert_frame_equal(before["recommendation_arms"], after["recommendation_arms"])
    same = (table["recommendation"][[*CHOICE, "model", "quantity"]] for table in (before, after))
    pd.testing.assert_frame_equal(*same)
    assert not before["recommendation"].estimate.equals(after["recommendation"].estimate)


def test_another_loss_in_tuning_chooses_another(made):
    lost = made["vision_tuned"].copy()
    lost.loc[(lost.method == "seq") & (lost.eval_bits == 2), "mean"] = 0.0
    table = recommendation.recommend(made | {"vision_tuned": lost})["recommendation"]
    best = table[(table.family == "images") & (table.pick == RECOMMENDED) & (table.eval_bits == 2)]
    assert {*best.method} == {"seq"}


def test_a_cost_is_that_of_the_full_training_not_of_tuning(made):
    scores, tuning = made["vision"].copy(), made["vision_tuning"].assign(gradients=1)
    scores.loc[scores.metric == "gradients", "mean"] = 252.0
    tables = recommendation.recommend(made | {"vision": scores, "vision_tuning": tuning})
    arms = tables["recommendation_arms"]
    assert {*arms[arms.family == "images"].cost} == {252}


def test_the_report_is_what_the_benchmarks_files_say_of_test_seeds(made):
    table = recommendation.recommend(made)["recommendation"]
    assert {*table.pick} >= {RECOMMENDED, ONE_FOR_ALL}
    for row in table.itertuples():
        file = {"images": "vision", "text": "language"}[row.family]
        ending = {"loss": "", "minus_plain": "_paired", "minus_unrounded": "_kept"}[row.quantity]
        source = made[file + ending]
        where = (
            (source.model == row.model) & (source.method == row.method) & (source.layout == "channels")
        )
        where &= (source.eval_bits == row.eval_bits) & (source.train_bits == row.train_bits)
        where &= source.scale_rule == "own"
        where &= source.metric.isin(["loss", "bits_per_character"]) if not ending else True
        where &= source.against == "plain" if ending == "_paired" else True
        (found,) = source[where].to_dict("records")
        value = found["estimate" if ending else "mean"]
        assert (row.estimate, row.ci_low, row.n) == (value, found["ci_low"], found["n"])
        assert row.margin == found["margin"] if ending else np.isnan(row.margin)


def test_the_files_come_back_as_they_were_written(made, tmp_path):
    for name, table in recommendation.recommend(made).items():
        path = tmp_path / f"paper/results/{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(results.text(PAPER, name, table))
        back = results.read(PAPER, name, tmp_path)
        table = table[PAPER.columns_of(name)].reset_index(drop=True)
        pd.testing.assert_frame_equal(back, table, check_dtype=False, rtol=1e-7)


def run(train_bits: int, **losses: float) -> pd.DataFrame:
    """recommendation_arms of one width, 2, and margin 0.1; all trainings cost and serve the same."""
    loss = np.array([*losses.values()])
    return pd.DataFrame(
        {"family": "images", "eval_bits": 2, "method": [*losses], "train_bits": train_bits, "loss": loss}
        | {"behind": loss - loss.min(), "margin": 0.1, "cost": 1.0, "serves": 1}
    )


@pytest.mark.parametrize(
    ("first", "second", "behind", "holds"),
    [
        ({"ste": 0.5, "lsq": 0.9}, {"ste": 0.1, "lsq": 0.9}, (0, 0), True),  # the same
        ({"ste": 0.5, "lsq": 0.55}, {"ste": 0.48, "lsq": 0.4}, (0.05, 0.08), True),  # within the margin
        ({"ste": 0.5, "lsq": 0.65}, {"ste": 0.48, "lsq": 0.4}, (0.15, 0.08), False),  # in one run only
        ({"ste": 0.5, "lsq": 0.55}, {"ste": 0.6, "lsq": 0.4}, (0.05, 0.2), False),  # in the other only
        ({"ste": 0.5}, {"ste": 0.41, "lsq": 0.4}, (np.nan, 0.01), False),  # one that the first lacks
    ],
)
def test_two_runs_agree_where_each_holds_the_others_pick_for_as_good(first, second, behind, holds):
    (row,) = recommendation.agreement(run(2, **first), run(2, **second)).to_dict("records")
    np.testing.assert_allclose((row["behind_first"], row["behind_second"]), behind, atol=1e-12)
    assert row["holds"] is holds
    assert row["method"] == min(first, key=first.get) and row["other"] == min(second, key=second.get)


def test_agreement_on_one_training_for_all_is_of_the_mean_over_widths():
    """Each is worse at one width by more than the margin there, and nearer in the mean."""
    one, other = {"gptq": 0.1, "kure": 0.3, "ste": 0.6}, {"gptq": 0.5, "kure": 0.34, "ste": 0.02}
    first = pd.concat([run(0, **one), run(0, **other).assign(eval_bits=4, margin=0.04)])
    found = recommendation.agreement(first, first.assign(loss=[0.1, 0.1, 0.2, 0.5, 0.4, 0.38]))
    (row,) = found[found.eval_bits == 0].to_dict("records")
    assert (row["method"], row["other"]) == ("gptq", "kure")  # means 0.3, 0.32, 0.31; 0.3, 0.25, 0.29
    np.testing.assert_allclose((row["behind_first"], row["behind_second"]), (0.02, 0.05), atol=1e-12)
    assert row["holds"]  # 0.05 is below 0.07, the mean margin
    wider = first.assign(loss=[0.1, 0.1, 0.2, 0.6, 0.4, 0.38])
    found = recommendation.agreement(first, wider)
    assert not found[found.eval_bits == 0].holds.item()  # 0.1 behind in the second run


def test_agreement_is_asked_of_every_family_and_width(made):
    arms = recommendation.recommend(made)["recommendation_arms"]
    found = recommendation.agreement(arms, arms)
    assert found.holds.all()
    assert set(zip(found.family, found.eval_bits, strict=True)) == {
        (f, b) for f in ("images", "text") for b in (4, 2, 0)
    }
    moved = arms.assign(behind=arms.behind.to_numpy()[::-1])
    assert not recommendation.agreement(arms, moved).holds.all()
