"""The real chain at a few replicates: verify, a mutated number, a rebuilt PDF."""

import json
import re
import shutil
import subprocess

import pytest
from projects import ROOT, Project, copy, with_toys

from t0qat.paper import PAPER
from t0qat.pipeline import comparison, pin, places, receipts, results, verify
from t0qat.pipeline.notebooks import Notebook


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Project:
    """A copy whose `paper` profile is tiny, with its results made and typeset.

    It takes the cells that `make smoke` left, where it ran: what they follow from is in their names.
    """
    project = copy(tmp_path_factory.mktemp("small"))
    kept = ROOT / "build/cells/smoke"
    if kept.is_dir():
        shutil.copytree(kept, project.root / "build/cells/paper")
    for path in (project.root / "notebooks").glob("*.toml"):
        text = path.read_text()
        smoke = text[text.index("[smoke]") :]
        path.write_text(text[: text.index("[paper]")] + smoke.replace("smoke", "paper") + "\n" + smoke)
    done = project.run("run")
    assert done.returncode == 0, done.stderr
    return project


@pytest.fixture
def mine(small, tmp_path) -> Project:
    shutil.copytree(small.root, tmp_path / "elsewhere")
    return Project(tmp_path / "elsewhere")


def pdf_text(project: Project) -> str:
    pdf = project.root / "paper/main.pdf"
    return subprocess.run(["pdftotext", pdf, "-"], capture_output=True, text=True, check=True).stdout


def edit(project: Project, file: str, row: str, new: str) -> None:
    """Replace the line of a results file that starts with `row`."""
    path = project.root / f"paper/results/{file}.csv"
    text, count = re.subn(rf"(?m)^{re.escape(row)}.*$", new, path.read_text())
    assert count == 1
    path.write_text(text)


@pytest.mark.chain
@pytest.mark.skipif(not pin.possible(), reason="this processor cannot be pinned")
def test_verify_holds_to_the_last_digit_under_the_pin_and_touches_nothing(mine):
    before = mine.files("paper", "figures", "notebooks")
    done = mine.run("verify")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert "pinned, same versions and builds" in done.stdout
    assert done.stdout.rstrip().endswith("Everything holds.")
    compared = sum(
        text.count(",")
        for name, text in _csvs(mine)
        for text in text.splitlines()[1:]
        if name not in ("claims", "verdicts", "claims_exploratory")
    )
    assert compared > 1000
    page = (mine.root / "build/verify.html").read_text()
    assert page.count("<tr") > 1000
    assert "Everything holds." in page
    assert mine.files("paper", "figures", "notebooks") == before


def _csvs(project):
    for path in sorted((project.root / "paper/results").glob("*.csv")):
        yield path.stem, path.read_text()


@pytest.mark.chain
def test_a_changed_number_changes_the_pdf_the_table_the_verdict_and_the_readme(mine):
    before = {name: data.decode() for name, data in mine.files("paper/tables").items()}
    text, readme = pdf_text(mine), (mine.root / "README.md").read_text()
    edit(mine, "table1_paired", "drop_difference", "drop_difference,-1.5125,-1.6125,-1.4125,50")
    edit(mine, "table1", "t0_qat,drop", "t0_qat,drop,0.445753,1.435758,7.7712,2,7.6,7.9,1,7,9,3,50")
    refused = mine.run("run")
    assert refused.returncode == 1
    assert "was edited or cut short since it was made" in refused.stderr
    assert pdf_text(mine) == text
    assert mine.run("keep").returncode == 0
    done = mine.run("run")
    assert done.returncode == 0, done.stderr
    tables = {name: data.decode() for name, data in mine.files("paper/tables").items()}
    assert "7.77" in tables["paper/tables/table1.tex"]
    assert "7.77" not in before["paper/tables/table1.tex"]
    assert "7.77" in pdf_text(mine)
    assert "7.77" not in text
    assert results.read(PAPER, "verdicts", mine.root).as_published[0] == "supported"
    new = (mine.root / "README.md").read_text()
    assert "as published, quantization noise costs T0-QAT less" in new
    assert "as published, quantization noise costs T0-QAT less" not in readme
    assert "edited by hand" in pdf_text(mine)


@pytest.mark.chain
def test_the_pdf_is_the_same_to_the_byte_in_another_folder_at_another_time(small, mine):
    first = (small.root / "paper/main.pdf").read_bytes()
    (mine.root / "paper/main.pdf").unlink()
    assert (
        mine.run("run", env=mine.environment | {"TZ": "Pacific/Auckland", "LC_ALL": "C"}).returncode == 0
    )
    assert (mine.root / "paper/main.pdf").read_bytes() == first


def _folder(tmp_path, name: str, line: str):
    home = tmp_path / name
    text = f"{','.join(PAPER.columns_of('table1_paired'))}\ndrop_difference,{line}\n"
    places.write(home / "paper/results/table1_paired.csv", text)
    return home


@pytest.mark.parametrize(
    ("rerun", "profile", "verdicts"),
    [
        ("0.5,0.402,0.598,100", "paper", ["equal", "equal", "equal", "equal"]),
        # Standard error 0.05 each: the tolerance is t(99) at 0.001 / 3 / 2 times 0.05 * sqrt(2), 0.26.
        ("0.72,0.622,0.818,100", "paper", ["within tolerance"] * 3 + ["equal"]),
        ("0.80,0.702,0.898,100", "paper", ["DIFFERS"] * 3 + ["equal"]),
        ("0.5,0.402,0.598,90", "paper", ["equal", "equal", "equal", "DIFFERS"]),
        # A tenth of the replicates: 0.166 and 0.05, at 9 degrees of freedom.
        ("0.9,0.575,1.225,10", "smoke", ["within tolerance"] + ["not compared"] * 3),
        ("1.9,1.575,2.225,10", "smoke", ["DIFFERS"] + ["not compared"] * 3),
    ],
)
def test_the_tolerance_follows_from_both_standard_errors(
    tmp_path, monkeypatch, rerun, profile, verdicts
):
    monkeypatch.setattr(places, "ROOT", _folder(tmp_path, "old", "0.5,0.402,0.598,100"))
    run = places.Run("x", profile, _folder(tmp_path, "new", rerun), "x")
    assert list(verify.compare(PAPER, run, identical=False).verdict) == verdicts
    if verdicts[0] != "equal":
        assert "DIFFERS" in set(verify.compare(PAPER, run, identical=True).verdict)


TUNED = "pydoc,small_gpt2,channels,ste,4,{rate},,,{numbers},64,1\n"
COLUMNS = ",".join(PAPER.columns_of("language_tuning")) + "\n"


def test_where_halving_chose_otherwise_n_is_not_held_to_the_digit(tmp_path, monkeypatch):
    """A candidate that went on here ended early there; the means are still compared."""
    content = {"old": "2.5,2.4,2.6,8", "new": "2.6,,,1"}
    for name, numbers in content.items():
        path = tmp_path / name / "paper/results/language_tuning.csv"
        path.parent.mkdir(parents=True)
        path.write_text(COLUMNS + TUNED.format(rate="0.001", numbers=numbers))
    monkeypatch.setattr(places, "ROOT", tmp_path / "old")
    run = places.Run("x", "paper", tmp_path / "new", "x")
    loose, strict = (
        verify.compare(PAPER, run, identical).set_index("quantity").verdict
        for identical in (False, True)
    )
    assert {loose[column] for column in ("n", "ci_low", "ci_high", "mean")} == {"not compared"}
    assert {strict[column] for column in ("n", "ci_low", "ci_high", "mean")} == {"DIFFERS"}


PAIRED = """
from t0qat.pipeline import places
n = epochs * replicates
text = f"quantity,estimate,ci_low,ci_high,n\\ndrop_difference,{n},{n - 1},{n + 1},{replicates}\\n"
places.write(places.stage() / "paper/results/table1_paired.csv", text)
"""
READER = """
from t0qat.paper import PAPER
from t0qat.pipeline import places, results
n = results.read(PAPER, "table1_paired", places.current().home).estimate[0]
text = f"method,estimate,ci_low,ci_high,n\\nt0_qat,{n},{n - 1},{n + 1},9\\n"
places.write(places.stage() / "paper/results/table1_same_method.csv", text)
"""


@pytest.fixture
def two(tmp_path) -> Project:
    """Toy notebooks that have run: the first makes a file, which the second reads."""
    project = with_toys(tmp_path)
    for path in (project.root / "notebooks").iterdir():
        path.unlink()
    project.notebook("01_table1_paired", PAIRED, "replicates = 100\nepochs = 1", kind="csv")
    project.notebook("02_table1_same_method", READER, "seed = 0", kind="csv")
    done = project.run("run")
    assert done.returncode == 0, done.stderr
    return project


@pytest.mark.chain
def test_verify_names_a_changed_number_a_missing_and_an_extra_file_and_a_stale_receipt(two):
    edit(two, "table1_paired", "drop_difference", "drop_difference,-1.5,-2,-1,100")
    (two.root / "paper/results/table1_same_method.csv").unlink()
    (two.root / "paper/results/better.csv").write_text("x\n1\n")
    module = two.root / "src/t0qat/pipeline/places.py"
    module.write_text(module.read_text() + "\n# touched\n")
    done = two.run("verify")
    assert done.returncode == 1
    off = [line for line in done.stdout.splitlines() if line.startswith("OFF: ")]
    for told in (
        "paper/results/table1_paired.csv, drop_difference: estimate differs",
        "paper/results/table1_paired.csv was edited or cut short since it was made",
        "paper/results/table1_same_method.csv is missing",
        "paper/results/better.csv is extra",
        "paper/results/table1_paired.json is stale: src/t0qat/pipeline/places.py changed since",
    ):
        assert [line for line in off if told in line], (told, off)


@pytest.mark.chain
def test_a_smoke_run_is_held_against_the_paper_where_only_sample_sizes_differ(two):
    project, settings = two, two.root / "notebooks/01_table1_paired.toml"
    for line, status in (("", 0), ("replicates = 50", 1), ("epochs = 9", 0)):
        settings.write_text(settings.read_text().partition("[smoke]")[0] + f"[smoke]\n{line}\n")
        done = project.run("verify", "--profile", "smoke")
        assert done.returncode == status, (line, done.stdout, done.stderr)
        off = re.findall(r"^OFF: paper/results/(\w+).csv, .*: estimate differs$", done.stdout, re.M)
        assert off == ["table1_paired", "table1_same_method"] * status
        told = re.findall(r"^Run but not compared, since (.*)\.$", done.stdout, re.M)
        assert told == (
            [
                "01_table1_paired differs in epochs: table1_paired.csv",
                "02_table1_same_method differs in table1_paired.csv: table1_same_method.csv",
            ]
            if "epochs" in line
            else []
        )


DEPLOYED = ",".join(PAPER.columns_of("deployment")) + "\n"


def test_what_other_programs_computed_is_held_by_tolerance_and_times_are_not_judged(
    tmp_path, monkeypatch
):
    """Under the rule of digits, which holds for the rest; a missing optional runtime's rows are said."""
    monkeypatch.setattr(places, "ROOT", tmp_path / "old")
    run = places.Run("verify", "paper", tmp_path / "new", "verify")
    arm, ends = "digits,mlp,channels,no_noise,0", "0.402,0.598,100"
    speed = ",".join(PAPER.columns_of("deployment_speed")) + "\n"
    conditions = ",".join(PAPER.columns_of("claims_exploratory")) + "\n"

    def made(home, exact, eight, llama, time, claim):
        lines = [f"{arm},onnxruntime,int4,4,loss,{exact},{ends}"]
        lines += [f"{arm},onnxruntime_8,int4,4,loss,{eight},{ends}"]
        lines += [f"{arm},llama_cpp,Q4_0,4,loss,{llama},{ends}"] * (llama is not None)
        places.write(home / "paper/results/deployment.csv", DEPLOYED + "\n".join([*lines, ""]))
        line = f"a processor,mlp,onnxruntime,int4,4,faster,{time},0.1,9.0,5\n"
        places.write(home / "paper/results/deployment_speed.csv", speed + line)
        line = f"C7,a condition,{claim},0.1,0.9,8,0.5\n"
        places.write(home / "paper/results/claims_exploratory.csv", conditions + line)

    def verdict(**changed):
        old = {"exact": 0.5, "eight": 0.5, "llama": 0.5, "time": 2.0, "claim": 0.25}
        made(tmp_path / "old", **old)
        made(run.home, **old | changed)
        table = verify.compare(PAPER, run, identical=True)
        asked = table[table.quantity.isin(["mean", "estimate", "the row"])]
        place = asked.file.eq("deployment") * 5
        which = [row.split()[i] for row, i in zip(asked.row, place, strict=True)]
        return dict(zip(zip(asked.file, which, strict=True), asked.verdict, strict=True))

    within = verdict(exact=0.55, claim=0.25000001)
    assert within["deployment", "onnxruntime"] == "within tolerance"
    assert within["claims_exploratory", "C7"] == "within tolerance"
    off = verdict(exact=1.5, eight=1.5, llama=1.5, time=7.0, claim=0.251)
    assert [*map(off.get, off)].count("DIFFERS") == 4
    assert off["deployment_speed", "mlp"] == "not compared"
    assert verdict(llama=None)["deployment", "llama_cpp"] == "DIFFERS"
    monkeypatch.setattr(comparison, "find_spec", lambda module: None)
    assert verdict(llama=None)["deployment", "llama_cpp"] == "not compared"
    assert any("rows of llama_cpp" in sentence for sentence in verify.aside(PAPER))


def test_what_is_left_out_differs_in_a_parameter_or_follows_from_what_does(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "ROOT", tmp_path)
    run = places.Run("verify-smoke", "smoke", tmp_path / "build/verify-smoke", "verify-smoke")

    def notebook(name: str, reads: str = "", **smoke) -> Notebook:
        output = f"paper/results/{name}.csv"
        inputs = {f"build/verify-smoke/paper/results/{reads}.csv": "0"} if reads else {}
        receipt = json.dumps({"outputs": {output: "0", "figures/a.png": "0"}, "inputs": inputs})
        places.write(run.home / f"paper/results/{name}.json", receipt)
        defaults = {"replicates": 5, "draws": 100, "epochs": 3, "bits": [8]}
        profiles = {"paper": {"epochs": 4}, "smoke": smoke}
        return Notebook(tmp_path / f"{name}.ipynb", defaults, (output, "figures/a.png"), 1, profiles)

    every = [
        notebook("sizes", epochs=4, replicates=2, draws=100),
        notebook("other", epochs=4, bits=[2], replicates=2),
        notebook("default"),  # the paper's epochs are not the notebook's own
        notebook("reader", reads="other", epochs=4),
        notebook("second", reads="reader", epochs=4),
        notebook("apart", reads="sizes", epochs=4),
    ]
    assert verify.left_out(PAPER, every, run) == {
        "other differs in bits": ["other"],
        "default differs in epochs": ["default"],
        "reader differs in other.csv": ["reader"],
        "second differs in reader.csv": ["second"],
    }
    assert (
        verify.left_out(PAPER, every, places.Run("verify", "paper", tmp_path / "build/verify", "verify"))
        == {}
    )


def test_another_text_is_named_by_both_digests_and_what_was_read_on_it_is_not_compared(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(places, "ROOT", tmp_path)
    run = places.Run("verify", "paper", tmp_path / "build/verify", "verify")
    file, follows = "paper/results/language_text.csv", "paper/results/claims.csv"
    monkeypatch.setitem(places.RUNS, "paper", places.Run("paper", "paper", tmp_path, "paper"))
    machine = {"pinned": True, "device": "cpu"}
    receipt = {"versions": {"python": "3.11.7"}, "machine": machine, "inputs": {}}

    def notebook(name, output, **more):
        for home in (tmp_path, run.home):
            content = json.dumps(receipt | {"outputs": {output: "0"}} | more)
            places.write(home / f"paper/results/{name}.json", content)
        return Notebook(tmp_path / f"{name}.ipynb", {}, (output,), 1, {"paper": {}})

    read = {"inputs": {f"build/verify/{file}": "0"}}
    every = [notebook("language", file), notebook("claims", follows, **read)]

    def left(committed, here):
        for home, digest in ((tmp_path, committed), (run.home, here)):
            text = "dataset,model,bos,sha256,characters,python\n"
            text += f"pydoc_topics,small_gpt2,,{digest},9,3.11.7\n"
            places.write(home / file, text)
        return verify.left_out(PAPER, every, run), verify.same_machine(PAPER, every, run)

    old, new = 64 * "a", 64 * "b"
    assert left(old, old) == ({}, True)
    found, same = left(old, new)
    assert not same and list(found.values()) == [["language_text"], ["claims"]]
    first, second = found
    assert first == f"language differs in its text (SHA-256 {old} committed, {new} here)"
    assert second == "claims differs in language_text.csv"
    (sentence,) = [s for s in verify.rule(False, [], "paper", found) if old in s]
    assert new in sentence and "Run but not compared" in sentence


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({}, True),
        ({"pinned": False}, False),  # in both: nobody knows
        ({"device": "cuda"}, False),
        ({"builds": {"torch": "0"}}, False),  # here alone
        ({"libc": "glibc 2.41"}, False),
    ],
)
def test_digits_are_compared_only_where_what_makes_them_is_the_same(
    tmp_path, monkeypatch, changed, same
):
    monkeypatch.setattr(places, "ROOT", tmp_path)
    run = places.Run("verify", "paper", tmp_path / "build/verify", "verify")
    monkeypatch.setitem(places.RUNS, "paper", places.Run("paper", "paper", tmp_path, "paper"))
    machine = receipts.machine() | {"pinned": True}
    both = {key: value for key, value in changed.items() if key in ("pinned", "device")}
    for home, here in ((tmp_path, machine | both), (run.home, machine | changed)):
        receipt = {"versions": {}, "machine": here, "inputs": {}, "outputs": {"a": "0"}}
        places.write(home / "paper/results/toy.json", json.dumps(receipt))
    notebook = Notebook(tmp_path / "toy.ipynb", {}, ("a",), 1, {"paper": {}})
    assert verify.same_machine(PAPER, [notebook], run) is same
