"""The language benchmark: tuning, tables and plans against its cells."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from small_models import (
    CONTEXT,
    TEXT,
    TINY,
)

from t0qat.experiments import language
from t0qat.experiments.arms import KEYS
from t0qat.paper import PAPER
from t0qat.pipeline import places, results
from t0qat.pipeline.parameters import ParameterError
from t0qat.training import language_models

pytestmark = pytest.mark.usefixtures("one_thread")


def smaller(patch):
    for name, value in {"WIDTH": 32, "LAYERS": 1, "HEADS": 2}.items():
        patch.setattr(language_models, name, value)


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(language.grid, "STORE", tmp_path_factory.mktemp("cells"))
        patch.setattr(language.grid.weights, "FOLDER", tmp_path_factory.mktemp("weights"))
        patch.setattr(language.grid.joblib, "cpu_count", lambda: 1)
        smaller(patch)
        return language.benchmark(**TINY | {"corpus": corpus, "methods": ["t0_qat", "ste"]})


def test_the_smallest_validation_loss_is_chosen_and_other_layouts_take_it(run, corpus):
    table = run.tuning
    assert len(table) == 8 and (table.groupby(KEYS).chosen.sum() == 1).all()
    for _, group in table.groupby(KEYS):
        assert group.chosen.idxmax() == group["mean"].idxmin()
        assert (group.ci_low < group["mean"]).all() and (group["mean"] < group.ci_high).all()
    assert set(table.layout) == {"channels"}
    ran = run.losses.groupby("layout").method.unique().map(set)
    assert dict(ran) == {"channels": {"no_noise", "t0_qat", "ste"}, "groups": {"no_noise", "ste"}}
    ste = run.losses[(run.losses.train_bits == 2) & (run.losses.eval_bits == 2)]
    row = table[(table.method == "ste") & (table.train_bits == 2) & (table.chosen == 1)]
    for _, lost in ste.groupby("layout"):
        assert row["mean"].item() == pytest.approx(lost.loss.mean()) and len(lost) == 2


def test_the_tables_come_back_from_their_files_and_follow_from_the_models(run, tmp_path):
    made = language.tables(run)
    for name, table in made.items():
        content = results.text(PAPER, name, table)
        places.write(tmp_path / f"paper/results/{name}.csv", content)
        assert results.text(PAPER, name, results.read(PAPER, name, tmp_path)) == content
    scored = run.test[run.test.metric == "bits_per_character"]
    at = ["eval_bits", "scale_rule"]
    per = scored.groupby([*KEYS, *at, "replicate"]).value.mean()
    table = made["language"]
    for row in table[(table.metric == "bits_per_character") & (table.scale_rule != "own")].itertuples():
        values = per[tuple(getattr(row, key) for key in [*KEYS, *at])]
        low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
        assert [row.mean, row.ci_low, row.ci_high] == pytest.approx([np.mean(values), low, high])
    for row in made["language_paired"].query("scale_rule == 'own'").itertuples():
        place, at = (row.dataset, row.model), (row.layout, row.eval_bits)
        mine, other = (
            per[(*place, *arm, *at, "absmax" if arm[0] == "ste" else "mse")].to_numpy()
            for arm in ((row.method, row.train_bits), (row.other, row.other_bits))
        )
        assert row.estimate == pytest.approx(np.mean(mine - other))
        assert row.ci_low < row.estimate < row.ci_high
    one = "layout == 'groups' and method == 'no_noise' and eval_bits == 32"
    blocks, values = made["language_blocks"].query(one), scored.query(one).groupby("block").value.mean()
    assert blocks["mean"].item() == pytest.approx(values.mean()) and blocks.n.item() == 3
    anywhere = made["language_any"].query("scale_rule == 'mse'").set_index([*KEYS, "quantity"])
    for key, values in per[per.index.get_level_values("scale_rule") == "mse"].groupby(KEYS):
        by_bits = values.unstack("eval_bits")
        assert anywhere["mean"][*key, "mean"] == pytest.approx(by_bits.mean(axis=1).mean())
        assert anywhere["mean"][*key, "worst"] == pytest.approx(by_bits.max(axis=1).mean())
    samples = made["language_samples"]
    assert set(samples.eval_bits) == {32, 4, 2}
    assert {len(json.loads(text)) for text in samples.text} == {4 * CONTEXT}
    assert (made["language"].query("scale_rule == 'own'").groupby(KEYS).eval_bits.nunique() == 2).all()


def test_the_text_is_named_by_its_digest(run, corpus):
    row = language.tables(run)["language_text"].iloc[0]
    content = Path(corpus).read_bytes()
    assert row.sha256 == hashlib.sha256(content).hexdigest() and row.characters == 6000
    assert row.dataset == corpus and row.python == sys.version.split()[0]
    assert row.model == TINY["models"][0] and row.bos == ""


def test_the_best_baseline_is_the_one_that_needed_fewest_bits_in_tuning(run):
    known = run.losses.query("layout == 'channels' and eval_bits == 2 and method != 't0_qat'")
    best = known.groupby(["method", "train_bits"]).loss.mean().idxmin()
    paired = language.tables(run)["language_paired"].query(
        "eval_bits == 2 and method == 't0_qat' and against == 'best_baseline'"
    )
    assert {*paired.layout} == {"channels"}  # groups are tried on some methods only
    assert (paired.other.item(), paired.other_bits.item()) == best


def test_tuning_goes_on_from_a_few_starts_with_windows_of_their_own(corpus, monkeypatch):
    tiny = TINY | {"corpus": corpus, "trainings": 10, "tuning_starts": 2, "groups": []}
    planned = language.plan(**tiny)
    first = language.FIRST
    begins = planned.begins()
    assert [begins[i] - i for i in range(3)] == [0, 0, 0]
    assert [begins[first + i] - first for i in range(5)] == [0, 1, 0, 1, 0]
    assert {i for _, i in planned.starts()} == {0, 1, 2, first, first + 1}


def test_every_arm_takes_as_many_trainings_in_tuning():
    """Noise as published too: from a pretrained start it is not at chance."""
    totals = {}
    for one in language.plan(replicates=2).jobs.rivals:
        before = [0, *(seen for _, seen in one.rounds)]
        whole = sum(size * (n - b) for (size, n), b in zip(one.rounds, before, strict=False))
        totals[one.arm] = whole + len(one.candidates) / 3 * one.cut
        assert one.cut == (len(one.candidates) > 8) and one.rounds[-1][1] >= 8
    assert {arm.method for arm in totals} == {*TEXT}
    assert min(totals.values()) > 23.5 and max(totals.values()) <= 25


def test_what_ended_is_not_computed_again(run, corpus, tmp_path, monkeypatch):
    """The second run of the same benchmark takes every cell from the store."""
    smaller(monkeypatch)
    monkeypatch.setattr(language.grid.joblib, "cpu_count", lambda: 1)
    tiny = TINY | {"corpus": corpus, "groups": [], "methods": ["ste"]}
    first = language.benchmark(**tiny)
    monkeypatch.setattr(language.grid, "_here", None)
    again = language.benchmark(**tiny)
    assert again.test.equals(first.test)
    assert again.more["language_samples"].equals(first.more["language_samples"])
    once = run.test.query("layout == 'channels' and method != 't0_qat'").reset_index(drop=True)
    assert first.test.equals(once)


def test_named_methods_run_with_plain_fine_tuning_in_every_layout(corpus):
    named = ["ste", "gptq"]
    planned = language.plan(**TINY | {"corpus": corpus, "methods": named})
    arms = [("no_noise", 0), ("gptq", 0), ("ste", 4), ("ste", 2)]
    assert [one.arm[2:] for one in planned.jobs.rivals] == [(*arm, "channels") for arm in arms]
    assert [arm[1:] for arm in planned.laid_out] == [("small_gpt2", *arm, "groups") for arm in arms]
    for others, groups, everything in (
        ({"everything": ["t0_qat", "ste"]}, {"no_noise", "ste", "gptq"}, {"no_noise", "ste"}),
        ({"groups": ["ste"], "everything": ["gptq"]}, {"no_noise", "ste"}, {"no_noise", "gptq"}),
        ({"groups": ["lsq"]}, {"no_noise"}, set()),
        ({"groups": []}, set(), set()),
    ):
        planned = language.plan(**TINY | {"corpus": corpus, "methods": named} | others)
        laid_out = [
            {arm.method for arm in planned.laid_out if arm.layout == layout}
            for layout in ("groups", "everything")
        ]
        assert laid_out == [groups, everything]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"bits": [16, 4]}, r"bits = \[16, 4\]"),
        ({"models": ["small_gpt2", "small_gpt2"]}, r"models = .*: allowed is a list, each once"),
        ({"models": ["../elsewhere"]}, r"models = \['../elsewhere'\]: allowed is"),
        ({"groups": ["rows"]}, "groups: 'rows' is unknown or twice"),
        ({"everything": ["sam"]}, "everything: 'sam' is unknown or twice"),
        ({"everything": ["ste", "ste"]}, r"everything = .*: allowed is a list, each once"),
        ({"methods": ["ste", "sam"]}, "methods: 'sam' is unknown or twice"),
        ({"methods": ["no_noise"]}, r"methods = \['no_noise'\]: name one to compare"),
        ({"trainings": 1}, "trainings = 1: .* candidates take"),
        ({"trained_bits": [3]}, r"trained_bits = \[3\]: allowed are those of bits"),
        ({"lowest_rate": 0.5}, "lowest_rate = 0.5: "),
        ({"corpus": "nowhere.txt"}, "corpus = 'nowhere.txt': "),
        ({"context": 5000}, "tokens are fewer than one context of 5000"),
        ({"blocks": 500}, "shorter than 500 blocks"),
        ({"replicates": 1}, "replicates = 1: "),
    ],
)
def test_wrong_parameters_stop_in_one_line_before_anything_is_trained(
    wrong, message, corpus, monkeypatch
):
    monkeypatch.setattr(language.grid, "run", None)
    with pytest.raises(ParameterError, match=message) as caught:
        language.benchmark(**TINY | {"corpus": corpus} | wrong)
    assert "\n" not in str(caught.value)
