"""Checkpoints of transformers as subjects, and each fault of one in one line."""

import json
import math

import pytest
import torch
from small_models import CONTEXT, JUDGED, TINY, compute, means

from t0qat.experiments import language, on_text
from t0qat.experiments.learning import Learner, learn
from t0qat.pipeline.parameters import ParameterError
from t0qat.training import corpora, language_models, rounders
from t0qat.training.corpora import windows
from t0qat.training.language_models import laid_out, library, packed
from t0qat.training.streams import stream

pytestmark = pytest.mark.usefixtures("one_thread")


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
        draws = stream("batch_order", 0)
        drawn = windows(tokens, CONTEXT, 1, "tokens")[torch.from_numpy(draws.integers(150, size=12))]
        examples = {"inputs": drawn[:, :-1], "target": drawn[:, 1:], "epochs": 1, "order": draws}
        task = Learner(net, lambda given=examples: given, on_text.mean_loss, 3, None, None, None)
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
