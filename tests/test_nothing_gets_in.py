"""Parameters carry no code, files no pickle, JupyterLab no stranger, texts no markup."""

import ast
import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pandas as pd
import pytest
from projects import jupyter_server

from t0qat.exhibits import readme as blocks
from t0qat.exhibits import story, verdicts
from t0qat.experiments.settings import RULES, check
from t0qat.paper import PAPER
from t0qat.pipeline import latex, places, readme, results, typeset, verify
from t0qat.pipeline.parameters import ParameterError

ROOT = Path(__file__).parents[1]
HOSTILE = "\\input{/etc/passwd} $x$ & 100 % _a_ #1 {~^} <script>alert(1)</script> | `x` \"'"


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(
    "value",
    [
        "__import__('os').system('x')",
        "../../etc/passwd",
        "1; import os",
        [1],
        {"a": 1},
        None,
        float("inf"),
    ],
)
def test_no_parameter_takes_code_a_path_or_a_container(name, value):
    many = "a list" in RULES[name].allowed
    for tried in ([value], value) if many else (value,):
        if not (many and tried == [1]):  # a list of numbers, as it may be
            with pytest.raises(ParameterError):
                check({name: tried})


def test_a_string_parameter_reaches_the_notebook_as_text_only(toys):
    marker = toys.root / "ran"
    text = f"sum'); open({str(marker)!r}, 'w'); ('"
    (toys.root / "mine.toml").write_text(f"target = {json.dumps(text)}")
    toys.notebook("01_toy", "pass", "target = 'sum'")
    done = toys.run("run", "--profile", "smoke", "--params", "mine.toml")
    assert done.returncode == 1
    assert "allowed is 'sum' or 'normal'" in done.stderr
    assert not marker.exists()


def test_no_module_loads_pickles():
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                assert not names & {"pickle", "cloudpickle", "dill", "shelve", "marshal"}, path
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                safe = any(
                    k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords
                )
                assert called != "torch.load" or safe, path
                assert called not in ("pd.read_pickle", "joblib.load", "eval", "exec"), path
                assert not [k for k in node.keywords if k.arg == "allow_pickle"], path


def test_hostile_text_stays_text_in_latex(tmp_path):
    table = latex.tabular([[HOSTILE]], ["x"], "l")
    packages = r"\usepackage[T1]{fontenc}\usepackage{booktabs}"
    main = rf"\documentclass{{article}}{packages}\begin{{document}}{table}\end{{document}}"
    (tmp_path / "main.tex").write_text(main)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    shown = subprocess.run(["pdftotext", "main.pdf", "-"], cwd=tmp_path, capture_output=True, text=True)
    assert "\\input{/etc/passwd} $x$ & 100 % _a_ #1 {~^}" in " ".join(shown.stdout.split())


def test_hostile_text_stays_text_in_the_claims_table_the_readme_and_the_verify_page(tmp_path):
    numbers = dict.fromkeys(
        ["estimate", "ci_high", "p_better", "p_worse", "p_equal", "p_corrected"], 1.0
    )
    table = pd.DataFrame([{"id": "C1", "column": "as_published", "condition": HOSTILE} | numbers])
    table = table.assign(ci_low=0.5, n=9, margin=0.0, detectable=1.0, skewness=0.1, wanted=7)
    said = {"id": "C1", "claim": HOSTILE, "as_published": HOSTILE, "scale_tuned": ""}
    made = {"claims": table, "verdicts": pd.DataFrame([said])}
    tables = (verdicts.verdict_table, verdicts.condition_table, verdicts.changed_table)
    for show in (*tables, story.claims_verdicts):
        body, _ = show(made)
        assert "\\input" not in body
        assert re.search(r"(?<!\\)\$x", body) is None
    for file, column in (("claims", "condition"), ("verdicts", "as_published")):
        places.write(tmp_path / f"paper/results/{file}.csv", results.text(PAPER, file, made[file]))
        assert results.read(PAPER, file, tmp_path)[column][0] == HOSTILE
    block = blocks.verdicts(readme.read(PAPER, places.ROOT) | made)
    (row,) = [line for line in block.splitlines() if "C1" in line]
    assert "<script>" not in row
    assert re.findall(r"(?<!\\)\|", row).__len__() == 4, "a bar in a text must not open another column"
    page = verify.page(
        pd.DataFrame([["f", HOSTILE, 1.0]], columns=["file", "row", "tolerance"]), [HOSTILE]
    )
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_parameter_texts_are_escaped_where_the_pdf_shows_them():
    parameters = {"target": HOSTILE}
    made = {"01_x": {"experiment": "x", "parameters": parameters, "changed_parameters": parameters}}
    made["01_x"]["code_hash"] = "0"
    macros = typeset.build_macros(made, places.RUNS["paper"])
    assert "\\input" not in macros


def test_jupyterlab_listens_on_loopback_only_and_turns_away_who_has_no_token(tmp_path):
    environment = os.environ | {
        "JUPYTER_RUNTIME_DIR": str(tmp_path),
        "JUPYTER_CONFIG_DIR": str(tmp_path),
    }
    # Even a configuration that switches the token off must not.
    config = {
        "IdentityProvider": {"token": ""},
        "ServerApp": {"token": "", "password": "", "ip": "0.0.0.0"},
    }
    (tmp_path / "jupyter_server_config.json").write_text(json.dumps(config))
    process = subprocess.Popen(
        ["make", "lab", "LAB=--no-browser --allow-root --ServerApp.port=0"], cwd=ROOT, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        server = jupyter_server(tmp_path, process)
        assert server["hostname"] == "127.0.0.1"
        assert len(server["token"]) >= 32
        address = f"http://127.0.0.1:{server['port']}/api/contents"
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(address, timeout=300)
        with urllib.request.urlopen(f"{address}?token={server['token']}", timeout=300) as answer:
            names = {entry["name"] for entry in json.load(answer)["content"]}
        assert "01_table1.ipynb" in names
        kernels = address.replace("contents", f"kernelspecs?token={server['token']}")
        with urllib.request.urlopen(kernels, timeout=300) as answer:
            assert "python3" in json.load(answer)["kernelspecs"]
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=300)
