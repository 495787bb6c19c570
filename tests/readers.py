"""Models as readers bring them: of torchvision's kind, and of transformers."""

import torch
import transformers
from torch import nn

from t0qat.training.prepared import Prepared


class Block(nn.Module):
    """Two normalized convolutions around a shortcut."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + x)


def cnn(classes: int = 2) -> nn.Module:
    """Images (n, 3, height, width) -> (n, classes)."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), Block(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, classes),
    )  # fmt: skip


def llama(width: int = 256, **more) -> nn.Module:
    """A Llama of 40 tokens, whose four heads share two of keys and values."""
    torch.manual_seed(0)
    own = {"intermediate_size": width, "num_attention_heads": 4, "num_key_value_heads": 2}
    own |= {"max_position_embeddings": 32, "num_hidden_layers": 2} | more
    config = transformers.LlamaConfig(vocab_size=40, hidden_size=width, **own)
    return transformers.LlamaForCausalLM(config)


def gpt2() -> nn.Module:
    """A GPT-2 of 40 tokens; its head reads by the weights of its embedding."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=40, n_embd=64, n_layer=1, n_head=4, n_positions=32, bos_token_id=0, eos_token_id=0
    )
    return transformers.GPT2LMHeadModel(config)


def two_steps(model: nn.Module, qat: Prepared, inputs: torch.Tensor) -> None:
    """Of a loop of the reader's: language models predict the next token, others make outputs small."""
    optimizer = qat.optimizer(torch.optim.Adam(model.parameters(), lr=1e-3), steps=2)

    def loss() -> torch.Tensor:
        if inputs.is_floating_point():
            return model(inputs).square().mean()
        return model(input_ids=inputs, labels=inputs).loss

    for _ in range(2):
        optimizer.zero_grad()
        qat.loss(loss).backward()
        optimizer.step()
