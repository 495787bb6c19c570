"""The README's block: what to use, and how many verdicts there are."""

import re

import pytest
from made_up import frames

from t0qat.exhibits import verdicts
from t0qat.pipeline import claims, words
from t0qat.training.methods import REGISTRY


def test_hostile_labels_leave_the_readme_tables_whole(monkeypatch):
    """As many cells in every row, which GitHub splits at each bar without a backslash before it."""
    hostile = "A | B <img> [c](d) `e`"
    monkeypatch.setitem(REGISTRY, "t0_qat", REGISTRY["t0_qat"]._replace(label=hostile))
    tables = frames()
    tables["claims"] = tables["claims"].assign(claim=hostile, statistic=hostile)
    blocks = [text for text in verdicts.readme(tables).split("\n\n") if text.startswith("|")]
    assert len(blocks) == 3
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in block.splitlines()}) == 1
    assert "<img>" not in "".join(blocks)


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.3), (-0.2, 0.1), (-0.3, -0.1)])
def test_the_readmes_direction_follows_the_interval(low, high):
    tables = frames()
    tables["table1_paired"].loc[0, ["estimate", "ci_low", "ci_high"]] = [(low + high) / 2, low, high]
    said = words.direction({"estimate": low, "ci_low": low, "ci_high": high})
    assert f"expected drop is {said} Standard QAT's" in verdicts.readme(tables)


def test_the_readme_says_what_to_use_and_counts_verdicts():
    tables = frames()
    _, use, counts = (
        [[cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines()[2:]]
        for block in verdicts.readme(tables).split("\n\n")
        if block.startswith("|")
    )
    files = {"CNN": ("vision", "loss"), "small": ("language", "bits_per_character")}
    seen, model = [], ""
    for lead, width, best, *others in use:
        model = lead.split(",")[0].lower().replace(" ", "_").replace("-", "") if lead else model
        file, metric = files["CNN" if "cnn" in model else "small"]
        here = {
            "model": model,
            "layout": "channels",
            "eval_bits": int(width.removeprefix("INT")),
            "scale_rule": "own",
        }
        select = " and ".join(f"{key} == {value!r}" for key, value in here.items())
        arm = tables[f"{file}_paired"].query(
            f"{select} and method == 't0_qat' and against == 'best_baseline'"
        )
        rows = tables[file].query(f"{select} and metric == {metric!r}")
        mine = rows[(rows.method == arm.other.item()) & (rows.train_bits == arm.other_bits.item())]
        for cell, row in [(best, mine)] + [
            (cell, rows[rows.method == method])
            for cell, method in zip(others, ("t0_qat", "t0_qat_tuned", "no_noise"), strict=True)
        ]:
            shown = float(re.search(r"(-?[\d.]+) \\\[", cell)[1])
            assert shown == pytest.approx(row["mean"].item(), abs=0.006)
        assert best.startswith(REGISTRY[arm.other.item()].label)
        seen.append((model, width))
    assert seen == [
        (model, width)
        for model in ("small_cnn", "deep_cnn", "small_gpt2", "small_llama")
        for width in ("INT4", "INT2")
    ]
    verdict = tables["claims"].groupby("id").verdict.value_counts()
    for claim, *found in counts:
        for cell, word in zip(
            found,
            (claims.SUPPORTED, claims.CONTRADICTED, claims.UNCLEAR, claims.UNTESTABLE),
            strict=True,
        ):
            assert cell.replace("–", "0") == str(verdict.get((claim.split()[0], word), 0))
