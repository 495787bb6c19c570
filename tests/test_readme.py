"""What the README and docs say, the project does, and the README says it in a minute."""

import io
import json
import math
import re
import subprocess
from pathlib import Path

import nbformat
import numpy as np
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
from t0qat.training import language_models, methods, models

ROOT = Path(__file__).parents[1]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text() for path in readme.texts(ROOT)}
README, ALL = TEXTS["README.md"], "\n".join(TEXTS.values())
MAKEFILE = (ROOT / "Makefile").read_text()
# The blocks of Python of each section that has any.
SECTIONS = re.findall(r"^##? ([^\n]+)\n(.*?)(?=^##? |\Z)", ALL, re.M | re.S)
EXAMPLES = {title: re.findall(r"```python\n(.*?)```", text, re.S) for title, text in SECTIONS}
EXAMPLES = {title: blocks for title, blocks in EXAMPLES.items() if blocks}
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.M))


def test_every_make_command_of_the_readme_is_a_documented_target():
    fences = re.findall(r"```(\w*)\n(.*?)```", ALL, re.S)
    shown = [text for language, text in fences if not language] + re.findall(r"`([^`\n]+)`", ALL)
    blocks = "\n".join(shown)
    commands = set(re.findall(r"\bmake ([a-z-]+)", blocks))
    assert {"paper", "test", "smoke", "help", "lab"} <= commands
    assert commands <= TARGETS


def test_the_readme_answers_on_its_first_screen_and_is_short():
    lines = README.splitlines()
    assert len(lines) <= 250
    first, *_ = README.split("\n## ")
    paragraphs = [part for part in first.split("\n\n") if not part.startswith("[![")]
    kinds = ["# ", "<!-- results: begin (generated) -->\n**What was claimed.**", "**What we found.**"]
    kinds += ["**What to use.**", "| Task | Weights | Use |", "Chosen on", "![", "Published methods"]
    kinds += ["<!-- questions: begin (generated) -->\n**Why was its number", "**What does xi do?**"]
    kinds += ["**How sure is that?**"]
    for part, start in zip(paragraphs, kinds, strict=True):
        assert part.startswith(start)
    (table,) = [part for part in paragraphs if part.startswith("|")]
    assert len(table.splitlines()) <= 2 + 8
    titles = re.findall(r"^## (.*)$", README, re.M)
    assert titles[:3] == ["Two commands", "Use it on your own model", "The claims"]
    (commands,) = re.findall(r"## Two commands\n\n```\n(.*?)```", README, re.S)
    assert commands.split("\n") == ["make paper", "make lab", ""]


def test_every_text_of_docs_is_linked_from_the_readme_in_one_line():
    more = README.partition("\n## More\n")[2].partition("\n## ")[0].strip().splitlines()
    linked = [re.fullmatch(r"- \[[^]]+\]\((docs/\w+\.md)\): .+\.", line)[1] for line in more]
    assert sorted(linked) == sorted(set(TEXTS) - {"README.md"})


def test_the_sizes_that_limits_name_are_those_of_the_networks():
    limits = README.partition("\n## Limits\n")[2]
    most, about = re.search(r"at most ([\d,]+) weights, .*\s+about ([\d,]+) that", limits).groups()
    draws = np.random.default_rng(0)
    images = [build(draws) for build in models.MODELS.values()]
    text = [language_models.small(name, 64, 32, draws) for name in ("small_gpt2", "small_llama")]
    sizes = [[sum(p.numel() for p in net.parameters()) for net in nets] for nets in (images, text)]
    assert 0.9 * int(most.replace(",", "")) < max(sizes[0]) <= int(most.replace(",", ""))
    assert sizes[1] == pytest.approx([int(about.replace(",", ""))] * 2, rel=0.1)


def test_no_line_of_a_text_is_said_twice():
    """But for lines of code, of tables and of generated blocks."""
    prose = re.sub(r"```.*?```|<!-- (\w+): begin.*?<!-- \1: end -->", "", ALL, flags=re.S)
    said = [line for line in prose.splitlines() if len(line) > 40 and not line.startswith("|")]
    assert len(said) == len(set(said)) > 50


def test_make_without_a_target_lists_every_documented_target():
    command = ["make", "--no-print-directory"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.split()[0] for line in shown.splitlines()} == TARGETS
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.M)[1].split()
    assert set(phony) >= TARGETS


@pytest.mark.parametrize("text", TEXTS)
def test_every_file_that_a_text_links_or_names_exists(text):
    content = TEXTS[text].replace("](../../actions/", "](.github/")  # GitHub's own pages of a workflow
    content = content.replace("ci.yml/badge.svg", "ci.yml")
    for name in set(re.findall(r"\]\((?!http|#)([^)#]+)", content)):
        assert ((ROOT / text).parent / name).exists(), name
    made_later = {"paper/main.pdf"}
    named = re.findall(r"`((?:src|notebooks|figures|paper)/[\w/.]+\.\w+)`", content)
    for name in {*named} - made_later - {*made_by_paper()}:
        assert (ROOT / name).exists(), name
    for file, anchor in re.findall(r"\]\(([^)#]*\.md)?#([^)]+)\)", content):
        there = ((ROOT / text).parent / file).read_text() if file else content
        titles = re.findall(r"^#+ (.*)$", there, re.M)
        assert anchor in {re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")) for title in titles}


def made_by_paper() -> list[str]:
    """Outputs of notebooks, which a clone between two runs need not have."""
    return [name for notebook in notebooks.load(PAPER) for name in notebook.outputs]


def test_the_table_of_outputs_names_each_notebooks_outputs():
    for notebook in notebooks.load(PAPER):
        (row,) = [line for line in ALL.splitlines() if line.startswith(f"| {notebook.name} |")]
        assert set(re.findall(r"`([^`]+)`", row)) == set(notebook.outputs)
        title = "".join(json.loads(notebook.path.read_text())["cells"][0]["source"])
        question = title.splitlines()[0].removeprefix("# ")
        assert f"| [{notebook.name}](notebooks/{notebook.name}.ipynb) | {question} |" in README


def test_the_first_example_trains_and_converts_a_network_and_a_language_model(tmp_path, monkeypatch):
    """A network of the reader's learns to tell two kinds of images apart, a Llama to count."""
    (code,), (more,) = EXAMPLES["Use it on your own model"], EXAMPLES["Take a model elsewhere"]
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


@pytest.fixture
def texts(tmp_path) -> Path:
    """A folder with copies of the texts, and of the results files."""
    for name, text in TEXTS.items():
        places.write(tmp_path / name, text)
    for name in PAPER.results:
        file = f"paper/results/{name}.csv"
        places.write(tmp_path / file, (ROOT / file).read_bytes())
    return tmp_path


def test_the_generated_blocks_are_what_the_committed_files_say(texts):
    for path in readme.texts(texts):  # each is made anew
        empty = re.sub(r"(<!-- (\w+): begin.*?-->\n).*?(<!-- \2)", r"\1\3", path.read_text(), flags=re.S)
        path.write_text(empty)
    readme.renew(PAPER, places.ROOT, texts)
    assert {name: (texts / name).read_text() for name in TEXTS} == TEXTS
    blocks = re.findall(r"<!-- (\w+): begin", ALL)
    assert sorted(blocks) == sorted({*PAPER.blocks, *readme.OWN})


def test_a_block_may_stand_in_any_text_and_its_links_lead_on(tmp_path):
    for name in ("README.md", "docs/new.md"):
        places.write(tmp_path / name, "a\n<!-- speed: begin (generated) -->\n<!-- speed: end -->\nb\n")
    readme.renew(PAPER, places.ROOT, tmp_path)
    first, second = ((tmp_path / name).read_text() for name in ("README.md", "docs/new.md"))
    assert "](notebooks/09_deployment.ipynb)" in first and first.endswith("-->\nb\n")
    assert second == first.replace("](notebooks/", "](../notebooks/")


def test_minutes_and_memory_are_those_of_the_record(tmp_path):
    (before,) = [text for text in TEXTS.values() if "<!-- outputs" in text]
    block = before[before.index("<!-- outputs") : before.index("<!-- outputs: end")]
    minutes = "<!-- minutes: begin (generated) -->\n<!-- minutes: end -->\n"
    places.write(tmp_path / "README.md", f"before\n{block}<!-- outputs: end -->\n{minutes}")
    first, second, *others = notebooks.load(PAPER)

    def renewed() -> str:
        readme.renew(PAPER, tmp_path, tmp_path)
        return (tmp_path / "README.md").read_text()

    assert "make paper` took an unknown time." in renewed()
    costs.record(first.name, costs.Cost(93, 150, 10, 1234.5, 2), tmp_path)
    text = renewed()
    rows = {line.split(" | ")[0]: line.split(" | ")[1:3] for line in text.splitlines()}
    assert rows[f"| {first.name}"] == ["1.6", "1.2 GB"]
    for notebook in (second, *others):
        assert rows[f"| {notebook.name}"] == ["–", "–"]
    assert "from an earlier run, on 2 cores;" in text
    costs.record(second.name, costs.Cost(600, 60, 10, 1000, 16), tmp_path)
    text = renewed()
    assert "from an earlier run, on 2 or 16 cores;" in text
    assert "make paper` took 12 minutes, on 2 or 16 cores." in text  # (93 + 600) / 60


def test_the_result_block_follows_a_changed_result(texts):
    verdicts = texts / "paper/results/verdicts.csv"
    lines = verdicts.read_text().splitlines()
    assert lines[1].startswith("C1,")
    lines[1] = "C1,Quantization costs less,contradicted,supported"
    verdicts.write_text("\n".join(lines) + "\n")
    readme.renew(PAPER, texts, texts)
    new = (texts / "README.md").read_text()
    assert "quantization noise costs T0-QAT more" in new
    assert "| C1: Quantization costs less | contradicted | supported |" in new
    verdicts.unlink()
    with pytest.raises(results.ResultsError, match=r"verdicts.csv is missing"):
        readme.renew(PAPER, texts, texts)
