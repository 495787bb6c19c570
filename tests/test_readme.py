"""What the README says, the project does."""

import io
import json
import math
import re
import subprocess
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import readers
import torch
import transformers
from nbclient import NotebookClient
from torch import nn

import t0qat
from t0qat.paper import PAPER
from t0qat.pipeline import costs, notebooks, places, readme, results
from t0qat.training import methods

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
# The blocks of Python of each section that has any.
SECTIONS = re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", README, re.M | re.S)
EXAMPLES = {title: re.findall(r"```python\n(.*?)```", text, re.S) for title, text in SECTIONS}
EXAMPLES = {title: blocks for title, blocks in EXAMPLES.items() if blocks}
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.M))


def test_every_make_command_of_the_readme_is_a_documented_target():
    fences = re.findall(r"```(\w*)\n(.*?)```", README, re.S)
    shown = [text for language, text in fences if not language] + re.findall(r"`([^`\n]+)`", README)
    blocks = "\n".join(shown)
    commands = set(re.findall(r"\bmake ([a-z-]+)", blocks))
    assert {"paper", "test", "smoke", "help", "lab"} <= commands
    assert commands <= TARGETS


def test_make_without_a_target_lists_every_documented_target():
    command = ["make", "--no-print-directory"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.split()[0] for line in shown.splitlines()} == TARGETS
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.M)[1].split()
    assert set(phony) >= TARGETS


def test_every_file_that_the_readme_links_or_names_exists():
    text = README.replace("](../../actions/", "](.github/")  # GitHub's own pages of a workflow
    text = text.replace("ci.yml/badge.svg", "ci.yml")
    names = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    names += re.findall(r"`((?:src|notebooks|figures|paper)/[\w/.]+\.\w+)`", README)
    made_later = {"paper/main.pdf"}
    for name in set(names) - made_later:
        assert (ROOT / name).exists(), name


def test_the_table_of_outputs_names_each_notebooks_outputs():
    for notebook in notebooks.load(PAPER):
        (row,) = [line for line in README.splitlines() if line.startswith(f"| {notebook.name} |")]
        assert set(re.findall(r"`([^`]+)`", row)) == set(notebook.outputs)
        title = "".join(json.loads(notebook.path.read_text())["cells"][0]["source"])
        question = title.splitlines()[0].removeprefix("# ")
        assert f"| [{notebook.name}](notebooks/{notebook.name}.ipynb) | {question} |" in README


def test_the_first_example_trains_and_converts_a_network_and_a_language_model(tmp_path, monkeypatch):
    """A network of the reader's learns to tell two kinds of images apart, a Llama to count."""
    first, (code, more) = next(iter(EXAMPLES.items()))
    assert first == "Use it on your own model"
    assert [sum(1 for line in block.splitlines() if line) for block in (code, more)] == [12, 3]
    draws = torch.Generator().manual_seed(0)
    cnn = readers.cnn()
    kinds = torch.randint(0, 2, (40, 16), generator=draws)
    noise = torch.randn(40, 16, 3, 6, 6, generator=draws)
    images = [(part + kind.view(-1, 1, 1, 1), kind) for part, kind in zip(noise, kinds, strict=True)]
    config = transformers.LlamaConfig(
        vocab_size=16, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=16,
    )  # fmt: skip
    llama = transformers.LlamaForCausalLM(config)
    starts = torch.randint(0, 16, (60, 8, 1), generator=draws)
    texts = [*(starts + torch.arange(8)) % 16]
    given = {"cnn": cnn, "images": images, "llama": llama, "texts": texts}
    exec(code, own := {**given})
    for name, levels in (("cnn", 2**3), ("llama", 2**2)):
        assert own[name] is not given[name] and not own[name].training
        layers = [m for m in own[name].modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        for layer in layers:
            if name == "cnn" or layer is not own[name].lm_head:
                assert all(len(row.unique()) <= levels for row in layer.weight.flatten(1))
    answers = own["cnn"](torch.cat([part for part, _ in images])).argmax(1)
    assert (answers == kinds.flatten()).float().mean() > 0.9
    with torch.no_grad():
        ids = torch.cat(texts)
        assert own["llama"](ids, labels=ids).loss < 0.5 * math.log(16)
    monkeypatch.chdir(tmp_path)
    exec(more.replace("print(", "agreed = ("), own)
    assert own["agreed"].equal == 1 and own["agreed"].n == 16 and own["agreed"].largest < 1e-4
    t0qat.save(own["llama"], tmp_path / "llama.safetensors")
    back = t0qat.load(tmp_path / "llama.safetensors", transformers.LlamaForCausalLM(config))
    assert torch.equal(back(ids).logits, own["llama"](ids).logits)


@pytest.mark.chain
def test_the_example_method_of_the_readme_works_in_a_notebook_as_written(project, monkeypatch):
    (code,) = EXAMPLES["Add your own method"]
    assert code.count("\n") <= 25
    linear = "from t0qat.experiments import published\n"
    linear += "print(*published.table1(published.published(replicates=2)[0]).method.unique())"
    cells = [nbformat.v4.new_code_cell(source) for source in (code, linear)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    environment = project.environment | {"OMP_NUM_THREADS": "1", "LOKY_MAX_CPU_COUNT": "2"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    NotebookClient(notebook, timeout=3600, kernel_name="python3").execute()
    printed, every = ("".join(o.get("text", "") for o in cell.outputs) for cell in notebook.cells)
    lines = printed.splitlines()
    heads = [i for i, line in enumerate(lines) if "dataset" in line]
    tables = ["\n".join(lines[heads[0] : heads[1]]), "\n".join(lines[heads[1] :])]
    images, texts = (pd.read_csv(io.StringIO(table), sep=r"\s+") for table in tables)
    assert {*images.columns} == {*PAPER.columns_of("vision_any")}
    assert {*texts.columns} == {*PAPER.columns_of("language_any")}
    for ranked in (images, texts):
        assert sorted(zip(ranked.method, ranked.train_bits, strict=True)) == [
            ("no_noise", 0), ("relative", 0), ("ste", 2), ("ste", 4)
        ]  # fmt: skip
    assert images["mean"].between(0, 2).all() and texts["mean"].between(2, 10).all()
    assert set(every.split()) == {*methods.on_layer()}  # what needs `layer=True`
    # All but those of the notebook's own method; of text also three pretrainings and a sample.
    kept = (project.root / "build/cells/paper").rglob("*.json")
    assert len(list(kept)) == 3 * (4 * 2 + 5) + 3 * (4 * 2 + 2) + 3 + 1


def test_the_generated_blocks_are_what_the_committed_files_say(tmp_path):
    copy = tmp_path / "README.md"
    copy.write_text(README)
    readme.renew(PAPER, places.ROOT, copy)
    assert copy.read_text() == README


def test_minutes_and_memory_of_the_readme_are_those_of_the_record(tmp_path):
    copy = tmp_path / "README.md"
    copy.write_text(f"before\n{README[README.index('<!-- outputs') :]}")  # with no other block
    first, second, *others = notebooks.load(PAPER)
    costs.record(first.name, costs.Cost(93, 150, 10, 1234.5, 2), tmp_path)
    readme.renew(PAPER, tmp_path, copy)
    rows = {line.split(" | ")[0]: line.split(" | ")[1:3] for line in copy.read_text().splitlines()}
    assert rows[f"| {first.name}"] == ["1.6", "1.2 GB"]
    for notebook in (second, *others):
        assert rows[f"| {notebook.name}"] == ["–", "–"]
    assert "from an earlier run, on 2 cores;" in copy.read_text()
    costs.record(second.name, costs.Cost(60, 60, 10, 1000, 16), tmp_path)
    readme.renew(PAPER, tmp_path, copy)
    assert "from an earlier run, on 2 or 16 cores;" in copy.read_text()


def test_the_result_block_follows_a_changed_result(tmp_path):
    copy = tmp_path / "README.md"
    copy.write_text(README)
    (tmp_path / "paper/results").mkdir(parents=True)
    for name in PAPER.results:
        text = (ROOT / f"paper/results/{name}.csv").read_text()
        (tmp_path / f"paper/results/{name}.csv").write_text(text)
    paired = tmp_path / "paper/results/table1_paired.csv"
    lines = paired.read_text().splitlines()
    lines[1] = "drop_difference,-1.25,-1.5,-1,10000"
    paired.write_text("\n".join(lines) + "\n")
    readme.renew(PAPER, tmp_path, copy)
    assert "smaller than" in copy.read_text()
    assert "−1.25 [−1.50, −1.00]" in copy.read_text()
    paired.unlink()
    with pytest.raises(results.ResultsError, match=r"table1_paired.csv is missing"):
        readme.renew(PAPER, tmp_path, copy)
