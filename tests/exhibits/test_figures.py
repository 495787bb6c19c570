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

from t0qat.exhibits import figures
from t0qat.pipeline import publish
from t0qat.quantization.rounding import OWN_GRIDS
from t0qat.training import methods, plain, views

BITS = {"float": 32} | {f"INT{bits}": bits for bits in range(2, 9)}
MODELS = {"Small CNN": "small_cnn", "Deep CNN": "deep_cnn", "MLP": "mlp", "Residual CNN": "residual_cnn"}
# Of the legend.
RULES = {"absmax": "absmax", "least squared error": "mse"} | {
    rule: rule for rule in OWN_GRIDS
}  # by legend
OWNERS = {"learned": "lsq", "seq": "seq", "quest": "quest", "sliced": "matryoshka"}
FIXED = methods.named(lambda method: method.for_bits)
FULL = (["small_cnn", "deep_cnn"], ["mlp", "residual_cnn"], (8, 4, 3, 2))
SUBSETS = [(["small_cnn"], [], (4,)), ([], ["mlp"], (8, 3, 2)), (["mlp"], ["deep_cnn"], (4, 2))]


def made_up(models: list[str], few: list[str], widths: tuple[int, ...]) -> pd.DataFrame:
    """Rows as of vision.tables: accuracies from 0.08 to 0.995, no two alike, in no order."""
    rows = []
    for arm in arms_of(models, few, widths):
        measured = [(bits, rule) for bits in widths for rule in ("absmax", "mse", "own")]
        own = [(bits, arm.registered.rule(bits, arm.train_bits)) for bits in widths]
        measured += [(32, "none"), *(place for place in own if place[1] in OWN_GRIDS)]
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


def label(method: str) -> str:
    return methods.REGISTRY[method].label


def bars(panel) -> dict[str, ErrorbarContainer]:
    return {c.get_label(): c for c in panel.containers if isinstance(c, ErrorbarContainer)}


def whiskers(bar: ErrorbarContainer, axis: int) -> np.ndarray:
    """Lower and upper end of each: (points, 2)."""
    (lines,) = bar.lines[2]
    return np.array([segment[:, axis] for segment in lines.get_segments()]).reshape(-1, 2)


def points(bar: ErrorbarContainer) -> np.ndarray:
    """x and y of each: (2, points)."""
    return np.array(bar.lines[0].get_data(), dtype=float)


def panels_of(figure) -> dict:
    return {panel.get_title(loc="left"): panel for panel in figure.axes}


def legend_of(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def shown_texts(figure) -> list[Text]:
    figure.draw_without_rendering()
    return [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]


def test_accuracy_against_bits_is_that_of_the_chosen_rule_at_the_own_width(full):
    figure = figures.vision(full)
    few = methods.named(lambda method: method.few)
    assert {*legend_of(figure)} == {label(name) for name in ["standard_qat", *few]}
    assert panels_of(figure).keys() == MODELS.keys()
    for title, panel in panels_of(figure).items():
        names = few if title in ("MLP", "Residual CNN") else ["standard_qat", *few]
        drawn = {name: bar for name, bar in bars(panel).items() if points(bar).size}
        assert drawn.keys() == {label(name) for name in names}
        at = [BITS[tick.get_text()] for tick in figure.axes[-1].get_xticklabels()]
        for name in names:
            widths = [8, 4, 3, 2] if name in FIXED else [32, 8, 4, 3, 2]
            x, y = points(drawn[label(name)])
            assert [at[round(place)] for place in x] == widths
            told = [percent(full, MODELS[title], name, b if name in FIXED else 0, b) for b in widths]
            np.testing.assert_allclose(y, [mean for mean, *_ in told])
            np.testing.assert_allclose(whiskers(drawn[label(name)], 1), [ends for _, *ends in told])


def test_an_interval_beyond_what_accuracy_can_be_is_cut(full):
    wide = full.assign(ci_low=full["mean"] - 2, ci_high=full["mean"] + 2)
    for bar in bars(figures.vision(wide).axes[0]).values():
        assert (whiskers(bar, 1) == [0, 100]).all()


@pytest.mark.parametrize("model", ["deep_cnn", "residual_cnn"])
def test_the_matrix_prints_every_mean_where_its_row_and_column_say(full, model):
    panel = figures.vision_matrix(full, model).axes[0]
    columns = [BITS[tick.label1.get_text()] for tick in panel.xaxis.get_major_ticks()]
    assert columns == [32, 8, 4, 3, 2]
    printed = {t.get_position(): t.get_text() for t in panel.texts}
    known = {label(name): name for name in full.method}
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


def test_the_ranks_are_counted_and_both_scale_rules_stand_at_the_tables_numbers(full):
    figure = figures.vision_ranks(full, "small_cnn")
    panels = panels_of(figure)
    assert list(panels) == ["INT8", "INT4", "INT3", "INT2"]
    names = {label(name): name for name in full[full.model == "small_cnn"].method}
    rows = [names[tick.get_text()] for tick in panels["INT8"].get_yticklabels()]
    assert sorted(rows) == sorted(names.values())
    at_two = [name for name in rows if methods.REGISTRY[name].widths == (2,)]
    chosen = {
        (name, bits): percent(full, "small_cnn", name, bits if name in FIXED else 0, bits)[0]
        for name in rows
        for bits in ((2,) if name in at_two else (8, 4, 3, 2))
    }
    assert at_two == ["seq"]
    shown_at = [chosen[name, 2] for name in rows]
    assert shown_at == sorted(shown_at, reverse=True)  # the one width that all are in
    for title, panel in panels.items():
        bits = BITS[title]
        ranks = {t.get_position()[1]: t.get_text() for t in panel.texts if t.get_text() != "rank"}
        here = [name for name in rows if (name, bits) in chosen]
        for y, name in enumerate(rows):
            if name in here:
                ahead = sum(chosen[other, bits] > chosen[name, bits] for other in here)
                assert ranks[y] == str(ahead + 1)
        assert len(ranks) == len(here)
        assert bars(panel).keys() == RULES.keys() - ({"seq"} if bits > 2 else set())
        for words, bar in bars(panel).items():
            x, y = points(bar)
            shown = [rows[round(place)] for place in y]
            assert {*shown} == ({OWNERS[words]} if words in OWNERS else {*here})
            told = [
                percent(full, "small_cnn", name, bits if name in FIXED else 0, bits, RULES[words])
                for name in shown
            ]
            np.testing.assert_allclose(x, [mean for mean, *_ in told])
            np.testing.assert_allclose(whiskers(bar, 0), [ends for _, *ends in told])
        assert bars(panel)["absmax"].lines[0].get_markerfacecolor() == "white"
        (plain,) = [line for line in panel.lines if line.get_label() == "No noise, float"]
        np.testing.assert_allclose(plain.get_xdata(), percent(full, "small_cnn", "no_noise", 0, 32)[0])


def test_equal_accuracies_share_the_lower_rank():
    table = made_up([], ["mlp"], (4,))
    means = {
        "no_noise": 0.9,
        "t0_qat": 0.1,
        "t0_qat_tuned": 0.9,
        "ste": 0.95,
        "lsq": 0.9,
        "random_bits": 0.8,
    }
    table = table[table.method.isin(means)].reset_index(drop=True)
    table["mean"] = table.method.map(means) * (1 + 1e-15 * np.arange(len(table)))
    panel = figures.vision_ranks(table, "mlp").axes[0]
    assert [t.get_text() for t in panel.texts if t.get_text() != "rank"] == list("122256")


def test_a_method_has_no_rank_at_a_width_that_it_was_not_trained_for():
    table = made_up([], ["mlp"], (8, 2))
    at = {"no_noise": (0.9, 0.6), "t0_qat": (0.1, 0.1), "t0_qat_tuned": (0.95, 0.5)}
    at |= {"ste": (0, 0.8), "lsq": (0, 0.7), "random_bits": (0.8, 0.55)}
    table = table[table.method.isin(at)].reset_index(drop=True)
    table["mean"] = [at[m][int(b == 2)] for m, b in zip(table.method, table.eval_bits, strict=True)]
    table = table[
        ~((table.train_bits == 8) | (table.method.isin(["ste", "lsq"]) & (table.eval_bits == 8)))
    ]
    panels = panels_of(figures.vision_ranks(table, "mlp"))
    # Sorted by INT2 alone, where all are: a mean over fewer widths is no mean over all.
    order = ["ste", "lsq", "no_noise", "random_bits", "t0_qat_tuned", "t0_qat"]
    assert [tick.get_text() for tick in panels["INT8"].get_yticklabels()] == list(map(label, order))
    for title, ranks in (("INT8", [None, None, 2, 3, 1, 4]), ("INT2", [1, 2, 3, 4, 5, 6])):
        texts = {
            t.get_position()[1]: t.get_text() for t in panels[title].texts if t.get_text() != "rank"
        }
        assert texts == {y: str(rank) for y, rank in enumerate(ranks) if rank}


def drawn(table: pd.DataFrame) -> list:
    each = [
        draw(table, m)
        for m in table.model.unique()
        for draw in (figures.vision_matrix, figures.vision_ranks)
    ]
    return [figures.vision(table), *each]


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
    for (one, first), (other, second) in combinations(zip(texts, boxes, strict=True), 2):
        assert not first.padded(-0.5).overlaps(second.padded(-0.5)), (one, other)


@pytest.mark.parametrize("subset", [FULL, *SUBSETS], ids=str)
@pytest.mark.parametrize(
    "numbers", [lambda table: table, noisy, chance], ids=["usual", "noisy", "chance"]
)
def test_no_text_is_clipped_or_lies_on_another(subset, numbers):
    for figure in drawn(numbers(made_up(*subset))):
        assert figure.get_figwidth() == 3.4
        readable(figure)


@pytest.mark.parametrize("subset", SUBSETS, ids=str)
def test_part_of_the_models_and_widths_is_drawn_as_well(subset):
    models, few, widths = subset
    table = made_up(*subset)
    names = [*models, *few]
    figure = figures.vision(table)
    assert [MODELS[title] for title in panels_of(figure)] == names
    for model in names:
        assert list(panels_of(figures.vision_ranks(table, model))) == [f"INT{bits}" for bits in widths]
        assert figures.vision_matrix(table, model).axes[0].images[0].get_array().shape[1] == 1 + len(
            widths
        )


def test_the_lowest_panel_of_each_column_says_what_its_places_are():
    shown = panels_of(figures.vision_ranks(made_up([], ["mlp"], (8, 3, 2)), "mlp"))
    said = {name: panel.xaxis.get_tick_params()["labelbottom"] for name, panel in shown.items()}
    assert said == {"INT8": False, "INT3": True, "INT2": True}


def test_a_new_method_is_in_every_figure(monkeypatch):
    for layer in (True, False):
        added = views.Method("Relative noise", plain.no_noise, "noise", layer=layer)
        with monkeypatch.context() as patch:
            patch.setitem(methods.REGISTRY, "relative_noise", added)
            table = made_up(["mlp"], [], (4, 2))
            ticks = [
                [tick.get_text() for tick in draw(table, "mlp").axes[0].get_yticklabels()]
                for draw in (figures.vision_matrix, figures.vision_ranks)
            ]
            assert all("Relative noise" in names for names in ticks)
            shown = "Relative noise" in legend_of(figures.vision(table))
            assert shown == layer  # the curves are of a telling few


def test_tables_without_plain_training_or_learned_steps_are_drawn(full):
    table = full[~full.method.isin(["no_noise", "lsq"])]
    assert legend_of(figures.vision_ranks(table, "small_cnn")) == ["absmax", "least squared error"]
    assert "LSQ" not in legend_of(figures.vision(table))


def test_a_model_that_is_not_there_is_named_with_those_that_are(full):
    for draw in (figures.vision_matrix, figures.vision_ranks):
        with pytest.raises(KeyError, match="no model 'vgg'; there are small_cnn, deep_cnn, mlp"):
            draw(full, "vgg")


def test_the_same_table_gives_the_same_bytes():
    table = made_up(["mlp"], [], (4, 2))
    twice = [
        [publish.picture(figure, kind) for figure in drawn(table) for kind in ("pdf", "png")]
        for _ in "ab"
    ]
    assert twice[0] == twice[1]
    assert len({*twice[0]}) == 6


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


def test_bits_per_character_against_bits_are_those_of_a_step_a_channel():
    table = written(*LANGUAGE)
    figure = figures.language(table)
    panels = panels_of(figure)
    assert list(panels) == ["Small GPT-2", "Small Llama"]
    at = [BITS[tick.get_text()] for tick in figure.axes[-1].get_xticklabels()]
    for panel, model in zip(panels.values(), ("small_gpt2", "small_llama"), strict=True):
        low, high = panel.get_ylim()
        for name in ("no_noise", "t0_qat", "t0_qat_tuned", "ste", "lsq", "random_bits"):
            bar = bars(panel)[label(name)]
            x, y = points(bar)
            widths = [at[round(place)] for place in x]
            assert widths == ([8, 4, 3, 2] if name in FIXED else [32, 8, 4, 3, 2])
            told = [bits_of(table, model, name, b if name in FIXED else 0, b) for b in widths]
            np.testing.assert_allclose(y, [mean for mean, *_ in told])
            np.testing.assert_allclose(whiskers(bar, 1), [ends for _, *ends in told])
            assert ((low < y) & (y < high)).all()


def test_the_language_matrix_prints_every_mean_and_is_darkest_at_the_fewest_bits():
    table = written(*LANGUAGE)
    for model in ("small_llama", "small_gpt2"):
        panel = figures.language_matrix(table, model).axes[0]
        columns = [BITS[tick.label1.get_text()] for tick in panel.xaxis.get_major_ticks()]
        printed = {t.get_position(): t.get_text() for t in panel.texts}
        known = {label(name): name for name in table.method}
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
    for figure in (figures.language(table), figures.language_matrix(table, table.model[0])):
        assert figure.get_figwidth() == 3.4
        readable(figure)
    for panel in figures.language(table).axes:
        low, high = panel.get_ylim()
        assert sum(low <= tick <= high for tick in panel.get_yticks()) >= 2


def test_a_language_model_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(KeyError, match="no model 'gpt'; there are small_gpt2, small_llama"):
        figures.language_matrix(written(["small_gpt2", "small_llama"], (4,)), "gpt")
