"""What a stranger adds in one place appears everywhere: one of each kind in a copy, then a toy run.

The run is of the notebooks' own cells, one after the other in one process, at the least sizes.
"""

import json
import re
import subprocess
import sys
import tomllib

import nbformat
import pandas as pd
import pytest
from projects import ROOT, Project, copy

pytestmark = pytest.mark.chain
METHOD = '''

def gentle(fraction: float = 0.1) -> View:
    """W * (1 + fraction * noise)."""
    return lambda parameter, noise: parameter * (1 + fraction * noise)


METHODS["gentle"] = Method(
    "Gentle noise", gentle, "noise", strength="fraction", values=(0.05, 0.2), layer=True, few=True,
    settings={"fraction": number(0, 10)},
)  # fmt: skip
'''
CONSTANT = '        "muon_tau_mass_ratio": "muon-tau mass ratio",\n'
DATA = '''

def thirteen(replicate: int, seed: int = 0) -> Data:
    """A line through thirteen features."""
    draws = stream("data", replicate, seed)
    inputs = draws.standard_normal((60, 13)).astype(np.float32)
    return split(inputs, inputs @ np.linspace(-1, 1, 13, dtype=np.float32), "split", replicate, seed)


def stripes(replicate: int, seed: int = 0) -> Data:
    """Coloured images of 6 x 6 pixels, dark on one of three colours."""
    draws = np.random.default_rng(0)
    classes = draws.integers(3, size=120)
    pixels = draws.uniform(-1, 1, (120, 3, 36))
    pixels[np.arange(120), classes] -= 1
    return split(pixels.reshape(120, -1).astype(np.float32), classes, "split", replicate, seed)


TASKS["thirteen"] = thirteen
IMAGES["stripes"] = stripes
'''
SCALE_RULE = '''

def two_thirds(weights: Tensor, grid: Grid) -> Tensor:
    """Two thirds of the absmax step: the largest weights are clipped."""
    return absmax_scale(weights, grid) * 2 / 3


SCALES["two_thirds"] = two_thirds
'''
EXPERIMENT = '''"""How far apart two starts lie."""

import pandas as pd

from t0qat.experiments.settings import checked
from t0qat.pipeline import statistics
from t0qat.training import linear


@checked
def distances(*, replicates: int, seed: int = 0) -> pd.DataFrame:
    """Columns quantity, estimate, ci_low, ci_high, n."""
    start = linear.initial(10, range(2 * replicates), seed)
    apart = (start[:, ::2] - start[:, 1::2]).norm(dim=0).numpy()
    row = statistics.mean_interval(apart)
    return pd.DataFrame([{"quantity": "distance", "estimate": row.pop("mean")} | row])
'''
EXHIBIT = '''"""Its table and macros."""

from t0qat.pipeline.latex import tabular


def starts(results):
    (row,) = results["starts"].to_dict("records")
    shown = f"{row['estimate']:.2f}"
    return tabular([["Distance", shown]], ["", "Mean"], "lr"), {"StartsDistance": shown}


def how_far(read):
    return "apart", {"distance": f"{read('starts').estimate[0]:.2f}"}


CHOOSE = {"starts/1": how_far, "starts/2": how_far}
'''
SENTENCES = """
["starts/1"]
apart = "Two starts lie {distance} apart."

["starts/2"]
apart = "That is the length of {distance}."
"""
ENTRY = """EXPERIMENTS["starts"] = Experiment(
    {"starts": f"quantity {ESTIMATE}"}, {"starts": shown("starts:starts", "starts")}
)
PAPER = Paper("""
CLAIM = """
[[claims]]
id = "C14"
section = "none"
statement = "Starts lie apart"

[[claims.as_published]]
statistic = "distance of two starts"
file = "starts"
row = { quantity = "distance" }
better = "above"
"""
CELLS = """from t0qat import paper
from t0qat.experiments import starts

paper.publish("starts", {"starts": starts.distances(replicates=replicates, seed=seed)}, {})"""

# Parameters of each notebook, beside those of its smoke profile.
SIZES = {
    "01_table1": {"replicates": 6, "epochs": 5, "settings": {"fraction": 0.0}},
    "01b_integer_grids": {"replicates": 4, "epochs": 5},
    "02_theory": {"draws": 100, "networks": 2, "noise_pairs": 1, "probes": 1, "replicates": 2}
    | {"epochs": 5, "longest": 1, "dataset": "stripes"},
    "03_scale": {"replicates": 4, "points": 3, "tuning_points": 2, "calibration_replicates": 3}
    | {"epochs": 5, "target_noises": [0.1], "baseline_noises": [0.4], "evaluation_noises": [0.4]},
    "04_precision": {"replicates": 4, "epochs": 5, "readers": ["mlp"], "trainings": 12}
    | {"dataset": "stripes"},
    "05_vision": {
        "dataset": "stripes",
        "trainings": 4,
        "rates": 1,
        "few_replicates": 2,
        "models": ["mlp"],
    }
    | {"few_models": ["small_cnn"], "bits": [4, 2], "trained_bits": [4]},
    "06_language": {
        "methods": "all",
        "trainings": 4,
        "rates": 1,
        "bits": [4, 2],
        "trained_bits": [4],
        "blocks": 2,
        "groups": [],
    }
    | {"pretraining_steps": 2, "context": 16},
    "07_response": {"models": ["mlp"], "dataset": "stripes", "budgets": [1], "image_rates": [0.02]}
    | {"scalings": [100], "epochs": 1},
    "07_starts": {"replicates": 30},
    "08_recommendation": {"models": ["small_cnn", "small_llama"], "dataset": "stripes"}
    | {"pretraining_steps": 2},
    "09_deployment": {"models": ["mlp"], "dataset": "stripes", "bits": [4, 2], "repeats": 1},
    "10_circuits": {"digits": ["38"], "trainings": 12, "steps": 1},
    "99_claims": {},
}
RUN = """
import json, os, sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")
sys.path.insert(0, str(Path("notebooks").resolve()))
os.chdir("notebooks")
import IPython.display
from t0qat import explorer
from t0qat.explorer import settings
from t0qat.explorer.panel import Explorer
from t0qat.paper import PAPER
from t0qat.pipeline import notebooks, places, readme

IPython.display.display = lambda *shown: None


def texts(figures):
    return sorted({t.get_text() for f in figures for t in f.findobj(matplotlib.text.Text)})


made, sizes = {}, json.loads(sys.argv[1])
for notebook in notebooks.load(PAPER):
    names = notebook.parameters("smoke", sizes[notebook.name])
    PAPER.check_parameters(names)
    cells = json.loads(notebook.path.read_bytes())["cells"]
    names["display"] = IPython.display.display
    for cell in cells:
        if cell["cell_type"] == "code" and "parameters" not in cell["metadata"].get("tags", []):
            exec(compile("".join(cell["source"]), notebook.name, "exec"), names)
    held = [*names.values(), *(v for d in names.values() if type(d) is dict for v in d.values())]
    made[notebook.name] = texts(f for f in held if isinstance(f, matplotlib.figure.Figure))
shown = Explorer(PAPER)
made["pictures"] = texts(shown._figures.values())
options = {name: getattr(control, "options", []) for name, control in shown.controls.items()}
made["explorer"] = {name: [str(option) for option in each] for name, each in options.items()}
before = shown.shown
shown.controls["fraction"].index += 5
after = shown.shown
made["file"] = settings.content(PAPER, shown.wanted)[0]
for part in ("full_precision", "accuracy"):
    made[f"moved {part}"] = [name for name in before[part] if before[part][name] != after[part][name]]
home = places.stage()
blocks = ("results", "questions", "verdicts", "methods", "outputs")
made["readme"] = "".join(readme.made(PAPER, block, home) for block in blocks)
Path(sys.argv[2]).write_text(json.dumps(made))
"""


@pytest.fixture(scope="module")
def extended(tmp_path_factory) -> Project:
    """A copy with one of everything added, and what a toy run of it leaves, in `made`."""
    project = copy(tmp_path_factory.mktemp("extended"))
    source = project.root / "src/t0qat"

    def append(path, text):
        path.write_text(path.read_text() + text)

    def replace(path, old, new):
        assert path.read_text().count(old) == 1
        path.write_text(path.read_text().replace(old, new))

    append(source / "training/noise.py", METHOD)
    last = '        "fine_structure": "fine-structure constant",\n'
    replace(source / "training/constants.py", last, last + CONSTANT)
    append(source / "training/tasks.py", DATA)
    append(source / "quantization/quantizers.py", SCALE_RULE)
    (source / "experiments/starts.py").write_text(EXPERIMENT)
    (source / "exhibits/starts.py").write_text(EXHIBIT)
    replace(source / "exhibits/answers.py", "MODULES = {\n", 'MODULES = {\n    "starts": "starts",\n')
    append(source / "exhibits/answers.toml", SENTENCES)
    replace(source / "paper.py", "PAPER = Paper(", ENTRY)
    append(project.root / "paper/claims.toml", CLAIM)
    replace(project.root / "paper/claims.toml", "family = 20 ", "family = 21 ")
    replace(project.root / "paper/main.tex", r"\appendix", "\\input{tables/starts}\n\\appendix")
    cells = [nbformat.v4.new_markdown_cell("# How far apart are two starts?")]
    parameters = {"tags": ["parameters"]}
    cells += [nbformat.v4.new_code_cell("replicates = 3\nseed = 0", metadata=parameters)]
    cells += [nbformat.v4.new_code_cell(CELLS)]
    path = project.root / "notebooks/07_starts.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    path.with_suffix(".toml").write_text("cell_limit_seconds = 60\n[paper]\nreplicates = 100\n[smoke]\n")
    project.home = project.root / "build/smoke"
    environment = project.environment | {"T0QAT_STAGE": str(project.home), "T0QAT_RUN": "smoke"}
    command = [sys.executable, "-c", RUN, json.dumps(SIZES), str(project.root / "made.json")]
    done = subprocess.run(
        command, cwd=project.root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    project.made = json.loads((project.root / "made.json").read_text())
    return project


def table(project: Project, name: str) -> pd.DataFrame:
    return pd.read_csv(project.home / f"paper/results/{name}.csv")


def shown(project: Project, name: str) -> str:
    return (project.home / f"paper/tables/{name}.tex").read_text()


def macros(project: Project, name: str) -> dict[str, str]:
    text = (project.home / f"paper/macros/{name}.tex").read_text()
    return dict(re.findall(r"\\newcommand\{\\(\w+)\}\{(.*)\}", text))


FILES = ["table1", "integer_grids", "integer_grids_conventions", "theory_training", "precision"]
FILES += ["precision_knee", "vision", "vision_any", "vision_kept", "vision_tuning", "language"]
FILES += ["language_any", "language_kept", "language_tuning", "recommendation_arms"]


@pytest.mark.parametrize("file", FILES)
def test_the_method_is_measured(extended, file):
    assert "gentle" in set(table(extended, file).method)


def test_the_method_is_shown_in_tables_figures_counts_and_the_explorer(extended):
    for name in (
        "table1",
        "integer_grids",
        "precision",
        "vision",
        "vision_few",
        "vision_rules",
        "vision_accuracy",
        "language",
    ):
        assert "Gentle noise" in shown(extended, name), name
    for name in ("01_table1", "01b_integer_grids", "04_precision", "05_vision", "06_language"):
        assert any("Gentle noise" in text for text in extended.made[name]), name
    assert "Gentle noise" in extended.made["pictures"]
    assert "Gentle noise" in extended.made["readme"]
    vision = table(extended, "vision")
    assert macros(extended, "vision")["VisionMethods"] == str(vision.method.nunique())
    # It is counted among noise methods: at INT4 all of them, at INT2 those that train for no width.
    from t0qat.training.methods import REGISTRY

    noise = [m for m in REGISTRY.values() if m.family == "noise" and m.images]
    cells = re.findall(r"& INT[42] & ([\d /]+) &", shown(extended, "vision_shown"))[:2]
    counted = [sum(map(int, cell.split("/"))) for cell in cells]
    assert counted == [len(noise) + 1, sum(not m.for_bits for m in noise) + 1]


def test_the_methods_setting_is_a_parameter_with_a_rule(extended):
    code = "from t0qat.experiments import published as p; p.published(replicates=2, fraction={})"
    for fraction, told in (("0.3", ""), ("-1.0", "fraction = -1.0: allowed is a number from 0 to 10")):
        command = [sys.executable, "-c", code.format(fraction)]
        done = subprocess.run(
            command,
            cwd=extended.root,
            env=extended.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert told in done.stderr and (done.returncode == 0) == (told == "")


def test_notebooks_take_the_methods_setting(extended):
    """01_table1 had a fraction of 0, which is training without noise; 01b_integer_grids had not."""
    for file, same in (("table1", True), ("integer_grids", False)):
        losses = table(extended, file).groupby("method")["mean"].apply(list)
        assert (losses.gentle == losses.no_noise) is same


def test_the_methods_setting_has_a_slider_that_moves_the_method_alone(extended):
    values = [float(option.split("'")[1]) for option in extended.made["explorer"]["fraction"]]
    assert (values[0], values[-1]) == (0, 10)
    assert 0.1 in values
    assert extended.made["moved full_precision"] == ["gentle"]
    assert extended.made["moved accuracy"] == ["gentle"]
    moved = values[values.index(0.1) + 5]
    assert tomllib.loads(extended.made["file"])["settings"] == {"fraction": moved}


def test_the_constant_has_its_rows_its_place_in_table_and_figure_and_its_slider(extended):
    for file in ("constants", "constants_product"):
        assert "muon_tau_mass_ratio" in set(table(extended, file).constant)
    assert "muon tau mass ratio" in shown(extended, "constants").replace(r"\_", " ")
    assert any("muon tau" in text for text in extended.made["03_scale"])
    assert any("muon tau" in option for option in extended.made["explorer"]["constant"])


def test_data_of_thirteen_features_and_images_of_another_size_are_taken(extended):
    for file in ("integer_grids", "precision", "scale_arms", "constants"):
        assert "thirteen" in set(table(extended, file).dataset), file
    assert "thirteen" in shown(extended, "integer_grids")
    assert any("thirteen" in option for option in extended.made["explorer"]["dataset"])
    for file in ("vision", "precision"):
        images = table(extended, file)
        assert set(images[images.model == "mlp"].dataset) == {"stripes"}, file
    assert (table(extended, "theory_expansion").network == "relu_mlp").any()


def test_the_scale_rule_is_in_every_grid_and_changes_no_mean_over_grids(extended):
    assert "two_thirds" in set(table(extended, "integer_grids_conventions").scale)
    assert {"two_thirds"} < set(table(extended, "vision").scale_rule)
    assert "two\\_thirds" in shown(extended, "vision_rules")
    assert "two_thirds" in extended.made["explorer"]["grid_scale"]
    conventions = table(extended, "integer_grids_conventions")
    named = conventions[conventions.scale.isin(["absmax", "mse"]) & (conventions.quantity == "drop")]
    means = named[named.dataset == "diabetes"].groupby("method")["mean"].mean()
    overall = table(extended, "integer_grids_overall")
    row = overall[(overall.dataset == "diabetes") & (overall.quantity == "drop")].iloc[0]
    assert row.estimate == pytest.approx(means.t0_qat - means.standard_qat, rel=1e-6)


def test_the_experiment_and_the_claim_are_known_everywhere(extended):
    assert len(table(extended, "starts")) == 1
    assert "Distance" in shown(extended, "starts")
    claims = table(extended, "claims")
    (row,) = claims[claims.id == "C14"].to_dict("records")
    assert row["condition"] == "distance of two starts"
    assert table(extended, "verdicts").set_index("id").as_published["C14"] == "supported"
    assert "C14: Starts lie apart" in shown(extended, "claims")
    assert "distance of two starts" in shown(extended, "claims_conditions")
    assert "| C14: Starts lie apart | supported |" in extended.made["readme"]
    assert "| 07_starts |" in extended.made["readme"]
    assert "paper/results/starts.csv" in extended.made["readme"]
    (status,) = [line for line in extended.run("status").stdout.splitlines() if "07_starts" in line]
    assert "it has not run in this clone" in status


def test_nothing_of_it_is_in_the_project_itself():
    assert not (ROOT / "src/t0qat/experiments/starts.py").exists()
