"""The figures of the benchmarks: what is drawn is what the table says, and can be read."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from made_up import arms_of
from matplotlib.colors import to_rgb
from matplotlib.container import ErrorbarContainer
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from t0qat.exhibits import deviations, figures
from t0qat.exhibits.vision import IMAGES
from t0qat.pipeline import publish
from t0qat.training import methods, plain, views

BITS = {"float": 32} | {f"INT{bits}": bits for bits in range(2, 9)}
MODELS = {"Small CNN": "small_cnn", "Deep CNN": "deep_cnn", "MLP": "mlp", "Residual CNN": "residual_cnn"}
FULL = (["small_cnn", "deep_cnn"], ["mlp", "residual_cnn"], (8, 4, 3, 2))
SUBSETS = [(["small_cnn"], [], (4,)), ([], ["mlp"], (8, 3, 2)), (["mlp"], ["deep_cnn"], (4, 2))]


def made_up(models: list[str], few: list[str], widths: tuple[int, ...]) -> pd.DataFrame:
    """Rows as of vision.tables: accuracies from 0.08 to 0.995, no two alike, in no order."""
    rows = []
    for arm in arms_of(models, few, widths):
        measured = [(bits, rule) for bits in widths for rule in ("absmax", "mse", "own")]
        measured += [(32, "none")] + [(arm.train_bits, "learned")] * (arm.method == "lsq")
        for bits, rule in measured:
            row = arm._asdict() | {"eval_bits": bits, "scale_rule": rule, "n": 20}
            rows += [row | {"metric": metric} for metric in ("accuracy", "bytes")]
    table = pd.DataFrame(rows)
    wrong = np.geomspace(0.005, 0.92, len(table))[np.arange(len(table)) * 7919 % len(table)]
    means = (1 - wrong) * np.where(table.metric == "accuracy", 1, 5000)
    return table.assign(mean=means, ci_low=means - 0.1 * wrong, ci_high=means + 0.1 * wrong)


@pytest.fixture(scope="module")
def full() -> pd.DataFrame:
    return made_up(*FULL)


def percent(
    table: pd.DataFrame, model: str, method: str, trained: int, bits: int, rule=""
) -> list[float]:
    """mean, ci_low and ci_high of one accuracy, within 0 and 100; no rule: as a user reads it."""
    where = ["model", "method", "train_bits", "eval_bits", "scale_rule", "metric"]
    rule = rule or ("none" if bits == 32 else "own")
    key = (model, method, trained, bits, rule, "accuracy")
    (row,) = (100 * table.set_index(where).sort_index().loc[[key], ["mean", "ci_low", "ci_high"]]).values
    return [min(max(float(value), 0), 100) for value in row]


def network(method: str) -> str:
    """As figures of networks name it."""
    return "Gaussian noise, 0.4" if method == "standard_qat" else methods.REGISTRY[method].label


def whiskers(bar: ErrorbarContainer, axis: int) -> np.ndarray:
    """Lower and upper end of each: (points, 2)."""
    (lines,) = bar.lines[2]
    return np.array([segment[:, axis] for segment in lines.get_segments()]).reshape(-1, 2)


def points(bar: ErrorbarContainer) -> np.ndarray:
    """x and y of each: (2, points)."""
    return np.array(bar.lines[0].get_data(), dtype=float)


def shown_texts(figure) -> list[Text]:
    figure.draw_without_rendering()
    return [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]


def compared(table: pd.DataFrame, file: str = "vision", margin: float = 0.02) -> dict[str, pd.DataFrame]:
    """The table and its differences from plain training: from 0.01 to 20 margins, no two alike."""
    rows = table[
        ((table.train_bits == 0) | (table.train_bits == table.eval_bits))
        & (table.scale_rule == np.where(table.eval_bits == 32, "none", "own"))
        & ~table.metric.isin(["bytes"])
        & (table.method != "no_noise")
    ].drop(columns=["metric", "mean"])
    sizes = margin * np.geomspace(0.01, 20, len(rows))[np.arange(len(rows)) * 7919 % len(rows)]
    estimate = sizes * np.resize([1, -1, -1], len(rows))
    rows = rows.assign(
        against="plain", other="no_noise", other_bits=0, estimate=estimate,
        ci_low=estimate - 0.3 * margin, ci_high=estimate + 0.3 * margin, margin=margin, p_bh=0.5,
        p_equal=0.5, detectable=1.0,
    )  # fmt: skip
    rivals = rows.assign(against="random_bits", other="random_bits", estimate=77.0)
    return {file: table, f"{file}_paired": pd.concat([rivals, rows], ignore_index=True)}


def drawn_differences(figure) -> dict:
    """(model, width, row's name) -> estimate, its ends, and whether the mark is open."""
    names = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    found, model = {}, ""
    for panel in figure.axes:
        model = MODELS.get(panel.get_title(loc="left").strip(), model)
        for bar in panel.containers:
            x, y = points(bar)
            hollow = bar.lines[0].get_markerfacecolor() == "white"
            for value, place, ends in zip(x, y, whiskers(bar, 0), strict=True):
                key = model, BITS[panel.get_title(loc="right")], names[round(place)]
                assert key not in found
                found[key] = value, *ends, hollow
    return found


def arrows(figure) -> dict:
    """(model, width, row's name) -> at which end of the axis, whether it points there, whether open."""
    names = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    found, model = {}, ""
    for panel in figure.axes:
        model = MODELS.get(panel.get_title(loc="left").strip(), model)
        low, high = panel.get_xlim()
        for line in panel.lines:
            way = {"<": -1, ">": 1}.get(line.get_marker())
            for x, y in zip(*line.get_data(), strict=True) if way else ():
                at_end = 0.02 < (high - x if way > 0 else x - low) / (high - low) < 0.06
                key = model, BITS[panel.get_title(loc="right")], names[round(y)]
                assert at_end and key not in found
                found[key] = way, line.get_markerfacecolor() == "white"
    return found


def test_every_difference_from_plain_training_is_drawn_or_named(full):
    table = full.copy()
    lost = (table.method == "ste") & (table.train_bits == 3) & (table.model == "deep_cnn")
    at_float = (table.eval_bits == 32) & (table.metric == "accuracy")
    table.loc[at_float, "mean"] = 0.9
    table.loc[at_float & (lost | (table.method == "t0_qat")), "mean"] = 0.5  # no better than the bar
    results = compared(table)
    figure = figures.vision(results)
    found, pointed = drawn_differences(figure), arrows(figure)
    undrawn = deviations.undrawn(IMAGES, results)
    undrawn = {*zip(undrawn.model, undrawn.eval_bits, map(network, undrawn.method), strict=True)}
    pairs = results["vision_paired"]
    pairs = pairs[(pairs.against == "plain") & pairs.model.isin(FULL[0]) & (pairs.eval_bits != 32)]
    beyond, chance = 0, 0
    for row in pairs.itertuples():
        key = row.model, row.eval_bits, network(row.method)
        if row.method == "t0_qat" or (row.method, row.train_bits, row.model) == ("ste", 3, "deep_cnn"):
            chance += 1
            assert key not in found and key not in pointed
            undrawn.remove(key)
        elif abs(row.estimate) > 12 * row.margin:
            beyond += 1
            assert key not in found
            assert pointed.pop(key) == (np.sign(row.estimate), row.train_bits != 0)
        else:
            value, low, high, hollow = found.pop(key)
            assert (value, low, high) == pytest.approx((row.estimate, row.ci_low, row.ci_high))
            assert hollow == (row.train_bits != 0)
    assert not found and not pointed and not undrawn and beyond > 3 and chance == 2 * 4 + 1


def test_each_family_is_named_beside_its_own_rows(full):
    figure = figures.vision(compared(full))
    order = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    families = {network(name): method.family for name, method in methods.REGISTRY.items()}
    for panel in figure.axes[3::4]:
        assert {*map(Text.get_text, panel.texts)} == {"neither", *views.FAMILIES} - {"none"}
        for text in panel.texts:
            family = text.get_text().replace("neither", "none")
            rows = [y for y, name in enumerate(order) if families[name] == family]
            assert text.get_position()[1] == (rows[0] + rows[-1]) / 2
            assert len(rows) == rows[-1] - rows[0] + 1


def test_an_axis_holds_the_margin_and_what_is_drawn_and_no_more_than_twelve_margins(full):
    results = compared(full)
    results["vision_paired"].loc[results["vision_paired"].eval_bits == 2, "margin"] *= 5
    for panel in figures.vision(results).axes:
        margin = 0.1 if panel.get_title(loc="right") == "INT2" else 0.02
        low, high = panel.get_xlim()
        (band,) = [patch for patch in panel.patches if isinstance(patch, Rectangle)]
        assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((-margin, margin))
        assert -13 * margin <= low <= -1.5 * margin and 1.5 * margin <= high <= 13 * margin
        for bar in panel.containers:
            x, _ = points(bar)
            assert ((low <= x) & (x <= high)).all()


def test_no_mark_is_cut_by_the_frame_of_its_panel(full):
    """Half a mark is 1.5 points and its edge, also where a mean lies just within twelve margins."""
    results = compared(full)
    pairs = results["vision_paired"]
    near = (pairs.against == "plain") & pairs.method.isin(["ste", "quest", "lsq"])
    pairs.loc[near, ["estimate", "ci_low", "ci_high"]] = -0.2399, -0.3, -0.18  # the margin is 0.02
    pairs.loc[near & (pairs.method == "lsq"), "estimate"] = -0.2401
    figure = figures.vision(results)
    figure.draw_without_rendering()
    for panel in figure.axes:
        left, right = panel.bbox.x0, panel.bbox.x1
        marks = [line for line in panel.lines if line.get_marker() in ("<", ">")]
        for line in [*(bar.lines[0] for bar in panel.containers), *marks]:
            x = panel.transData.transform(line.get_xydata())[:, 0]
            half = 1.9 / 72 * figure.dpi
            assert (left <= x - half).all() and (x + half <= right).all()
    assert {way for (_, _, name), (way, _) in arrows(figure).items() if name == "LSQ"} == {-1}


def test_nothing_to_draw_leaves_the_margin_alone():
    table = made_up([], ["mlp"], (4,))
    table = table.assign(mean=table["mean"].where(table.metric != "accuracy", 0.1))
    results = compared(table)
    figure = figures.vision(results)
    assert drawn_differences(figure) == {}
    readable(figure)


@pytest.mark.parametrize("model", ["deep_cnn", "residual_cnn"])
def test_the_matrix_prints_every_mean_where_its_row_and_column_say(full, model):
    panel = figures.vision_matrix(full, model).axes[0]
    columns = [BITS[tick.label1.get_text()] for tick in panel.xaxis.get_major_ticks()]
    assert columns == [32, 8, 4, 3, 2]
    printed = {t.get_position(): t.get_text() for t in panel.texts}
    known = {network(name): name for name in full.method}
    rows, method = [], ""
    for tick in panel.get_yticklabels():
        name, _, width = tick.get_text().partition("  INT" if "  INT" in tick.get_text() else "INT")
        method = known.get(name, method)
        rows.append((method, int(width or 0)))
    assert {*rows} == {
        *full[full.model == model][["method", "train_bits"]].itertuples(index=False, name=None)
    }
    told = {
        (x, y): f"{percent(full, model, *row, bits)[0]:.1f}"
        for y, row in enumerate(rows)
        for x, bits in enumerate(columns)
    }
    assert printed == told
    frames = [patch.get_xy() for patch in panel.patches if isinstance(patch, Rectangle)]
    own = {(columns.index(bits), y) for y, (_, bits) in enumerate(rows) if bits}
    assert {(x + 0.5, y + 0.5) for x, y in frames} == own


def luminance(colour) -> float:
    """Relative luminance of an sRGB colour, as WCAG 2.1 defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_the_numbers_of_the_matrix_stand_out_from_their_cells(full):
    panel = figures.vision_matrix(full, "small_cnn").axes[0]
    (image,) = panel.images
    for text in panel.texts:
        x, y = text.get_position()
        cell = luminance(image.to_rgba(image.get_array())[y, x, :3])
        dark, light = sorted([cell, luminance(text.get_color())])
        assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG's AA


def drawn(table: pd.DataFrame) -> list:
    each = [figures.vision_matrix(table, model) for model in table.model.unique()]
    return [figures.vision(compared(table)), *each]


def noisy(table: pd.DataFrame) -> pd.DataFrame:
    """As two replicates may give: intervals of any width, nothing wrong, or nothing right."""
    means = np.resize([1.0, 0.97, 0.0, 0.93, 1.0], len(table))
    return table.assign(mean=means, ci_low=means - 0.7, ci_high=means + 0.7)


def chance(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(mean=0.1, ci_low=0.08, ci_high=0.12)


def readable(figure) -> None:
    """Assert that every text lies within the figure and on no other."""
    texts = shown_texts(figure)
    boxes = [text.get_window_extent() for text in texts]
    for text, box in zip(texts, boxes, strict=True):
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1, text
    inner = [box.padded(-0.5) for box in boxes]
    for (one, first), (other, second) in combinations(zip(texts, inner, strict=True), 2):
        assert not first.overlaps(second), (one, other)


@pytest.mark.parametrize("subset", [FULL, *SUBSETS], ids=str)
@pytest.mark.parametrize(
    "numbers", [lambda table: table, noisy, chance], ids=["usual", "noisy", "chance"]
)
def test_no_text_is_clipped_or_lies_on_another(subset, numbers):
    for figure in drawn(numbers(made_up(*subset))):
        assert figure.get_figwidth() in (3.4, 6.2)
        readable(figure)


@pytest.mark.parametrize("subset", SUBSETS, ids=str)
def test_part_of_the_models_and_widths_is_drawn_as_well(subset):
    models, few, widths = subset
    table = made_up(*subset)
    titles = [panel.get_title(loc="left").strip() for panel in figures.vision(compared(table)).axes]
    assert [MODELS[title] for title in titles if title] == (models or few)
    for model in (*models, *few):
        shown = figures.vision_matrix(table, model).axes[0].images[0].get_array()
        assert shown.shape[1] == 1 + len(widths)


def test_a_new_method_is_in_every_figure(monkeypatch):
    added = views.Method("New noise", plain.no_noise, "noise")
    monkeypatch.setitem(methods.REGISTRY, "new_noise", added)
    table = made_up(["mlp"], [], (4, 2))
    results = compared(table)
    results["vision_paired"]["estimate"] *= 0.1
    for figure in (figures.vision_matrix(table, "mlp"), figures.vision(results)):
        assert "New noise" in [tick.get_text() for tick in figure.axes[0].get_yticklabels()]


def test_the_baseline_is_named_for_what_it_is_on_networks(full):
    ticks = [tick.get_text() for tick in figures.vision_matrix(full, "mlp").axes[0].get_yticklabels()]
    assert "Standard QAT" not in ticks
    ticks = figures.vision_matrix(full, "small_cnn").axes[0].get_yticklabels()
    assert "Gaussian noise, 0.4" in [tick.get_text() for tick in ticks]


def test_a_model_that_is_not_there_is_named_with_those_that_are(full):
    with pytest.raises(KeyError, match="no model 'vgg'; there are small_cnn, deep_cnn, mlp"):
        figures.vision_matrix(full, "vgg")


def test_the_same_table_gives_the_same_bytes():
    table = made_up(["mlp"], [], (4, 2))
    twice = [
        [publish.picture(figure, kind) for figure in drawn(table) for kind in ("pdf", "png")]
        for _ in "ab"
    ]
    assert twice[0] == twice[1]
    assert len({*twice[0]}) == 4


LANGUAGE = (["small_gpt2", "small_llama"], (8, 4, 3, 2))
PARTS = [LANGUAGE, (["small_llama"], (4,)), (["small_gpt2"], (8, 3, 2))]


def written(models: list[str], widths: tuple[int, ...]) -> pd.DataFrame:
    """Rows as of language.tables: bits per character from 1.9 to 25, in two layouts."""
    table = made_up(["mlp"], [], widths)
    table = table.replace("accuracy", "bits_per_character")
    places = [{"model": name, "layout": layout} for name in models for layout in ("channels", "groups")]
    table = pd.concat([table.assign(**place) for place in places], ignore_index=True)
    bits = np.geomspace(1.9, 25, len(table))[np.arange(len(table)) * 7919 % len(table)]
    return table.assign(mean=bits, ci_low=0.98 * bits, ci_high=1.02 * bits)


def bits_of(table, model, method, trained, bits) -> list[float]:
    rule = "none" if bits == 32 else "own"
    (row,) = table[
        (table.model == model) & (table.layout == "channels") & (table.method == method)
        & (table.train_bits == trained) & (table.eval_bits == bits) & (table.scale_rule == rule)
        & (table.metric == "bits_per_character")
    ].itertuples()  # fmt: skip
    return [row.mean, row.ci_low, row.ci_high]


def test_bits_per_character_are_compared_with_a_step_a_channel():
    table = written(*LANGUAGE)
    results = compared(table, "language")
    figure = figures.language(results)
    pairs = results["language_paired"]
    channels = (pairs.layout == "channels") & (pairs.against == "plain") & (pairs.eval_bits != 32)
    at_chance = table.query("eval_bits == 32 and mean >= 4.2 and metric == 'bits_per_character'")
    at_chance = at_chance[at_chance.layout == "channels"]
    lost = {(row.model, row.method, row.train_bits) for row in at_chance.itertuples()}
    expected = sorted(
        row.estimate for row in pairs[channels].itertuples()
        if abs(row.estimate) <= 12 * row.margin and (row.model, row.method, row.train_bits) not in lost
    )  # fmt: skip
    shown = [value for panel in figure.axes for bar in panel.containers for value in points(bar)[0]]
    assert sorted(shown) == pytest.approx(expected) and 20 < len(shown) < channels.sum()


def test_the_language_matrix_prints_every_mean_and_is_darkest_at_the_fewest_bits():
    table = written(*LANGUAGE)
    for model in ("small_llama", "small_gpt2"):
        panel = figures.language_matrix(table, model).axes[0]
        columns = [BITS[tick.label1.get_text()] for tick in panel.xaxis.get_major_ticks()]
        printed = {t.get_position(): t.get_text() for t in panel.texts}
        known = {network(name): name for name in table.method}
        (image,), method, shades = panel.images, "", {}
        for y, tick in enumerate(panel.get_yticklabels()):
            name, _, width = tick.get_text().partition("  INT" if "  INT" in tick.get_text() else "INT")
            method = known.get(name, method)
            for x, bits in enumerate(columns):
                mean, *_ = bits_of(table, model, method, int(width or 0), bits)
                assert printed.pop((x, y)) == f"{mean:.2f}"
                shades[mean] = luminance(image.to_rgba(image.get_array())[y, x, :3])
        assert not printed
        inwards = [shades[mean] for mean in sorted(shades)]
        assert (np.diff(inwards) >= 0).all() and inwards[0] < 0.1 < 0.7 < inwards[-1]


def even(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(mean=6.5, ci_low=6.5, ci_high=6.5)


def wide(table: pd.DataFrame) -> pd.DataFrame:
    """As two replicates may give, up to what counts as the worst."""
    means = np.resize([2.1, 100.0, 2.2, 4.0], len(table))
    return table.assign(mean=means, ci_low=means - 9, ci_high=means + 9)


@pytest.mark.parametrize("part", PARTS, ids=str)
@pytest.mark.parametrize("numbers", [lambda table: table, even, wide], ids=["usual", "even", "wide"])
def test_no_text_of_the_language_figures_is_clipped_or_lies_on_another(part, numbers):
    table = numbers(written(*part))
    for figure in (
        figures.language(compared(table, "language")),
        figures.language_matrix(table, table.model[0]),
    ):
        assert figure.get_figwidth() in (3.4, 6.2)
        readable(figure)


def test_a_language_model_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(KeyError, match="no model 'gpt'; there are small_gpt2, small_llama"):
        figures.language_matrix(written(["small_gpt2", "small_llama"], (4,)), "gpt")
