"""Cells and scores of language models against plain loops of transformers and torch."""

import json
import math

import numpy as np
import pytest
import torch
from scipy import stats
from small_models import (
    BLOCKS,
    CONTEXT,
    IDS,
    JUDGED,
    SHARED,
    TEXT,
    compute,
    fine_tuning_of,
    means,
    net_of,
)
from torch import nn
from torch.nn.functional import cross_entropy

from t0qat.experiments import on_text, trained
from t0qat.experiments.learning import Learner
from t0qat.experiments.on_text import WORST
from t0qat.pipeline import cells, places
from t0qat.quantization import layers
from t0qat.quantization.quantizers import Grid
from t0qat.quantization.rounding import ROUNDINGS, Network, rounded
from t0qat.training import corpora, language_models, loop, methods, rounders
from t0qat.training.language_models import LAYOUTS, SMALL, laid_out, library, packed, small, unpacked
from t0qat.training.streams import stream

pytestmark = pytest.mark.usefixtures("one_thread")


def with_conv1d(state, size):
    """transformers' own GPT-2 with these weights of a Predictor, its Conv1D weights transposed back."""
    tools = library()
    config = tools.GPT2Config(
        vocab_size=size, n_positions=CONTEXT, n_embd=64, n_layer=2, n_head=4,
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
    )  # fmt: skip
    theirs = tools.GPT2LMHeadModel(config)
    state = {key.removeprefix("model."): value.clone() for key, value in state.items()}
    for key in state:
        if any(key.endswith(f"{layer}.weight") for layer in BLOCKS["small_gpt2"]):
            state[key] = state[key].T
    theirs.load_state_dict(state)
    return theirs


def test_a_cell_is_a_plain_loop_over_transformers_own_model(corpus):
    """Pretraining and plain fine-tuning, with losses as log-softmax by hand and rounding by hand."""
    text = corpora.load(corpus)
    alphabet = sorted(set(text.text))
    train, test = ([alphabet.index(c) for c in part] for part in (text.training, text.test))
    net = with_conv1d(
        small("small_gpt2", len(alphabet), CONTEXT, stream("initialization", 2)).state_dict(),
        len(alphabet),
    )

    def loop(purpose, rate, steps):
        draws = stream(purpose, 2)
        firsts = draws.integers(len(train) - CONTEXT, size=steps * 4)
        order = draws.permutation(steps * 4)
        adam = torch.optim.Adam(net.parameters(), lr=rate)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
        for batch in np.array_split(firsts[order], steps):
            rows = torch.tensor([train[i : i + CONTEXT + 1] for i in batch])
            adam.zero_grad()
            chances = net(rows[:, :-1]).logits.log_softmax(-1)
            (-chances.gather(-1, rows[:, 1:, None]).mean()).backward()
            adam.step()
            cosine.step()

    loop("data", 0.003, 6)
    arguments = {k: SHARED[k] for k in ("context", "batch_size", "schedule", "seed", "device")}
    start = on_text.pretraining_cell(
        corpus, "small_gpt2", 2, pretraining_steps=6, pretraining_rate=0.003, **arguments
    )
    start = start.made()
    mine = unpacked(start, small("small_gpt2", len(alphabet), CONTEXT, stream("initialization", 0)))
    ids = torch.tensor([test[:CONTEXT]])
    torch.testing.assert_close(mine(ids), net(ids).logits, rtol=1e-3, atol=1e-3)
    loop("batch_order", 0.002, 3)
    rows = compute(corpus, "small_gpt2", replicate=2, starts={("small_gpt2", 2): start})

    def bits_of(block):
        with torch.no_grad():
            logits = net(torch.tensor([row[:-1] for row in block])).logits.double()
        total = sum(
            -math.log2(math.exp(logits[i, j, row[j + 1]]) / logits[i, j].exp().sum())
            for i, row in enumerate(block)
            for j in range(CONTEXT)
        )
        return total / (len(block) * CONTEXT)

    every = [test[i : i + CONTEXT + 1] for i in range(0, len(test) - CONTEXT, CONTEXT)]
    blocks = [[every[i] for i in part[:5]] for part in np.array_split(range(len(every)), 3)]
    expected = [bits_of(block) for block in blocks]
    found = [r[3] for r in rows if r[:3] == [32, "none", "bits_per_character"]]
    assert found == pytest.approx(expected, rel=1e-4)
    assert [r[4] for r in rows if r[:3] == [4, "mse", "bits_per_character"]] == [0, 1, 2]
    assert means(rows, "perplexity")[32, "none"] == pytest.approx(2 ** np.mean(expected), rel=1e-4)
    assert [r[3] for r in rows if r[2] == "gradients"] == [3]
    with torch.no_grad():
        for key, w in net.named_parameters():
            if any(key.endswith(f"{layer}.weight") for layer in BLOCKS["small_gpt2"]):
                step = 2 * w.abs().amax(0) / 15  # Conv1D: output channels last
                w.copy_((w / step).round().clamp(-8, 7) * step)
    assert means(rows)[4, "absmax"] == pytest.approx(np.mean([bits_of(b) for b in blocks]), rel=1e-3)


def test_losses_are_torchs_cross_entropy():
    net, rows = net_of("small_llama"), torch.cat([IDS, IDS[:, :1]], 1)
    mine, logits = on_text.losses(net, rows), net(rows[:, :-1])
    for found, row, target in zip(mine, logits, rows[:, 1:], strict=True):
        assert found.item() == pytest.approx(cross_entropy(row, target).item(), rel=1e-6)
    expected = cross_entropy(logits.transpose(1, 2), rows[:, 1:]).item()
    assert on_text.mean_loss(logits, rows[:, 1:]).item() == pytest.approx(expected, rel=1e-6)


def test_a_large_vocabulary_is_evaluated_in_fewer_windows_at_once(corpus, monkeypatch):
    made, seen = fine_tuning_of(corpus), []
    weights = made.made()
    before = trained.at_widths(made.opened(weights, **made.arguments), method="no_noise", **JUDGED)
    opened = made.opened(weights, **made.arguments)
    monkeypatch.setattr(on_text, "LOGITS", 2 * CONTEXT * opened.tokens.size + 1)
    opened = made.opened(weights, **made.arguments)
    opened.net.register_forward_hook(lambda _, __, logits: seen.append(len(logits)))
    rows = trained.at_widths(opened, method="no_noise", **JUDGED)
    assert max(seen) == 2
    for row, its in zip(rows, before, strict=True):
        assert row[3] == pytest.approx(its[3], rel=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS.values())
@pytest.mark.parametrize("name", SMALL)
def test_ste_trains_what_is_read(name, layout):
    """Its training loss is that of the network that rounding gives."""
    net, rows = net_of(name, **layout), torch.cat([IDS, IDS[:, :1]], 1)

    def loss(seen):
        logits = torch.func.functional_call(net, seen, (rows[:, :-1],))
        return on_text.mean_loss(logits, rows[:, 1:])

    value = rounders.ste(bits=3).value(loss, dict(net.named_parameters()), None)
    read = rounded(net, ROUNDINGS["nearest"](Network(net), Grid(3)))
    assert value.item() == pytest.approx(on_text.losses(read, rows).mean().item(), rel=1e-5)
    assert value.item() != pytest.approx(on_text.losses(net, rows).mean().item(), rel=1e-5)


@pytest.mark.parametrize("group", [None, 32])
@pytest.mark.parametrize("model", language_models.SMALL)
def test_gptq_rounds_the_blocks_only_and_errs_less_than_plain_rounding(model, group):
    net = net_of(model, group=group)
    tuned = Learner(net, None, None, 0, IDS, None, None)
    exact, errors = net(IDS), {}
    for how, method in (("gptq", "gptq"), ("nearest", "no_noise")):
        codes = trained.codes_of(tuned, method, 3, "absmax")
        assert set(codes) == set(layers.quantized(dict(net.named_parameters())))
        errors[how] = (rounded(net, codes)(IDS) - exact).square().mean().item()
    assert errors["gptq"] < 0.9 * errors["nearest"]
    assert torch.equal(net(IDS), exact)


@pytest.mark.parametrize("method", TEXT)
def test_every_method_trains_and_is_read_on_a_grid_of_its_own_too(corpus, method):
    registered = methods.REGISTRY[method]
    bits = 2 if registered.for_bits else 0
    strength = registered.values[0] if registered.values else math.nan
    rows = compute(corpus, method=method, bits=bits, strength=strength)
    own = {"lsq": "learned", "quest": "quest", "seq": "seq"}.get(method)
    rules = ["absmax", "mse"] + ["sliced"] * (method == "matryoshka")
    extra = [(2, own)] if own else []
    assert list(means(rows)) == [(32, "none"), *((b, r) for b in (4, 2) for r in rules), *extra]
    assert all(0 < value < WORST for value in means(rows).values())
    plain = compute(corpus)
    assert (means(rows)[32, "none"] == means(plain)[32, "none"]) == (method in ("no_noise", "gptq"))


def test_the_layout_of_an_arm_is_what_its_model_is_trained_and_read_in(corpus):
    shapes, found = {}, {}
    for layout, how in LAYOUTS.items():
        made = fine_tuning_of(corpus, layout=layout)
        opened = made.opened(made.made(), **made.arguments)
        seen, expected = (
            sorted(p.shape for p in layers.quantized(dict(net.named_parameters())).values())
            for net in (opened.net, laid_out(small("small_llama", opened.tokens.size, CONTEXT,
                                                   stream("initialization", 0)), **how))
        )  # fmt: skip
        assert seen == expected
        shapes[layout] = seen
        found[layout] = means(trained.at_widths(opened, method="no_noise", **JUDGED))
    plain = [found[layout][32, "none"] for layout in LAYOUTS]
    assert plain == pytest.approx([plain[0]] * 3, rel=1e-4)
    read = {round(found[layout][2, "absmax"], 6) for layout in LAYOUTS}
    assert len(read) == 3 and len({*map(str, shapes.values())}) == 3


def test_methods_of_a_replicate_share_start_and_windows(corpus, monkeypatch):
    seen = []

    def watch(net, inputs, target, method, draws, *, order, **_):
        first = [packed(net), inputs.sum().item(), target.sum().item()]
        seen.append([*first, order.permutation(len(inputs))[:5].tolist()])

    monkeypatch.setattr(loop, "train", watch)
    for method, bits in (("no_noise", 0), ("ste", 2), ("lsq", 4), ("random_bits", 0)):
        compute(corpus, method=method, bits=bits, strength=0.1)
    assert all(other == seen[0] for other in seen)
    compute(corpus, replicate=1)
    assert all(a != b for a, b in zip(seen[-1], seen[0], strict=True))


def test_tuning_never_sees_the_test_part(corpus, monkeypatch):
    text = corpora.load(corpus)
    clean = compute(corpus, part="validation")
    poisoned = text._replace(test=text.test[::-1])
    monkeypatch.setattr(corpora, "load", lambda _: poisoned)
    assert compute(corpus, part="validation") == clean
    assert compute(corpus) != clean


class Fixed(nn.Module):
    """Predicts from the last token only: row t of a table is what follows token t."""

    def __init__(self, chances):
        super().__init__()
        self.logits = torch.tensor(chances).log()

    def forward(self, ids):
        return self.logits[ids]


def test_written_text_follows_the_models_chances_and_only_its_draws():
    cycle = Fixed([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    prompt = torch.tensor([2])
    text = on_text.written(cycle, prompt, 7, 4, stream("evaluation_noise", 0))
    assert text.tolist() == [0, 1, 2, 0, 1, 2, 0]
    table = [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.3, 0.4, 0.3]]
    one, two = (
        on_text.written(Fixed(table), prompt, 4000, 4, stream("evaluation_noise", i)).tolist()
        for i in (0, 1)
    )
    assert one == on_text.written(Fixed(table), prompt, 4000, 4, stream("evaluation_noise", 0)).tolist()
    assert one != two
    counts = np.zeros((3, 3))
    np.add.at(counts, ([2, *one[:-1]], one), 1)
    for row, chances in zip(counts, table, strict=True):
        assert stats.chisquare(row, row.sum() * np.array(chances)).pvalue > 1e-3


def test_samples_are_the_same_twice_and_differ_by_bits(corpus):
    made = fine_tuning_of(corpus, "small_gpt2", rate=0.01)
    how = {"method": "no_noise", "widths": [4, 2], "rule": "mse", "length": 40, "context": CONTEXT}
    weights = made.made()
    found, again = (
        on_text.write(made.opened(weights, **made.arguments), replicate=0, seed=0, **how)
        for _ in range(2)
    )
    assert [bits for bits, _ in found] == [32, 4, 2] and all(len(text) == 40 for _, text in found)
    assert found == again
    assert found[0][1] != found[2][1] and set(found[2][1]) <= set(corpora.load(corpus).text)


def test_tuning_compares_bits_per_character_after_rounding_by_the_own_rule(corpus):
    for method, rule in (("no_noise", "mse"), ("random_bits", "absmax")):
        made = fine_tuning_of(corpus, method=method)
        opened = made.opened(made.made(), **made.arguments)
        rows = trained.criterion(opened, method=method, **JUDGED)
        every = means(trained.at_widths(opened, method=method, **JUDGED))
        places = {(32, "none"), (4, rule), (2, rule)}
        expected = {place: value for place, value in every.items() if place in places}
        assert means(rows, "loss") == pytest.approx(expected)


def test_a_loss_that_is_no_number_counts_as_the_worst():
    class Broken(nn.Module):
        def forward(self, ids):
            return torch.full((*ids.shape, 5), math.nan)

    rows = torch.zeros(4, 9, dtype=torch.int64)
    found = on_text.scored(Broken(), [rows[:2], rows[2:]], 0.5)
    assert [row[1] for row in found[:2]] == pytest.approx([WORST, WORST])
    assert found[2][1] == pytest.approx(2 ** (WORST / 0.5)) and json.dumps(found, allow_nan=False)


def test_a_cell_follows_its_start_its_text_and_its_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "ROOT", tmp_path)
    (tmp_path / "a.txt").write_text("some text")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights").write_text("1")

    def key(model="small_gpt2", start="AAAA"):
        cells.source_of.cache_clear()
        made = fine_tuning_of("a.txt", model, "ste", 4, starts={(model, 0): start})
        return trained.asked(trained.at_widths, made, "ste", **JUDGED).key

    first, own = key(), key("model")
    assert key() == first and key(start="AAAB") != first
    (tmp_path / "model/weights").write_text("2")
    assert key("model") != own and key() == first
    (tmp_path / "a.txt").write_text("other text")
    assert key() != first
    cells.source_of.cache_clear()
