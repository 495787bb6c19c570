"""A real JupyterLab on this machine, over a copy of the project, and Debian's chromium to look at it.

Slow, so `make test` leaves them out; `make test-browser` runs them.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from projects import ROOT, copy, jupyter_server

CHROMIUM = shutil.which("chromium")
PICTURES = ROOT / "build" / "browser"
SCRIPT = Path(__file__).with_name("lab.js")


@pytest.fixture(scope="session")
def chromium():
    if CHROMIUM is None:
        pytest.exit("the browser tests need chromium: apt-get install chromium", returncode=1)
    from playwright.sync_api import sync_playwright  # only here: no other test needs the package

    with sync_playwright() as playwright:
        root = ["--no-sandbox"] if os.geteuid() == 0 else []  # chromium has no sandbox for root
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=root)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def pictures() -> Path:
    """Where the screenshots are kept."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    return PICTURES


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """A copy of the project whose notebooks a JupyterLab of its own serves; address and token."""
    project = copy(tmp_path_factory.mktemp("lab"))
    folder = tmp_path_factory.mktemp(
        "jupyter"
    )  # nothing of the reader's own settings is read or written
    settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False}  # asks the reader, and other hosts
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
    own = ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")
    environment = project.environment | dict.fromkeys(own, str(folder))
    del environment["COLUMNS"]  # pandas would fill them
    environment |= {"TQDM_DISABLE": "1", "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings")}
    environment |= {"JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces")}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
             "--expose-app-in-browser", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0",
             "--ServerApp.root_dir=notebooks"],
            cwd=project.root, env=environment, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        server = jupyter_server(folder, process, folder / "log")
        yield project, f"http://127.0.0.1:{server['port']}/lab/tree", server["token"]
    finally:
        process.terminate()  # its kernels end with it
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:  # once in a while JupyterLab does not hear
            process.kill()
            process.wait()


class Lab:
    """One notebook, open in JupyterLab in a browser window of its own."""

    def __init__(self, browser, served, name: str, **window):
        self.project, address, token = served
        self.name = name
        self.complaints: list[str] = []
        self.window = browser.new_context(**({"viewport": {"width": 1400, "height": 1000}} | window))
        self.window.set_default_timeout(600_000)  # for hangs: slow machines are waited for
        self.page = self.window.new_page()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.add_init_script(path=SCRIPT)
        self.page.goto(f"{address}/{name}?token={token}&reset")
        self.page.locator(".jp-NotebookPanel").wait_for()
        self.page.evaluate("name => lab.panel(name).then(() => null)", name)

    def _heard(self, message):
        if message.type == "error":
            self.complaints.append(message.text)

    def run_all(self) -> dict:
        """The notebook, in nbformat's terms, after Run All."""
        return self.page.evaluate("name => lab.runAll(name)", self.name)

    def ask(self, code: str) -> str:
        """What the notebook's kernel prints for this code."""
        return self.page.evaluate("([name, code]) => lab.ask(name, code)", [self.name, code])

    def picture(self, path: Path):
        """A screenshot of the whole notebook, with nothing scrolled away."""
        before = self.page.viewport_size
        height = min(self.page.evaluate("lab.wholeHeight()"), 12_000)
        self.page.set_viewport_size(before | {"height": height})
        self.page.evaluate("lab.scroller().scrollTo(0, 0)")
        self.page.wait_for_timeout(500)  # for the layout
        self.page.screenshot(path=path)
        self.page.set_viewport_size(before)

    def close(self):
        self.page.evaluate("name => lab.shutDown(name)", self.name)
        self.window.close()


@pytest.fixture(scope="module")
def open_lab(chromium, served):
    """Open a notebook: `with open_lab("01_table1.ipynb") as lab`; its kernel ends with it."""
    return lambda name, **window: contextlib.closing(Lab(chromium, served, name, **window))
