"""What is said and drawn of networks in runtimes: counts, and sentences in all their forms."""

import numpy as np
import pandas as pd
import pytest
from made_up import frames
from matplotlib.container import ErrorbarContainer

from t0qat.exhibits import deployment, figures
from t0qat.experiments.arms import FLOAT


@pytest.fixture
def results() -> dict[str, pd.DataFrame]:
    return frames()


def test_predictions_are_counted_over_all_files_and_seeds(results):
    table, said = deployment.deployment(results)
    # Two networks, four methods, float and two widths, 8 seeds: 3 of 450 predictions each.
    assert " 576 of 86,400 predictions " in said["DeploymentSentence"]
    assert said["DeploymentFiles"] == "192" and said["DeploymentLargest"] == "1 · 10⁻⁵"
    assert said["DeploymentFloor"] == "1.20"
    assert r"96 of 14\,400" in table  # of one network and width, all methods


def test_a_runtime_that_was_not_there_is_named(results):
    every = results["deployment"]
    table, said = deployment.inexact(results)
    for name in ("Eight", "Llama"):
        assert said[f"DeploymentIn{name}Sentence"].endswith(" in 0.67 % of cases.")
    assert "Q4" in table and r"ik\_llama.cpp" in table
    here = results | {"deployment": every[every.runtime != "llama_cpp"]}
    table, said = deployment.inexact(here)
    assert " has no rows: " in said["DeploymentInLlamaSentence"] and "llama.cpp" not in table
    assert figures.deployment(here["deployment"])


def test_the_readme_says_whether_small_networks_gain(results):
    speeds = results["deployment_speed"]
    small = (speeds.model == "deep_cnn") & (speeds.quantity == "faster")
    texts = {}
    for name, low in {"none": 0.5, "all": 1.5}.items():
        texts[name] = deployment.readme(
            {"deployment_speed": speeds.assign(ci_low=np.where(small, low, speeds.ci_low))}
        )
    assert "The small networks (deep CNN) gain no time." in texts["none"]
    assert "The small networks (deep CNN) gain time in every file." in texts["all"]
    one = speeds.assign(ci_low=np.where(small, 0.5, speeds.ci_low))
    one.loc[small[small].index[0], "ci_low"] = 1.5
    count = small.sum()
    assert f"Of the small networks (deep CNN), 1 of {count} files gain time." in deployment.readme(
        {"deployment_speed": one}
    )
    assert all("a processor" in text and "wide Llama" in text for text in texts.values())
    assert deployment.timings(results).columns.name == "a processor"
    cells = deployment.speeds(results)
    assert len({len(row) for row in [*cells, deployment.SPEED_HEADER]}) == 1
    assert all(row[5] == "–" for row in cells if row[2] == "float")


def test_marks_stand_at_the_bytes_and_the_score_of_their_file(results):
    table = results["deployment"]
    sizes = table.metric == "file_bytes"
    table.loc[sizes, "mean"] = 1000 + 10 * np.arange(sizes.sum())
    figure = figures.deployment(table)
    panel = figure.axes[0]
    bars = {c.get_label(): c for c in panel.containers if isinstance(c, ErrorbarContainer)}
    mine = table[(table.model == "deep_cnn") & (table.runtime == "onnxruntime")]
    for label, method in {"No noise": "no_noise", "recommended at the width": "seq"}.items():
        rows = mine[mine.method == method].set_index(["eval_bits", "metric"])["mean"]
        widths = (FLOAT, 4, 2) if method == "no_noise" else (2,)
        drawn = bars[label].lines[0].get_xydata()
        expected = [(rows[bits, "file_bytes"], rows[bits, "loss"]) for bits in widths]
        np.testing.assert_allclose(drawn, expected)
    assert "hollow: in ik_llama.cpp" in {t.get_text() for t in figure.legends[0].get_texts()}
