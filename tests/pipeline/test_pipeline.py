"""What runs and what does not, and that nothing good is lost when something goes wrong."""

import fcntl
import hashlib
import json
import shlex
import shutil
import subprocess
import sys

import pytest
from projects import Project, with_toys, write_toy

from t0qat.pipeline import notebooks, places, receipts
from t0qat.pipeline.notebooks import Notebook

SMOKE = ("run", "--profile", "smoke")


def ran(done) -> list[str]:
    """The notebooks that a run says it ran."""
    return [line.split(":")[0] for line in done.stderr.splitlines() if ": runs, " in line]


@pytest.fixture(scope="module")
def first_run(tmp_path_factory) -> Project:
    """Three toy notebooks that have run: 01_toy, 02_reader, which reads its result, and 03_other."""
    toys = with_toys(tmp_path_factory.mktemp("made"))
    reader = (
        "from t0qat.pipeline import places\n"
        "text = (places.current().home / 'paper/results/toy.txt').read_text()\n"
        "places.write(places.stage() / 'paper/results/reader.txt', text + 'read\\n')"
    )
    toys.notebook("02_reader", reader, "seed = 0")
    toys.notebook("03_other", other("'x\\n1\\n'"), "seed = 0")
    done = toys.run(*SMOKE)
    assert done.returncode == 0, done.stderr
    assert ran(done) == ["01_toy", "02_reader", "03_other"]
    return toys


@pytest.fixture
def made(first_run, tmp_path) -> Project:
    """A copy of it to break."""
    shutil.copytree(first_run.root, tmp_path / "a copy")
    return Project(tmp_path / "a copy")


def other(content: str) -> str:
    return write_toy(content).replace("toy.txt", "other.txt")


def test_a_second_run_runs_nothing_and_changes_no_file(made):
    before = made.files("build/smoke", "notebooks")
    done = made.run(*SMOKE)
    assert (done.returncode, ran(done)) == (0, [])
    assert made.files("build/smoke", "notebooks") == before


@pytest.mark.chain
def test_an_edited_notebook_runs_again_and_so_does_what_reads_its_result(made):
    made.notebook("01_toy", write_toy("'replicates\\n77\\n'"))
    assert ran(made.run(*SMOKE)) == ["01_toy", "02_reader"]
    assert made.files("build/smoke")["build/smoke/paper/results/reader.txt"] == b"replicates\n77\nread\n"


@pytest.mark.chain
def test_an_edit_that_leaves_the_result_as_it_was_does_not_run_its_readers(made):
    path = made.root / "notebooks/01_toy.ipynb"
    path.write_text(path.read_text().replace("from t0qat", "# a note\\nfrom t0qat"))
    assert ran(made.run(*SMOKE)) == ["01_toy"]


@pytest.mark.chain
def test_a_changed_helper_module_runs_every_notebook_that_imported_it(made):
    module = made.root / "src/t0qat/pipeline/places.py"
    module.write_text(module.read_text() + "\n# touched\n")
    assert ran(made.run(*SMOKE)) == ["01_toy", "02_reader", "03_other"]


def test_outputs_of_a_hand_run_in_the_notebook_do_not_make_it_stale(made):
    path = made.root / "notebooks/01_toy.ipynb"
    content = json.loads(path.read_text())
    content["cells"][1]["execution_count"] = 7
    path.write_text(json.dumps(content))
    assert ran(made.run(*SMOKE)) == []


@pytest.mark.chain
def test_a_changed_parameter_runs_its_notebook_and_going_back_runs_it_again(made):
    (made.root / "mine.toml").write_text("replicates = 9")
    done = made.run(*SMOKE, "--params", "mine.toml")
    assert ran(done) == ["01_toy", "02_reader"]
    assert made.files("build/smoke")["build/smoke/paper/results/toy.txt"] == b"replicates\n9\n"
    receipt = json.loads((made.root / "build/smoke/paper/results/toy.json").read_text())
    assert receipt["changed_parameters"] == {"replicates": 9}
    assert ran(made.run(*SMOKE)) == ["01_toy", "02_reader"]


def test_a_receipt_names_what_was_read_and_hashes_what_was_made(made):
    receipt = json.loads((made.root / "build/smoke/paper/results/reader.json").read_text())
    assert {"notebooks/02_reader.ipynb", "src/t0qat/pipeline/places.py"} < set(receipt["inputs"])
    assert "build/smoke/paper/results/toy.txt" in receipt["inputs"]
    for name, made_hash in receipt["outputs"].items():
        content = (made.root / "build/smoke" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == made_hash


def test_smoke_leaves_paper_and_figures_alone(toys):
    before = toys.files("paper", "figures")
    assert toys.run(*SMOKE).returncode == 0
    assert toys.files("paper", "figures") == before


@pytest.mark.chain
def test_a_failing_notebook_is_named_and_takes_nothing_with_it(made):
    made.notebook("01_toy", write_toy("1 / 0"))
    made.notebook("03_other", other("'x\\n2\\n'"), "seed = 0")
    before = made.files("build/smoke/paper")
    done = made.run(*SMOKE)
    assert done.returncode == 1
    message = done.stderr[done.stderr.index("t0qat: ") :]
    assert (
        "01_toy.ipynb, cell 2 (from t0qat.pipeline import places): ZeroDivisionError: division"
        in message
    )
    assert len(message.splitlines()) <= 5
    after = made.files("build/smoke/paper")
    assert after.pop("build/smoke/paper/results/other.txt") == b"x\n2\n"
    for name in ("results/other.txt", "results/other.json"):
        before.pop(f"build/smoke/paper/{name}")
        after.pop(f"build/smoke/paper/{name}", None)
    assert after == before


@pytest.mark.faults
def test_a_cell_past_its_limit_and_a_kernel_that_dies_are_named(made):
    path = made.notebook("01_toy", "import time\ntime.sleep(3600)")
    settings = path.with_suffix(".toml")
    settings.write_text(settings.read_text().replace("seconds = 600", "seconds = 15"))
    made.notebook("02_reader", "import os\nos.kill(os.getpid(), 9)", "seed = 0")
    before = made.files("build/smoke/paper")
    done = made.run(*SMOKE)
    assert done.returncode == 1
    assert "01_toy.ipynb, cell 2 (import time): took longer than 15 s" in done.stderr
    assert "02_reader.ipynb, cell 2 (import os): its kernel died" in done.stderr
    assert made.files("build/smoke/paper") == before


MALFORMED = write_toy("'x\\n1\\n'").replace("toy.txt", "claims.csv")
EDITING = (
    "import t0qat.pipeline.latex as m\nwith open(m.__file__, 'a') as file:\n    file.write('# x')\n"
)


@pytest.mark.chain
@pytest.mark.parametrize(
    ("name", "code", "told"),
    [
        ("01_toy", "pass", ": it ended without making paper/results/toy.txt"),
        ("04_claims", MALFORMED, " left a malformed file: paper/results/claims.csv"),
        ("01_toy", EDITING + write_toy("'8'"), ": src/t0qat/pipeline/latex.py changed while it ran"),
    ],
)
def test_a_notebook_that_does_not_do_as_it_must_is_named_and_replaces_nothing(made, name, code, told):
    made.notebook(name, code, kind="csv" if name == "04_claims" else "txt")
    before = made.files("build/smoke/paper")
    done = made.run(*SMOKE)
    assert done.returncode == 1
    assert f"{name}.ipynb{told}" in done.stderr
    assert made.files("build/smoke/paper") == before


@pytest.mark.parametrize("damage", [lambda b: b + b"1\n", lambda b: b[:-3], lambda b: b[:-2] + b"6\n"])
def test_an_altered_result_is_neither_typeset_nor_overwritten(made, damage):
    path = made.root / "build/smoke/paper/results/toy.txt"
    path.write_bytes(damaged := damage(path.read_bytes()))
    pdf = made.files("build/smoke/paper")["build/smoke/paper/main.pdf"]
    done = made.run(*SMOKE)
    assert done.returncode == 1
    assert "paper/results/toy.txt was edited or cut short since it was made" in done.stderr
    assert "delete it" in done.stderr
    assert "make keep" in done.stderr
    assert path.read_bytes() == damaged
    assert made.files("build/smoke/paper")["build/smoke/paper/main.pdf"] == pdf
    assert "01_toy: altered, paper/results/toy.txt" in made.run("status", "--profile", "smoke").stdout


@pytest.mark.chain
def test_a_deleted_result_is_made_again(made):
    path = made.root / "build/smoke/paper/results/toy.txt"
    before = path.read_bytes()
    path.unlink()
    assert ran(made.run(*SMOKE)) == ["01_toy"]
    assert path.read_bytes() == before


@pytest.mark.chain
def test_an_edited_file_is_kept_only_on_purpose_and_then_the_pdf_says_so(made):
    path = made.root / "build/smoke/paper/results/other.txt"
    path.write_bytes(b"x\n3\n")
    done = made.run("keep", "--profile", "smoke")
    assert "kept: paper/results/other.txt" in done.stdout, done.stderr
    assert made.run(*SMOKE).returncode == 0
    assert path.read_bytes() == b"x\n3\n"
    pdf = made.root / "build/smoke/paper/main.pdf"
    text = subprocess.run(["pdftotext", pdf, "-"], capture_output=True, text=True, check=True).stdout
    assert "edited by hand" in text


def test_a_file_that_was_deleted_beside_an_edited_one_is_known_again_when_it_is_back(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(places, "BUILD", tmp_path / "build")
    run = places.Run("x", "paper", tmp_path, "x")
    notebook = Notebook(tmp_path / "toy.ipynb", {}, ("edited", "deleted"), 1, {"paper": {}})
    for name in notebook.outputs:
        places.write(tmp_path / name, name)
    made = {name: notebooks.source_hash(tmp_path / name) for name in notebook.outputs}
    places.write(tmp_path / notebook.receipt, json.dumps({"outputs": made}))
    places.write(tmp_path / "edited", "otherwise")
    (tmp_path / "deleted").unlink()
    receipts.accept(notebook, run, receipts.altered(notebook, run))
    places.write(tmp_path / "deleted", "deleted")
    assert receipts.altered(notebook, run) == []


def test_status_says_fresh_or_why_not(made):
    assert made.run("status", "--profile", "smoke").stdout.splitlines() == [
        "01_toy: fresh",
        "02_reader: fresh",
        "03_other: fresh",
    ]
    assert made.run("status").stdout.splitlines()[0] == "01_toy: stale, it has not run in this clone"


def test_lines_that_nobody_reads_to_the_end_are_no_error(toys):
    command = f"{shlex.quote(sys.executable)} -m t0qat status | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=toys.root, env=toys.environment, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("141\n", "")  # as of a command that SIGPIPE ended


@pytest.mark.chain
def test_without_latex_all_but_the_pdf_is_made_and_one_line_says_what_to_install(toys, tmp_path):
    toys.environment["PATH"] = str(tmp_path)
    done = toys.run(*SMOKE)
    assert done.returncode == 1
    assert (toys.root / "build/smoke/paper/results/toy.txt").is_file()
    last = done.stderr.strip().splitlines()[-1]
    assert "LaTeX is missing" in last
    assert "latexmk texlive-latex-recommended" in last


@pytest.mark.chain
def test_a_latex_error_is_shown_with_the_log_that_holds_it(toys):
    main = toys.root / "paper/main.tex"
    main.write_text(main.read_text().replace(r"\BuildProfile", r"\NoSuchMacro"))
    done = toys.run(*SMOKE)
    assert done.returncode == 1
    assert "build/smoke/failed/main.log" in done.stderr
    assert "Undefined control sequence" in done.stderr
    assert "NoSuchMacro" in done.stderr


def test_a_second_run_at_the_same_time_is_refused_and_names_the_first(toys):
    lock = toys.root / "build" / "lock"
    lock.parent.mkdir()
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write("4711\n")
        held.flush()
        done = toys.run(*SMOKE)
    assert done.returncode == 1
    assert "process 4711" in done.stderr


ANSWERING = """
from IPython.display import Markdown
from t0qat.pipeline import places

class paper:
    def publish(said):
        read = (places.current().reads / "paper/results/toy.txt").read_text().split()
        places.write(places.stage() / "paper/results/answering.txt", said)
        return Markdown(f"{said}, and {read[-1]} elsewhere.")

paper.publish(f"{replicates} replicates")
"""


@pytest.mark.chain
def test_one_notebook_runs_with_my_parameters_and_leaves_the_paper_alone(toys, tmp_path):
    toys.notebook("02_answering", ANSWERING)
    places_of = toys.root / "paper/results/toy.txt"
    places_of.write_text("replicates\n41\n")
    mine = tmp_path / "mine.toml"
    mine.write_text("[02_answering]\nreplicates = 9\n")
    before = toys.files("paper", "notebooks", "figures")
    done = toys.run("one", "02_answering", "--params", str(mine))
    assert done.returncode == 0, done.stderr
    assert ran(done) == ["02_answering"]
    answer, _, *made = done.stdout.splitlines()
    assert answer == "9 replicates, and 41 elsewhere."
    assert [line.strip() for line in made[1:]] == [
        "build/run/02_answering/paper/results/answering.txt",
        "build/run/02_answering/notebooks/02_answering.ipynb",
    ]
    assert all((toys.root / line.strip()).is_file() for line in made[1:])
    assert toys.files("paper", "notebooks", "figures") == before
    again = toys.run("one", "02_answering", "--params", str(mine))
    assert (ran(again), again.stdout) == ([], done.stdout)


@pytest.mark.parametrize("name", ["", "06_langauge"])
def test_one_notebook_that_is_not_there_is_one_line(toys, name):
    done = toys.run("one", name)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        f"t0qat: NOTEBOOK = {name!r}: there is no such notebook; known are 01_toy"
    )


SWALLOWED = """
import signal, sys, time, weakref
from t0qat import __main__ as command

# A shell starts what runs in its background deaf to Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

class Thing:
    pass

def press(_):
    raise KeyboardInterrupt  # as where one comes in the clean-up of an import

def work(**_):
    thing = Thing()
    reference = weakref.ref(thing, press)
    del thing
    time.sleep(60)

command._call = work
sys.argv = ["t0qat", "status"]
sys.exit(command.main())
"""


def test_a_ctrl_c_that_python_swallows_stops_the_run_all_the_same():
    done = subprocess.run([sys.executable, "-c", SWALLOWED], capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr == "t0qat: stopped; what was published before is in place\n"
