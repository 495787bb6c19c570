"""A reader opens each notebook in JupyterLab and runs it: it says what the committed one says.

Cells with nbval's tag show what was read from the text of the running Python: under another version than
that of the committed outputs, only their kinds of outputs are compared. So it is where they show
times, or numbers of programs that the pin does not reach.
"""

import platform
import re

import nbformat
import pytest
from projects import ROOT

pytestmark = pytest.mark.browser
NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
# As nbval: not the pixels, nor the names of widgets, which are drawn anew each time.
WIDGET = "application/vnd.jupyter.widget-view+json"
UNCOMPARED = ("image/png", WIDGET)
TAG = "nbval-ignore-output"
UNPINNED = "09_deployment.ipynb"


def said(cell: dict) -> list:
    """A code cell's outputs as nbval compares them."""
    shown = []
    for output in cell["outputs"]:
        data = output.get("data", {"text/plain": output.get("text")})
        data = {kind: "".join(text) for kind, text in data.items() if kind not in UNCOMPARED}
        shown.append({kind: re.sub(r"0x[0-9a-f]+", "ADDRESS", text) for kind, text in data.items()})
    return shown


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_and_shows_what_was_committed(open_lab, pictures, name):
    with open_lab(name) as lab:
        ran = lab.run_all()
        committed = nbformat.read(ROOT / "notebooks" / name, as_version=4)
        same_python = committed.metadata.language_info.version == platform.python_version()
        code = [cell for cell in ran["cells"] if cell["cell_type"] == "code"]
        assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
        for cell, reference in zip(ran["cells"], committed.cells, strict=True):
            assert "".join(cell["source"]) == reference.source
            if cell["cell_type"] == "code":
                mine, theirs = said(cell), said(reference)
                own = name == UNPINNED or not same_python
                if own and TAG in reference.metadata.get("tags", []):
                    mine, theirs = [*map(sorted, mine)], [*map(sorted, theirs)]
                assert mine == theirs, reference.source
        outputs = [output for cell in code for output in cell["outputs"]]
        assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]

        drawn = [o for o in outputs if "image/png" in o.get("data", {}) and WIDGET not in o["data"]]
        text = "".join(cell.source for cell in committed.cells if cell.cell_type == "markdown")
        lab.picture(pictures / f"{name.removesuffix('.ipynb')}.png")
        pictures_shown = lab.page.locator(".jp-OutputArea img:not(.widget-image)")
        assert pictures_shown.count() == len(drawn)
        assert lab.page.evaluate("lab.brokenPictures()") == 0
        if "$" in text:
            lab.page.locator(".jp-MarkdownOutput mjx-container").first.wait_for()
        assert lab.page.locator(".jp-Dialog").count() == 0
        assert not lab.complaints
