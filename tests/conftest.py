"""What every test has: a store of its own, the tools that it needs, and copies of the project."""

import gc
import shutil

import pytest
from projects import Project, copy, with_toys

from t0qat.pipeline import grid, pin, typeset
from t0qat.training import corpora


def pytest_configure():
    missing = [tool for tool in ("latexmk", "pdftotext", "make", "git") if shutil.which(tool) is None]
    if missing:
        tools = f"{typeset.PACKAGES} poppler-utils make git"
        raise pytest.UsageError(f"the tests need {', '.join(missing)}: apt-get install {tools}")


@pytest.fixture(autouse=True)
def own_store(monkeypatch, tmp_path_factory):
    """Each test computes its cells itself."""
    monkeypatch.setattr(grid, "STORE", tmp_path_factory.mktemp("cells"))


@pytest.fixture(scope="module")
def one_thread():
    """As cells are computed; more threads only wait for one another."""
    with pin.one_thread():
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> str:
    """A text of real prose, small enough to train on in no time."""
    path = tmp_path_factory.mktemp("text") / "prose.txt"
    path.write_text(corpora.load("pydoc_topics").text[:6000])
    return str(path)


@pytest.fixture(scope="module", autouse=True)
def little_garbage():
    """statsmodels collects garbage at every correction: what is there already is not looked at again."""
    gc.collect()
    gc.freeze()


SLOW = "costs pipeline grid vision on_text language theory measured precision published linear exhibits"
SLOW = [f"test_{name}" for name in f"{SLOW} explorer site nothing_gets_in".split()]


def pytest_collection_modifyitems(items):
    """Files that take long come first, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: SLOW.index(item.path.stem) if item.path.stem in SLOW else len(SLOW))


@pytest.fixture
def project(tmp_path) -> Project:
    """The project with its real notebooks."""
    return copy(tmp_path)


@pytest.fixture
def toys(tmp_path) -> Project:
    """The project with one toy notebook, 01_toy, and a one-line manuscript instead of the real ones."""
    return with_toys(tmp_path)
