"""A reader moves the explorer's controls in JupyterLab: what is drawn and said is what was chosen."""

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
import tomllib

import numpy as np
import pytest

from t0qat.experiments import published
from t0qat.paper import PAPER
from t0qat.pipeline import results
from t0qat.quantization import quantizers
from t0qat.training import constants, methods

pytestmark = pytest.mark.browser
NAME = "00_explore.ipynb"
PICTURES = "drop", "losses", "bits", "weights", "device"
SENTENCES = [f".explore-sentence-{name}" for name in PICTURES]
DRAWN = ("setting", "networks_setting", "circuits_setting")
PUBLISHED = {
    "constant": "xi", "scaling": constants.XI_SCALING, "baseline_noise": 0.4,
    "evaluation_noise": "reported", "target": "sum", "dataset": "synthetic",
}  # fmt: skip


class Panel:
    """The explorer of a notebook that was run, as a reader uses it."""

    def __init__(self, lab):
        self.lab, self.page = lab, lab.page
        lab.run_all()
        lab.page.evaluate("lab.scroller().scrollTo(0, 0)")
        lab.page.wait_for_function("lab.looks().length === 5 && !lab.looks().includes(0)")

    def read(self, expression: str):
        """The value, in the kernel, of an expression on `panel`."""
        return json.loads(self.lab.ask(f"import json; print(json.dumps({expression}))"))

    def press(self, control: str, *keys: str):
        self.page.locator(f".explore-{control} .noUi-handle").focus()
        for key in keys:
            self.page.keyboard.press(key)

    def choose(self, control: str, label: str):
        self.page.locator(f".explore-{control} select").select_option(label=label)

    def options(self, control: str) -> list[str]:
        return self.page.locator(f".explore-{control} select option").all_text_contents()

    def click(self, name: str):
        self.page.locator(f".explore-{name}").click()

    def settled(self, **setting) -> dict:
        """What is drawn, once it is that of this setting and no work is under way."""
        idle = "panel.task is None or panel.task.done()"
        end = time.monotonic() + 600
        while True:
            done, linear, *others = self.read(f"({idle}, *map(panel.shown.get, {DRAWN}))")
            if done and others == 2 * [linear] and setting.items() <= linear.items():
                break
            assert time.monotonic() < end, f"{setting} wanted, {linear} and {others} drawn"
            self.page.wait_for_timeout(50)
        return self.read("panel.shown")

    def says(self, name: str) -> str:
        """The sentence under a picture, once it is what the kernel has said; with ASCII's minus."""
        own = " ".join(re.sub("<.*?>", "", self.read(f"panel.sentences[{name!r}]")).split())
        sentence = self.page.locator(f".explore-sentence-{name}")
        sentence.get_by_text(own).wait_for()
        return " ".join(sentence.inner_text().split()).replace("−", "-")


# First, since two windows on one notebook would share its kernel.
@pytest.mark.parametrize("zoom", [1, 2])
def test_it_is_usable_in_both_themes_and_zoomed(open_lab, pictures, zoom):
    window = {"width": 1400 // zoom, "height": 1000 // zoom}
    with open_lab(NAME, viewport=window, device_scale_factor=zoom) as lab:
        if zoom > 1:  # room for the notebook
            lab.page.evaluate("lab.command('application:toggle-left-area')")
        panel = Panel(lab)
        for theme in ("JupyterLab Dark", "JupyterLab Light"):  # the last one stays
            lab.page.evaluate("theme => lab.command('apputils:change-theme', { theme })", theme)
            lab.page.wait_for_timeout(1000)
            wide = lab.page.evaluate("lab.wide()")
            lab.picture(pictures / f"00_explore {theme.split()[1].lower()} {100 * zoom}%.png")
            assert not wide
            panel.press("scaling", "ArrowLeft")
            panel.settled()


@pytest.fixture(scope="module")
def opened(open_lab):
    with open_lab(NAME) as lab:
        yield Panel(lab)


@pytest.fixture
def panel(opened) -> Panel:
    """The explorer as it is when it opens."""
    opened.lab.ask("panel.set(**type(panel.wanted)()._asdict())")
    opened.settled(**PUBLISHED, bits=4, replicates=500)
    yield opened
    assert not opened.lab.complaints


def number(pattern: str, sentence: str, value: float):
    """The sentence holds the value at the pattern's group, right to its last digit."""
    text = re.search(pattern, sentence)[1]
    assert float(text) == pytest.approx(value, abs=0.51 * 10.0 ** -len(text.partition(".")[2])), sentence


def check_losses(panel: Panel, shown: dict):
    """What is drawn and said of the published experiment, against the experiment itself."""
    setting = shown["setting"]
    xi_scaling = constants.CONSTANTS[setting["constant"]] / constants.XI * setting["scaling"]
    own = {k: setting[k] for k in ("baseline_noise", "evaluation_noise", "target", "replicates")}
    run, _ = published.published(xi_scaling=xi_scaling, **own)
    for method, losses in run.items():
        assert shown["full_precision"][method] == losses.full_precision.tolist()
        assert shown["quantized"][method] == losses.quantized.tolist()
    drop = run["t0_qat"].drop - run["standard_qat"].drop
    quantized = run["t0_qat"].quantized - run["standard_qat"].quantized
    number(r"difference (-?[\d.]+) \[", panel.says("drop"), drop.mean())
    number(r"difference (-?[\d.]+) \[", panel.says("losses"), quantized.mean())
    number(r"larger in ([\d.]+) %", panel.says("losses"), 100 * (quantized > 0).mean())
    assert f"({setting['replicates']:,} paired runs)" in panel.says("drop")
    means = panel.read(
        "{line.get_label(): [*line.get_xdata(), *line.get_ydata()] for line in"
        " panel._figures['losses'].axes[0].lines if len(line.get_xdata()) == 1}"
    )
    for method, losses in run.items():
        drawn = means[methods.REGISTRY[method].label]
        assert drawn == pytest.approx([losses.full_precision.mean(), losses.quantized.mean()])


def test_each_slider_changes_what_is_drawn_and_said(panel):
    check_losses(panel, panel.settled(**PUBLISHED, bits=4, replicates=500))
    scalings = panel.read("[value for _, value in panel.controls['scaling'].options]")
    panel.press("scaling", *["ArrowLeft"] * 7)
    scaling = scalings[scalings.index(constants.XI_SCALING) - 7]
    check_losses(panel, panel.settled(scaling=scaling))
    panel.press("baseline-noise", "ArrowRight", "ArrowRight")
    check_losses(panel, panel.settled(scaling=scaling, baseline_noise=0.5))
    panel.press("evaluation-noise", "Home", "ArrowRight")
    check_losses(panel, panel.settled(baseline_noise=0.5, evaluation_noise=0.05))
    panel.press("replicates", "ArrowLeft")
    check_losses(panel, panel.settled(evaluation_noise=0.05, replicates=200))
    panel.choose("target", "normal")
    check_losses(panel, panel.settled(replicates=200, target="normal"))
    panel.press("scaling", "Home")
    panel.page.locator(".explore-constant select").select_option(index=1)
    constant = list(constants.CONSTANTS)[1]
    check_losses(panel, panel.settled(constant=constant))

    before = panel.settled()
    panel.choose("dataset", "diabetes")
    after = panel.settled(dataset="diabetes")
    assert after["quantized"] != before["quantized"]
    assert "reported" not in panel.says("drop")
    assert panel.page.locator(".explore-target select").is_disabled()


def test_bits_range_and_scale_rule_move_the_weights_on_their_grid(panel):
    panel.settled()
    for keys, bits, codes, rule in (
        ((), 4, "full", "absmax"),
        (["ArrowRight"], 3, "full", "absmax"),
        (["ArrowRight"], 2, "narrow", "absmax"),
        (["Home"], 8, "narrow", "mse"),
    ):
        panel.press("bits", *keys)
        panel.settled(bits=bits)
        panel.choose("range", codes)
        panel.choose("scale", rule)
        shown = panel.settled(bits=bits, grid_range=codes, grid_scale=rule)
        low, high = -(2 ** (bits - 1)) + (codes == "narrow"), 2 ** (bits - 1) - 1
        for mine in shown["weights"].values():
            weights, step = np.array(mine["weights"]), mine["step"]
            spanned = 2 * abs(weights).max() / (high - low)
            assert step == pytest.approx(spanned) if rule == "absmax" else step != spanned
            assert mine["codes"] == np.rint(weights / step).clip(low, high).tolist()
            missed = ((weights - step * np.array(mine["codes"])) ** 2).sum()
            absmax = spanned * np.rint(weights / spanned).clip(low, high)
            assert missed <= ((weights - absmax) ** 2).sum() * (1 + 1e-12)
        assert f"INT{bits}: {high - low + 1} codes from {low} to {high}" in panel.says("weights")
        share = np.mean(shown["accuracy"]["no_noise"], axis=0)[shown["bits"].index(bits)]
        number(r"without noise ([\d.]+) %", panel.says("bits"), 100 * share)
        assert f"Rounded to INT{bits}" in panel.says("bits")
    rows = panel.read(
        "{line.get_label(): list(line.get_ydata()) for line in panel._figures['bits'].axes[0].lines}"
    )
    for method, accuracy in shown["accuracy"].items():
        each = [*np.mean(accuracy, axis=0), np.mean(shown["unrounded"][method])]
        assert rows[methods.REGISTRY[method].label] == pytest.approx(each)


def test_the_circuit_on_a_noisy_device_follows_the_noise_of_training(panel):
    def check(shown: dict) -> dict:
        """The lines of the picture, which say what is shown."""
        rows = panel.read(
            "{line.get_label(): list(line.get_ydata()) for line in"
            " panel._figures['device'].axes[0].lines if len(line.get_xdata()) == 10}"
        )
        means = {way: np.mean(rows, axis=0) for way, rows in shown["on_device"].items()}
        for way, label in (("no_noise", "No noise"), ("t0_qat", "T0-QAT"), ("channel", "Exact channel")):
            assert rows[label] == pytest.approx([*means[way]])
        sentence = panel.says("device")
        number(r"without noise ([\d.]+) %", sentence, 100 * means["no_noise"].mean())
        number(r"angles names ([\d.]+) %", sentence, 100 * means["t0_qat"].mean())
        number(r"gives ([\d.]+) %", sentence, 100 * means["channel"].mean())
        return rows

    first = check(panel.settled())
    look = panel.page.evaluate("lab.looks()")[4]
    panel.press("scaling", *["ArrowLeft"] * 12)
    scalings = panel.read("[value for _, value in panel.controls['scaling'].options]")
    scaling = scalings[scalings.index(constants.XI_SCALING) - 12]
    second = check(panel.settled(scaling=scaling))
    assert second["No noise"] == first["No noise"]
    assert np.mean(second["T0-QAT"]) > np.mean(first["T0-QAT"])
    panel.page.wait_for_function("look => lab.looks()[4] !== look", arg=look)


def test_impossible_values_cannot_be_chosen(panel):
    assert panel.options("range") == list(quantizers.CODES)
    panel.press("bits", "End")
    panel.settled(bits=1, grid_range="full")
    assert panel.options("range") == ["full"]
    panel.press("bits", "ArrowLeft")
    panel.settled(bits=2)
    panel.choose("range", "narrow")
    panel.settled(bits=2, grid_range="narrow")
    panel.press("bits", "Home", "End")
    panel.settled(bits=2, grid_range="narrow")
    panel.page.locator(".explore-constant select").select_option(index=2)  # which fewer scalings suit
    constant = list(constants.CONSTANTS)[2]
    panel.settled(constant=constant)
    panel.press("scaling", "End")
    most = panel.read("panel.controls['scaling'].options[-1][1]")
    panel.settled(constant=constant, scaling=most)


def test_a_preset_sets_every_control(panel):
    best = results.read(PAPER, "scale_best").set_index("quantity").estimate["quantized"]
    presets = {
        "as-published": constants.XI_SCALING,
        "no-tuning": 1.0,
        "tuned": best,
        "baseline": 0.4 / constants.XI,
    }
    for name, scaling in presets.items():
        panel.choose("dataset", "diabetes")
        panel.press("baseline-noise", "End")
        panel.press("evaluation-noise", "End")
        panel.page.locator(".explore-constant select").select_option(index=2)
        constant = list(constants.CONSTANTS)[2]
        panel.settled(dataset="diabetes", baseline_noise=2, evaluation_noise=2, constant=constant)
        panel.click(f"preset-{name}")
        shown = panel.settled(**PUBLISHED | {"scaling": scaling})
        assert panel.page.locator(".explore-scaling .widget-readout").inner_text() == f"{scaling:.6g}"
        assert panel.page.locator(".explore-baseline-noise .widget-readout").inner_text() == "0.4"
        labels = panel.page.locator(".explore-constant select, .explore-dataset select").evaluate_all(
            "lists => lists.map((list) => list.selectedOptions[0].textContent)"
        )
        assert labels[0].startswith("ξ")
        assert labels[1] == "synthetic"
        check_losses(panel, shown)


def test_the_readers_zoom_is_kept(panel):
    before = panel.settled()["limits"]
    canvas = panel.page.locator(".jupyter-matplotlib-canvas-div").nth(1)
    canvas.scroll_into_view_if_needed()
    canvas.hover()
    panel.page.locator(".jupyter-matplotlib").nth(1).get_by_title("Zoom to rectangle").click()
    box = canvas.bounding_box()
    panel.page.mouse.move(box["x"] + 150, box["y"] + 80)
    panel.page.mouse.down()
    panel.page.mouse.move(box["x"] + 300, box["y"] + 200, steps=5)
    panel.page.mouse.up()
    end = time.monotonic() + 600
    while (zoomed := panel.read("panel.shown['limits']"))["losses"] == before["losses"]:
        assert time.monotonic() < end
        panel.page.wait_for_timeout(50)
    for old, new in zip(before["losses"], zoomed["losses"], strict=True):
        assert old[0] < new[0] < new[1] < old[1]
    panel.press("scaling", *["ArrowLeft"] * 5)
    scalings = panel.read("[value for _, value in panel.controls['scaling'].options]")
    after = panel.settled(scaling=scalings[scalings.index(constants.XI_SCALING) - 5])["limits"]
    assert after["losses"] == zoomed["losses"]
    assert after["drop"] != zoomed["drop"]  # nobody zoomed there: it follows its data
    canvas.hover()
    panel.page.locator(".jupyter-matplotlib").nth(1).get_by_title("Reset original view").click()
    panel.press("scaling", "ArrowLeft")
    back = panel.settled(scaling=scalings[scalings.index(constants.XI_SCALING) - 6])["limits"]["losses"]
    assert back[0][0] < zoomed["losses"][0][0] < zoomed["losses"][0][1] < back[0][1]  # all is seen again


def test_pictures_are_redrawn_in_place(panel):
    panel.page.evaluate("lab.watch()")
    for key in ("ArrowLeft", "ArrowLeft", "ArrowRight", "Home", "End"):
        panel.press("scaling", key)
        panel.page.wait_for_timeout(300)  # for the frames in between
    panel.settled(scaling=panel.read("panel.controls['scaling'].options[-1][1]"))
    panel.page.wait_for_function("lab.watched.frames > 30")
    watched = panel.page.evaluate("lab.unwatch()")
    assert (watched["replaced"], watched["resized"], watched["blank"]) == (0, 0, 0)


def test_the_browser_shows_what_was_drawn_after_a_drag(panel):
    """Of images that come at once the page shows the last only: it must not need the others."""
    for _ in range(3):
        panel.press("scaling", *["ArrowLeft"] * 12, *["ArrowRight"] * 9)
    panel.settled()
    digest = "list(__import__('hashlib').sha256(figure.canvas.buffer_rgba()).digest())"
    drawn = panel.read(f"[{digest} for figure in panel._figures.values()]")
    end = time.monotonic() + 60
    while (shown := panel.page.evaluate("lab.digests()")) != drawn:
        assert time.monotonic() < end, [a == b for a, b in zip(shown, drawn, strict=True)]
        panel.page.wait_for_timeout(50)


def test_how_fast_pictures_are_redrawn(panel, pictures):
    """Times are kept in redraw.json, not judged: another machine has others."""
    panel.press("scaling", *["ArrowRight"] * 4)  # where every move shows
    panel.settled(scaling=panel.read("panel.controls['scaling'].options[45][1]"), replicates=500)
    moves = []
    for _ in range(12):
        panel.page.evaluate("names => { window.timed = lab.redraw(names) }", SENTENCES)
        panel.press("scaling", "ArrowLeft")
        moves.append(panel.page.evaluate("() => window.timed"))
        panel.settled()
    times = {
        f"{name}, {part}": [move[part][i] for move in moves]
        for i, name in enumerate(PICTURES)
        for part in ("pictures", "sentences")
    }
    linear = [[move[part][i] for part in move for i in (0, 1, 3)] for move in moves]
    assert not [times for times in linear if None in times]
    times["linear layer, all of it"] = [max(each) for each in linear]
    (pictures / "redraw.json").write_text(json.dumps(times, indent=1))
    for name, each in times.items():
        each = [time for time in each if time]  # the same accuracies, and the same words, may come again
        print(f"{name}: median {statistics.median(each):.0f} ms, at most {max(each):.0f} ms")


def test_a_long_choice_shows_progress_and_cancel_keeps_the_picture(panel):
    before = panel.settled(replicates=500)
    looks = panel.page.evaluate("lab.looks()")
    progress, cancel = panel.page.locator(".explore-progress"), panel.page.locator(".explore-cancel")
    assert not cancel.is_visible()
    panel.press("replicates", "End")
    cancel.wait_for(state="visible")
    assert progress.is_visible()
    panel.page.wait_for_function(
        "parseFloat(document.querySelector('.explore-progress .progress-bar').style.width) > 5"
    )
    cancel.click()
    cancel.wait_for(state="hidden")
    assert panel.settled(replicates=500) == before
    assert panel.page.evaluate("lab.looks()") == looks
    assert panel.page.locator(".explore-replicates .widget-readout").inner_text() == "500"
    panel.press("replicates", "ArrowRight")  # and it goes on
    check_losses(
        panel, panel.settled(replicates=1000) | {"setting": before["setting"] | {"replicates": 1000}}
    )


def test_the_pipeline_accepts_a_setting_that_was_written(panel):
    panel.press("baseline-noise", "ArrowRight")
    panel.press("bits", "ArrowRight")
    panel.press("replicates", "Home")
    panel.choose("range", "narrow")
    panel.settled(baseline_noise=0.45, bits=3, replicates=10, grid_range="narrow")
    name = panel.page.locator(".explore-name input")
    name.fill("of a reader")
    name.press("Enter")
    panel.click("write")
    command = panel.page.locator(".explore-written code")
    command.wait_for()
    file = re.fullmatch(r'make paper PARAMS="(.*)"', command.inner_text())[1]
    project = panel.lab.project
    written = tomllib.loads((project.root / file).read_text())
    assert (written["baseline_noise"], written["grid_range"]) == (0.45, "narrow")
    process = subprocess.Popen(
        [sys.executable, "-m", "t0qat", "run", "--profile", "smoke", "--params", file],
        cwd=project.root, env=project.environment, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        receipt = project.root / "build/smoke/paper/results/table1.json"
        end = time.monotonic() + 600
        while not receipt.is_file():
            assert process.poll() is None and time.monotonic() < end, process.stderr.read()
            time.sleep(0.2)
        used = json.loads(receipt.read_text())["parameters"]
        assert (used["baseline_noise"], used["replicates"]) == (0.45, 10)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its kernel ends with it
        process.communicate(timeout=300)


def test_a_reader_picks_a_network_a_width_and_methods(panel):
    """Last, since it leaves the notebook scrolled down to the chooser."""
    page = panel.page
    page.evaluate("lab.scroller().scrollTo(0, lab.scroller().scrollHeight)")
    picture, sentence = page.locator(".which-picture"), page.locator(".which-sentence")
    picture.wait_for()

    def shown(**wanted) -> list[str]:
        """The methods shown, once kernel, picture and words are all of this choice."""
        end = time.monotonic() + 600
        choice = "{'network': chosen.network, 'bits': chosen.bits}"
        while not wanted.items() <= (found := panel.read(choice)).items():
            assert time.monotonic() < end, f"{wanted} wanted, {found} shown"
            page.wait_for_timeout(50)
        sentence.get_by_text(panel.read("chosen.sentence").partition("\n")[0]).wait_for()
        digest = "list(__import__('hashlib').sha256(chosen._picture.value).digest())"
        drawn = picture.evaluate(
            "(image) => fetch(image.src).then((answer) => answer.arrayBuffer())"
            ".then((bytes) => crypto.subtle.digest('SHA-256', bytes))"
            ".then((digest) => [...new Uint8Array(digest)])"
        )
        assert drawn == panel.read(digest)
        assert picture.evaluate("(image) => image.naturalWidth") > 0
        return panel.read("chosen.methods")

    usual = shown()
    networks = page.locator(".which-network select option").all_text_contents()
    page.locator(".which-network select").select_option(label=networks[1])
    second = panel.read("chosen.controls['network'].options[1][1]")
    shown(network=second)
    for label, bits in panel.read("chosen.controls['bits'].options"):
        page.locator(".which-bits button", has_text=label).click()
        shown(network=second, bits=bits)
        assert f" at {label} " in sentence.inner_text()
    labels = page.locator(".which-methods select option").all_text_contents()
    page.locator(".which-methods select").select_option(label=labels[:1])
    sentence.get_by_text("is picked").wait_for()
    assert shown() == panel.read("[chosen.controls['methods'].options[0][1]]")
    page.locator(".which-usual").click()
    sentence.get_by_text("Of the methods picked").wait_for()
    assert {*usual} & {*shown()}
    assert not page.evaluate("lab.wide()")
