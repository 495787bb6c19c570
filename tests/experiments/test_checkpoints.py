"""Checkpoints of transformers as subjects, and each fault of one in one line."""

import json
import math

import numpy as np
import pytest
import torch
from small_models import CONTEXT, JUDGED, TINY, fine_tuning_of, means

from t0qat.experiments import language, on_text, trained
from t0qat.experiments.learning import Learner, learn
from t0qat.pipeline.parameters import ParameterError
from t0qat.training import corpora, language_models, rounders
from t0qat.training.corpora import windows
from t0qat.training.language_models import laid_out, library, packed
from t0qat.training.streams import stream

pytestmark = pytest.mark.usefixtures("one_thread")


def tokenizer_of(text, limit=None, template="$A"):
    """A word-level tokenizer of the words and gaps of a text; template: what it makes of one."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors, trainers

    made = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|\W"), "isolated")
    special = ["[UNK]", "[EOS]", "[BOS]"]
    trainer = trainers.WordLevelTrainer(special_tokens=special, vocab_size=limit or 10_000)
    made.train_from_iterator([text], trainer)
    numbered = [(token, made.token_to_id(token)) for token in special[1:]]
    made.post_processor = processors.TemplateProcessing(single=template, special_tokens=numbered)
    return library().PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="[UNK]", bos_token="[BOS]", eos_token="[EOS]"
    )


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


# What a tokenizer makes of a text, and what of it stands before every window.
TEMPLATES = {"$A": [], "$A [EOS]": [], "[BOS] $A": ["[BOS]"], "[BOS] $A [EOS]": ["[BOS]"]}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("template", TEMPLATES)
def test_a_checkpoint_is_scored_in_characters_and_reads_what_its_tokenizer_puts_before(
    tmp_path, corpus, template
):
    text, name = corpora.load(corpus), str(tmp_path / "mine")
    tokenizer = tokenizer_of(text.text, template=template)
    model = save(tmp_path / "mine", len(tokenizer), tokenizer)
    judged = JUDGED | {"blocks": 1, "block_windows": 1000}
    made = fine_tuning_of(corpus, name, rate=1e-12)
    opened = made.opened(made.made(), **made.arguments)
    found = means(trained.at_widths(opened, method="no_noise", **judged))
    before = tokenizer.convert_tokens_to_ids(TEMPLATES[template])
    ids = tokenizer(text.test, add_special_tokens=False)["input_ids"]
    nats, samples = [], []
    with torch.no_grad():
        for i in range(0, len(ids) - 16, 16):
            chances = model(input_ids=torch.tensor([before + ids[i : i + 16]])).logits[0].log_softmax(-1)
            for place, token in enumerate(ids[i + 1 : i + 17], len(before)):
                nats.append(-chances[place, token].item())
        samples = ids[:16]
        draws = stream("evaluation_noise", 0)
        for _ in range(5):
            read = torch.tensor([before + samples[-16:]])
            chances = model(input_ids=read).logits[0, -1].double().softmax(0).cumsum(0)
            samples.append(torch.searchsorted(chances, draws.random() * chances[-1]).item())
    expected = np.mean(nats) / math.log(2) * len(ids) / len(text.test)
    assert len(ids) < len(text.test) / 2
    assert found[32, "none"] == pytest.approx(expected, rel=1e-4)
    assert found[2, "absmax"] != found[32, "none"]
    how = {"method": "no_noise", "widths": [], "rule": "mse", "replicate": 0, "seed": 0}
    assert on_text.write(opened, length=5, context=16, **how) == [[32, tokenizer.decode(samples[16:])]]
    tiny = TINY | {"corpus": corpus, "models": [name, "small_gpt2"], "methods": ["ste"]}
    plan = language.plan(**tiny)
    assert language.text_of(plan.jobs).bos.tolist() == ["".join(TEMPLATES[template]), ""]


@pytest.mark.filterwarnings("ignore")
def test_training_reads_what_the_tokenizer_puts_before_and_learns_the_text_alone(tmp_path, corpus):
    text = corpora.load(corpus)
    tokenizer = tokenizer_of(text.text, template="[BOS] $A")
    model = save(tmp_path / "mine", len(tokenizer), tokenizer)
    made = fine_tuning_of(corpus, str(tmp_path / "mine"), rate=0.01)
    opened = made.opened(made.made(), **made.arguments)
    ids = tokenizer(text.training, add_special_tokens=False)["input_ids"]
    draws = stream("batch_order", 0)
    firsts = draws.integers(len(ids) - CONTEXT, size=3 * 4)
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, 3)
    for batch in np.array_split(firsts[draws.permutation(12)], 3):
        rows = torch.tensor([ids[i : i + CONTEXT + 1] for i in batch])
        adam.zero_grad()
        read = torch.cat([torch.full((4, 1), tokenizer.bos_token_id), rows[:, :-1]], 1)
        chances = model(input_ids=read).logits[:, 1:].log_softmax(-1)
        (-chances.gather(-1, rows[:, 1:, None]).mean()).backward()
        adam.step()
        cosine.step()
    read = torch.tensor([ids[:CONTEXT]])
    after = torch.cat([torch.tensor([[tokenizer.bos_token_id]]), read], 1)
    with torch.no_grad():
        expected = model(input_ids=after).logits[:, 1:]
        torch.testing.assert_close(opened.net(read), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("ignore")
def test_a_window_leaves_room_for_what_stands_before_it(tmp_path, corpus):
    tokenizer = tokenizer_of(corpora.load(corpus).text, template="[BOS] $A")
    save(tmp_path / "mine", len(tokenizer), tokenizer)
    language_models.checkpoint(str(tmp_path / "mine"), 31)
    with pytest.raises(ParameterError, match="fewer than context = 32 and the 1 that its tokenizer"):
        language_models.checkpoint(str(tmp_path / "mine"), 32)


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
        draws = stream("batch_order", 0)
        drawn = windows(tokens, CONTEXT, 1, "tokens")[torch.from_numpy(draws.integers(150, size=12))]
        examples = {"inputs": drawn[:, :-1], "target": drawn[:, 1:], "epochs": 1, "order": draws}
        task = Learner(net, lambda _, given=examples: given, on_text.mean_loss, 3, None, None, None)
        how = {"batch_size": 4, "replicate": 0, "seed": 0}
        learn(task, rounders.ste(bits=3), 0.01, "constant", **how)
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
