"""The language benchmark: models, cells and scores against plain loops of transformers and torch."""

import copy
import hashlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from t0qat.experiments.fine_tuning import WORST
from torch import nn
from torch.nn.functional import cross_entropy

from t0qat.experiments import fine_tuning, language, trained
from t0qat.experiments.arms import KEYS, Arm
from t0qat.paper import PAPER
from t0qat.pipeline import pin, places, results
from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization import layers
from t0qat.quantization.quantizers import Grid
from t0qat.quantization.rounding import ROUNDINGS, rounded
from t0qat.training import corpora, language_models, methods, rounders
from t0qat.training.language_models import LAYOUTS, SMALL, laid_out, library, packed, small, unpacked
from t0qat.training.streams import stream

CONTEXT = 16
SHARED = {"context": CONTEXT, "steps": 3, "batch_size": 4, "schedule": "cosine", "seed": 0}
SHARED |= {"device": "cpu"}
JUDGED = {"widths": [4, 2], "blocks": 3, "block_windows": 5}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """As cells are computed."""
    with pin.one_thread():
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A text of real prose, small enough to train on in no time."""
    path = tmp_path_factory.mktemp("text") / "prose.txt"
    path.write_text(corpora.load("pydoc_topics").text[:6000])
    return str(path)


def net_of(name, **layout):
    net = laid_out(small(name, 50, CONTEXT, stream("initialization", 3)), **layout)
    with torch.no_grad():  # no bias at 0, no norm at 1
        for p in net.parameters():
            p.add_(torch.from_numpy(stream("probe", 0).normal(0, 0.02, p.shape)))
    return net.eval()


IDS = torch.from_numpy(stream("data", 0).integers(50, size=(8, CONTEXT)))


def fine_tuning_of(corpus, model="small_llama", method="no_noise", bits=0, layout="channels", **other):
    """A training from an untrained start."""
    replicate, rate = other.pop("replicate", 0), other.pop("rate", 0.002)
    strength = other.pop("strength", math.nan)
    starts = other.pop("starts", None) or untrained(corpus, model, replicate)
    own = SHARED | {"part": "test", "replicate": replicate, "starts": starts} | other
    return fine_tuning.train(Arm(corpus, model, method, bits, layout), rate, strength, **own)


def compute(corpus, model="small_llama", method="no_noise", bits=0, judged=JUDGED, **other):
    """What a model is asked, in this process."""
    made = fine_tuning_of(corpus, model, method, bits, **other)
    return trained.at_widths(made.opened(made.made(), **made.arguments), method=method, **judged)


def untrained(corpus, model, replicate):
    if model not in SMALL:
        return {}
    size = len(set(corpora.load(corpus).text))
    return {(model, replicate): packed(small(model, size, CONTEXT, stream("initialization", replicate)))}


def means(rows, metric="bits_per_character"):
    """(bits, scale rule) -> mean over blocks."""
    found = {}
    for bits, rule, name, value, *_ in rows:
        if name == metric:
            found.setdefault((bits, rule), []).append(value)
    return {key: np.mean(values) for key, values in found.items()}


BLOCKS = {
    "small_gpt2": ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"],
    "small_llama": [f"self_attn.{x}_proj" for x in "qkvo"]
    + [f"mlp.{x}_proj" for x in ("gate", "up", "down")],
}


@pytest.mark.parametrize("name", SMALL)
def test_exactly_the_weights_of_the_blocks_are_quantized(name):
    body = {"small_gpt2": "model.transformer.h", "small_llama": "model.model.layers"}[name]
    blocks = {f"{body}.{i}.{layer}.weight" for i in (0, 1) for layer in BLOCKS[name]}
    whole = net_of(name)
    assert set(layers.quantized(dict(whole.named_parameters()))) == blocks
    groups = layers.quantized(dict(net_of(name, group=32).named_parameters()))
    assert {key.replace("parametrizations.weight.original", "weight") for key in groups} == blocks
    assert all(p.shape[1:] == (32,) for p in groups.values())
    every = set(layers.quantized(dict(net_of(name, everything=True).named_parameters())))
    others = {
        "small_gpt2": {"model.transformer.wte.weight", "model.transformer.wpe.weight"},
        "small_llama": {"model.model.embed_tokens.weight", "model.lm_head.weight"},
    }
    assert every == blocks | others[name]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("layout", LAYOUTS.values())
def test_a_layout_changes_no_prediction_and_shares_what_was_shared(name, layout):
    net = small(name, 50, CONTEXT, stream("initialization", 3))
    before, size = net(IDS), sum(p.numel() for p in net.parameters())
    net = laid_out(net, **layout)
    assert torch.equal(net(IDS), before) and sum(p.numel() for p in net.parameters()) == size
    seen = {key: p + 0.01 for key, p in net.named_parameters()}
    moved = copy.deepcopy(net)
    with torch.no_grad():
        for p in moved.parameters():
            p.add_(0.01)
    assert torch.equal(torch.func.functional_call(net, seen, (IDS,)), moved(IDS))
    assert not torch.equal(moved(IDS), before)


def test_groups_must_fit():
    with pytest.raises(ParameterError, match="groups of 48: a layer has 64 inputs"):
        laid_out(small("small_gpt2", 50, CONTEXT, stream("initialization", 0)), group=48)


def test_linear_layers_in_place_of_conv1d_are_the_same_gpt2():
    tools = library()
    config = tools.GPT2Config(vocab_size=50, n_positions=CONTEXT, n_embd=32, n_layer=2, n_head=2)
    theirs = tools.GPT2LMHeadModel(config).eval()
    mine = language_models.linear_only(copy.deepcopy(theirs))
    torch.testing.assert_close(mine(IDS).logits, theirs(IDS).logits)
    assert not [m for m in mine.modules() if type(m).__name__ == "Conv1D"]


def test_a_start_comes_from_its_own_stream_and_packs_to_the_bit():
    torch.manual_seed(1)
    first = small("small_gpt2", 50, CONTEXT, stream("initialization", 5))
    torch.manual_seed(2)
    again = small("small_gpt2", 50, CONTEXT, stream("initialization", 5))
    other = small("small_gpt2", 50, CONTEXT, stream("initialization", 6))
    assert torch.equal(first(IDS), again(IDS)) and not torch.equal(first(IDS), other(IDS))
    assert torch.equal(unpacked(packed(first), other)(IDS), first(IDS))
    w = first.model.transformer.h[0].mlp.c_fc.weight
    last = first.model.transformer.h[0].mlp.c_proj.weight
    assert w.std().item() == pytest.approx(0.08, rel=0.03)
    assert last.std().item() == pytest.approx(0.04, rel=0.03)


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
    start = fine_tuning.pretraining_cell(
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
    mine, logits = fine_tuning.losses(net, rows), net(rows[:, :-1])
    for found, row, target in zip(mine, logits, rows[:, 1:], strict=True):
        assert found.item() == pytest.approx(cross_entropy(row, target).item(), rel=1e-6)
    expected = cross_entropy(logits.transpose(1, 2), rows[:, 1:]).item()
    assert fine_tuning.mean_loss(logits, rows[:, 1:]).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
@pytest.mark.parametrize("name", SMALL)
def test_rounded_layers_have_no_more_levels_than_their_bits(name, bits):
    for layout in LAYOUTS.values():
        net = net_of(name, **layout)
        on = Grid(bits)
        read = rounded(net, ROUNDINGS["nearest"](net, on, {}, None))
        weights = layers.quantized(dict(read.named_parameters()))
        for row in (row for w in weights.values() for row in w.detach()):
            assert 2 <= len(row.unique()) <= 2**bits
        for key, p in net.named_parameters():
            assert torch.equal(read.get_parameter(key), p) == (key not in weights), key


@pytest.mark.parametrize("bits", [4, 2])
def test_groups_of_32_are_torchaos(bits):
    library()  # which loads torchao without its notes
    from torchao.quantization.qat import IntxFakeQuantizeConfig
    from torchao.quantization.qat.fake_quantizer import IntxFakeQuantizer

    net = net_of("small_llama", group=32)
    read = rounded(net, ROUNDINGS["nearest"](net, Grid(bits), {}, None))
    theirs = IntxFakeQuantizer(IntxFakeQuantizeConfig(getattr(torch, f"int{bits}"), group_size=32))
    whole = net_of("small_llama")
    for layer in range(2):
        for name in BLOCKS["small_llama"]:
            path = f"model.model.layers.{layer}.{name}"
            w = net.get_submodule(path).weight.detach()
            mine, expected = read.get_submodule(path).weight, theirs(w)
            steps = 2 * w.view(-1, 32).abs().amax(1, keepdim=True) / (2**bits - 1)
            between = (w.view(-1, 32) / steps).frac().abs().view_as(w)
            tie = (between - 0.5).abs() < 1e-5  # the largest weight of a group; torchao divides later
            torch.testing.assert_close(mine[~tie], expected[~tie])
            assert expected.shape == whole.get_submodule(path).weight.shape


@pytest.mark.parametrize("layout", LAYOUTS.values())
@pytest.mark.parametrize("name", SMALL)
def test_ste_trains_what_is_read(name, layout):
    """Its training loss is that of the network that rounding gives."""
    net, rows = net_of(name, **layout), torch.cat([IDS, IDS[:, :1]], 1)

    def loss(seen):
        logits = torch.func.functional_call(net, seen, (rows[:, :-1],))
        return fine_tuning.mean_loss(logits, rows[:, 1:])

    value = rounders.ste(bits=3).value(loss, dict(net.named_parameters()), None)
    read = rounded(net, ROUNDINGS["nearest"](net, Grid(3), {}, None))
    assert value.item() == pytest.approx(fine_tuning.losses(read, rows).mean().item(), rel=1e-5)
    assert value.item() != pytest.approx(fine_tuning.losses(net, rows).mean().item(), rel=1e-5)


@pytest.mark.parametrize("group", [None, 32])
@pytest.mark.parametrize("model", language_models.SMALL)
def test_gptq_rounds_the_blocks_only_and_errs_less_than_plain_rounding(model, group):
    net = net_of(model, group=group)
    tuned = trained.Trained(net, {}, None, IDS, 0, None, None)
    exact, errors = net(IDS), {}
    for how, method in (("gptq", "gptq"), ("nearest", "no_noise")):
        codes = trained.codes_of(tuned, method, 3, "absmax")
        assert set(codes) == set(layers.quantized(dict(net.named_parameters())))
        errors[how] = (rounded(net, codes)(IDS) - exact).square().mean().item()
    assert errors["gptq"] < 0.9 * errors["nearest"]
    assert torch.equal(net(IDS), exact)


TEXT = methods.named(lambda method: method.text)


@pytest.mark.parametrize("method", TEXT)
def test_every_method_trains_and_lsq_is_read_at_its_own_step(corpus, method):
    registered = methods.REGISTRY[method]
    bits = 2 if registered.for_bits else 0
    strength = registered.values[0] if registered.values else math.nan
    rows = compute(corpus, method=method, bits=bits, strength=strength)
    rules = ["absmax", "mse"]
    learned = [(2, "learned")] if method == "lsq" else []
    assert list(means(rows)) == [(32, "none"), *((b, r) for b in (4, 2) for r in rules), *learned]
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
            for net in (opened.net, laid_out(small("small_llama", opened.begun.tokens.size, CONTEXT,
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

    def watch(net, inputs, target, objective, draws, *, order, **_):
        first = [packed(net), inputs.sum().item(), target.sum().item()]
        seen.append([*first, order.permutation(len(inputs))[:5].tolist()])

    monkeypatch.setattr(fine_tuning.loop, "train", watch)
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
    text = fine_tuning.written(cycle, prompt, 7, 4, stream("evaluation_noise", 0))
    assert text.tolist() == [0, 1, 2, 0, 1, 2, 0]
    table = [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.3, 0.4, 0.3]]
    one, two = (
        fine_tuning.written(Fixed(table), prompt, 4000, 4, stream("evaluation_noise", i)).tolist()
        for i in (0, 1)
    )
    assert (
        one == fine_tuning.written(Fixed(table), prompt, 4000, 4, stream("evaluation_noise", 0)).tolist()
    )
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
        fine_tuning.write(made.opened(weights, **made.arguments), replicate=0, seed=0, **how)
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
    found = fine_tuning.scored(Broken(), [rows[:2], rows[2:]], 0.5)
    assert [row[1] for row in found[:2]] == pytest.approx([WORST, WORST])
    assert found[2][1] == pytest.approx(2 ** (WORST / 0.5)) and json.dumps(found, allow_nan=False)


def tokenizer_of(text, limit=None):
    """A word-level tokenizer of the words and gaps of a text."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|\W"), "isolated")
    trainer = trainers.WordLevelTrainer(special_tokens=["[UNK]"], vocab_size=limit or 10_000)
    made.train_from_iterator([text], trainer)
    return library().PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]")


def save(folder, size, tokenizer, kind="Llama"):
    """A checkpoint of transformers in this folder."""
    torch.manual_seed(0)
    tools = library()
    if kind == "Llama":
        config = tools.LlamaConfig(
            vocab_size=size, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=32,
        )  # fmt: skip
        model = tools.LlamaForCausalLM(config)
    else:
        config = tools.BertConfig(
            vocab_size=size, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=32,
        )  # fmt: skip
        model = tools.BertLMHeadModel(config)
    model.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return model.eval()


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_with_its_own_tokenizer_is_scored_in_characters(tmp_path, corpus):
    text = corpora.load(corpus)
    tokenizer = tokenizer_of(text.text)
    model = save(tmp_path / "mine", len(tokenizer), tokenizer)
    judged = JUDGED | {"blocks": 1, "block_windows": 1000}
    found = means(compute(corpus, str(tmp_path / "mine"), rate=1e-12, judged=judged))
    ids = tokenizer(text.test)["input_ids"]
    rows = torch.tensor([ids[i : i + 17] for i in range(0, len(ids) - 16, 16)])
    with torch.no_grad():
        per_token = model(input_ids=rows[:, :-1]).logits.log_softmax(-1)
    nats = -per_token.gather(-1, rows[:, 1:, None]).double().mean().item()
    expected = nats / math.log(2) * len(ids) / len(text.test)
    assert len(ids) < len(text.test) / 2
    assert found[32, "none"] == pytest.approx(expected, rel=1e-4)
    assert found[2, "absmax"] != found[32, "none"]


@pytest.mark.filterwarnings("ignore")
def test_a_model_that_accelerate_laid_out_trains_to_the_same_weights(tmp_path, corpus):
    """With its hooks on every part, on one device: here are no several."""
    from accelerate import dispatch_model

    tokenizer = tokenizer_of(corpora.load(corpus).text)
    save(tmp_path / "mine", len(tokenizer), tokenizer)
    found = []
    for spread in (False, True):
        net, _ = language_models.checkpoint(str(tmp_path / "mine"), CONTEXT)
        if spread:
            parts = ("model.embed_tokens", "model.layers.0", "model.norm", "model.rotary_emb", "lm_head")
            dispatch_model(net.model, dict.fromkeys(parts, "cpu"), main_device="cpu", force_hooks=True)
            assert hasattr(net.model.model.layers[0], "_hf_hook")
        net = laid_out(net)
        tokens = torch.arange(200) % 40
        options = {"context": CONTEXT, "steps": 3, "batch_size": 4, "learning_rate": 0.01}
        options |= {"schedule": "constant", "replicate": 0, "seed": 0}
        fine_tuning.learn(net, tokens, rounders.ste(bits=3), "batch_order", **options)
        found.append(packed(net))
    assert found[0] == found[1]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing", "no causal language model there"),
        ("no configuration", "no causal language model there"),
        ("broken configuration", "no causal language model there"),
        ("broken weights", "no causal language model there"),
        ("weights missing", r"no causal language model there \(no weights for "),
        ("no tokenizer", "no tokenizer there"),
        ("larger tokenizer", "its tokenizer has"),
        ("strange tokenizer", "is unknown to its tokenizer"),
        ("looks ahead", "look at later tokens"),
        ("short", "it reads 32 tokens, fewer than context = 64"),
        ("not text", "no causal language model there"),
    ],
)
def test_a_checkpoint_that_cannot_serve_is_named_in_one_line(
    tmp_path, corpus, fault, message, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder, text = tmp_path / "mine", corpora.load(corpus)
    tokenizer = tokenizer_of(text.text if fault != "strange tokenizer" else "nothing")
    size = len(tokenizer) - (5 if fault == "larger tokenizer" else 0)
    if fault != "missing":
        kind = "Bert" if fault == "looks ahead" else "Llama"
        save(folder, size, None if fault == "no tokenizer" else tokenizer, kind)
    config, weights = folder / "config.json", folder / "model.safetensors"
    if fault == "no configuration":
        config.unlink()
    if fault == "broken configuration":
        config.write_text("{")
    if fault == "broken weights":
        weights.write_bytes(weights.read_bytes()[:1000])
    if fault == "weights missing":
        from safetensors.torch import load_file, save_file

        kept = {k: v for k, v in load_file(weights).items() if "q_proj" not in k}
        save_file(kept, weights, metadata={"format": "pt"})
    if fault == "not text":
        settings = {"architectures": ["ViTModel"], "model_type": "vit"}
        config.write_text(json.dumps(settings))
    context = 64 if fault == "short" else CONTEXT
    with pytest.raises(ParameterError, match=message) as caught:
        language.plan(**TINY | {"corpus": corpus, "models": [str(folder)], "context": context})
    assert str(caught.value).startswith("model = ") and "\n" not in str(caught.value)


def test_a_cell_follows_its_start_its_text_and_its_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "ROOT", tmp_path)
    (tmp_path / "a.txt").write_text("some text")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights").write_text("1")

    def key(model="small_gpt2", start="AAAA"):
        fine_tuning.grid._source.cache_clear()
        made = fine_tuning_of("a.txt", model, "ste", 4, starts={(model, 0): start})
        return trained.asked(trained.at_widths, made, "ste", **JUDGED).key

    first, own = key(), key("model")
    assert key() == first and key(start="AAAB") != first
    (tmp_path / "model/weights").write_text("2")
    assert key("model") != own and key() == first
    (tmp_path / "a.txt").write_text("other text")
    assert key() != first
    fine_tuning.grid._source.cache_clear()


TINY = {"replicates": 3, "models": ["small_gpt2"], "everything": [], "trained_bits": [4, 2]}
TINY |= {"bits": [4, 2], "context": CONTEXT, "batch_size": 4, "pretraining_steps": 5, "steps": 3}
TINY |= {"blocks": 3, "block_windows": 5, "trainings": 4, "tuning_starts": 1, "rates": 2}
TINY |= {"lowest_rate": 0.0005, "highest_rate": 0.005, "device": "cpu"}


def smaller(patch):
    for name, value in {"WIDTH": 32, "LAYERS": 1, "HEADS": 2, "GATED": 32}.items():
        patch.setattr(language_models, name, value)


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(language.grid, "STORE", tmp_path_factory.mktemp("cells"))
        patch.setattr(language.grid.weights, "FOLDER", tmp_path_factory.mktemp("weights"))
        patch.setattr(language.grid.joblib, "cpu_count", lambda: 1)
        smaller(patch)
        return language.benchmark(**TINY | {"corpus": corpus, "methods": ["t0_qat", "ste"]})


def test_the_smallest_validation_loss_is_chosen_and_other_layouts_take_it(run, corpus):
    table = run.tuning
    assert len(table) == 8 and (table.groupby(KEYS).chosen.sum() == 1).all()
    for _, group in table.groupby(KEYS):
        assert group.chosen.idxmax() == group["mean"].idxmin()
        assert (group.ci_low < group["mean"]).all() and (group["mean"] < group.ci_high).all()
    assert set(table.layout) == {"channels"}
    ran = run.losses.groupby("layout").method.unique().map(set)
    assert dict(ran) == {"channels": {"no_noise", "t0_qat", "ste"}, "groups": {"no_noise", "ste"}}
    ste = run.losses[(run.losses.train_bits == 2) & (run.losses.eval_bits == 2)]
    row = table[(table.method == "ste") & (table.train_bits == 2) & (table.chosen == 1)]
    for _, lost in ste.groupby("layout"):
        assert row["mean"].item() == pytest.approx(lost.loss.mean()) and len(lost) == 2


def test_the_tables_come_back_from_their_files_and_follow_from_the_models(run, tmp_path):
    made = language.tables(run)
    for name, table in made.items():
        content = results.text(PAPER, name, table)
        places.write(tmp_path / f"paper/results/{name}.csv", content)
        assert results.text(PAPER, name, results.read(PAPER, name, tmp_path)) == content
    scored = run.test[run.test.metric == "bits_per_character"]
    at = ["eval_bits", "scale_rule"]
    per = scored.groupby([*KEYS, *at, "replicate"]).value.mean()
    table = made["language"]
    for row in table[(table.metric == "bits_per_character") & (table.scale_rule != "own")].itertuples():
        values = per[tuple(getattr(row, key) for key in [*KEYS, *at])]
        low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
        assert [row.mean, row.ci_low, row.ci_high] == pytest.approx([np.mean(values), low, high])
    for row in made["language_paired"].query("scale_rule == 'own'").itertuples():
        mine, other = (
            per[
                (
                    row.dataset,
                    row.model,
                    *arm,
                    row.layout,
                    row.eval_bits,
                    "absmax" if arm[0] == "ste" else "mse",
                )
            ].to_numpy()
            for arm in ((row.method, row.train_bits), (row.other, row.other_bits))
        )
        assert row.estimate == pytest.approx(np.mean(mine - other))
        assert row.ci_low < row.estimate < row.ci_high
    one = "layout == 'groups' and method == 'no_noise' and eval_bits == 32"
    blocks, values = made["language_blocks"].query(one), scored.query(one).groupby("block").value.mean()
    assert blocks["mean"].item() == pytest.approx(values.mean()) and blocks.n.item() == 3
    anywhere = made["language_any"].query("scale_rule == 'mse'").set_index([*KEYS, "quantity"])
    for key, values in per[per.index.get_level_values("scale_rule") == "mse"].groupby(KEYS):
        by_bits = values.unstack("eval_bits")
        assert anywhere["mean"][*key, "mean"] == pytest.approx(by_bits.mean(axis=1).mean())
        assert anywhere["mean"][*key, "worst"] == pytest.approx(by_bits.max(axis=1).mean())
    samples = made["language_samples"]
    assert set(samples.eval_bits) == {32, 4, 2}
    assert {len(json.loads(text)) for text in samples.text} == {4 * CONTEXT}
    assert (made["language"].query("scale_rule == 'own'").groupby(KEYS).eval_bits.nunique() == 2).all()


def test_the_text_is_named_by_its_digest(run, corpus):
    row = language.tables(run)["language_text"].iloc[0]
    content = Path(corpus).read_bytes()
    assert row.sha256 == hashlib.sha256(content).hexdigest() and row.characters == 6000
    assert row.dataset == corpus and row.python == sys.version.split()[0]


def test_the_best_baseline_is_the_one_that_needed_fewest_bits_in_tuning(run):
    known = run.losses.query("layout == 'channels' and eval_bits == 2 and method != 't0_qat'")
    best = known.groupby(["method", "train_bits"]).loss.mean().idxmin()
    paired = language.tables(run)["language_paired"].query(
        "eval_bits == 2 and method == 't0_qat' and against == 'best_baseline'"
    )
    assert {*paired.layout} == {"channels"}  # groups are tried on some methods only
    assert (paired.other.item(), paired.other_bits.item()) == best


def test_tuning_goes_on_from_a_few_starts_with_windows_of_their_own(corpus, monkeypatch):
    tiny = TINY | {"corpus": corpus, "trainings": 10, "tuning_starts": 2, "groups": []}
    planned = language.plan(**tiny)
    first = language.FIRST
    begins = planned.begins()
    assert [begins[i] - i for i in range(3)] == [0, 0, 0]
    assert [begins[first + i] - first for i in range(5)] == [0, 1, 0, 1, 0]
    assert {i for _, i in planned.starts()} == {0, 1, 2, first, first + 1}


def test_every_arm_takes_as_many_trainings_in_tuning():
    """Noise as published too: from a pretrained start it is not at chance."""
    totals = {}
    for arm, candidates, rounds in language.plan(replicates=2).jobs.rivals:
        before = [0, *(seen for _, seen in rounds)]
        totals[arm] = sum(size * (n - b) for (size, n), b in zip(rounds, before, strict=False))
        assert rounds[0][0] == len(candidates) and rounds[-1][1] >= 8
    assert {arm.method for arm in totals} == {*TEXT} and {*totals.values()} == {28}


def test_what_ended_is_not_computed_again(run, corpus, tmp_path, monkeypatch):
    """The second run of the same benchmark takes every cell from the store."""
    smaller(monkeypatch)
    monkeypatch.setattr(language.grid.joblib, "cpu_count", lambda: 1)
    tiny = TINY | {"corpus": corpus, "groups": [], "methods": ["no_noise"]}
    first = language.benchmark(**tiny)
    monkeypatch.setattr(language.grid, "_here", None)
    again = language.benchmark(**tiny)
    assert again.test.equals(first.test) and again.samples.equals(first.samples)
    once = run.test.query("layout == 'channels' and method == 'no_noise'").reset_index(drop=True)
    assert first.test.equals(once)


def test_named_methods_run_with_plain_fine_tuning_in_every_layout(corpus):
    named = ["ste", "gptq"]
    planned = language.plan(**TINY | {"corpus": corpus, "methods": named})
    arms = [("no_noise", 0), ("gptq", 0), ("ste", 4), ("ste", 2)]
    assert [one.arm[2:] for one in planned.jobs.rivals] == [(*arm, "channels") for arm in arms]
    assert [arm[1:] for arm in planned.laid_out] == [("small_gpt2", *arm, "groups") for arm in arms]
    for others, groups, everything in (
        ({"everything": ["t0_qat", "ste"]}, {"no_noise", "ste", "gptq"}, {"no_noise", "ste"}),
        ({"groups": ["ste"], "everything": ["gptq"]}, {"no_noise", "ste"}, {"no_noise", "gptq"}),
        ({"groups": ["lsq"]}, {"no_noise"}, set()),
        ({"groups": []}, set(), set()),
    ):
        planned = language.plan(**TINY | {"corpus": corpus, "methods": named} | others)
        laid_out = [
            {arm.method for arm in planned.laid_out if arm.layout == layout}
            for layout in ("groups", "everything")
        ]
        assert laid_out == [groups, everything]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"bits": [16, 4]}, r"bits = \[16, 4\]"),
        ({"models": ["small_gpt2", "small_gpt2"]}, r"models = .*: allowed is a list, each once"),
        ({"models": ["../elsewhere"]}, r"models = \['../elsewhere'\]: allowed is"),
        ({"groups": ["rows"]}, "groups: 'rows' is unknown or twice"),
        ({"everything": ["sam"]}, "everything: 'sam' is unknown or twice"),
        ({"everything": ["ste", "ste"]}, r"everything = .*: allowed is a list, each once"),
        ({"methods": ["ste", "sam"]}, "methods: 'sam' is unknown or twice"),
        ({"trainings": 1}, "trainings = 1: fewer than"),
        ({"trained_bits": [3]}, r"trained_bits = \[3\]: allowed are those of bits"),
        ({"lowest_rate": 0.5}, "lowest_rate = 0.5: "),
        ({"corpus": "nowhere.txt"}, "corpus = 'nowhere.txt': "),
        ({"context": 5000}, "tokens are fewer than one context of 5000"),
        ({"blocks": 500}, "shorter than 500 blocks"),
        ({"replicates": 1}, "replicates = 1: "),
    ],
)
def test_wrong_parameters_stop_in_one_line_before_anything_is_trained(
    wrong, message, corpus, monkeypatch
):
    monkeypatch.setattr(language.grid, "run", None)
    with pytest.raises(ParameterError, match=message) as caught:
        language.benchmark(**TINY | {"corpus": corpus} | wrong)
    assert "\n" not in str(caught.value)
