"""Text to learn and to predict, in three contiguous parts, and what a model reads it as: tokens."""

import functools
import hashlib
from collections.abc import Callable
from pydoc_data.topics import topics
from typing import NamedTuple

from torch import Tensor

from t0qat.pipeline import places
from t0qat.pipeline.parameters import ParameterError

DEFAULT = "pydoc_topics"
HELD_OUT = 0.1  # of the text: the last part for the test, and as much before it for validation


class Corpus(NamedTuple):
    """A text in three contiguous parts, in this order."""

    name: str
    training: str
    validation: str
    test: str

    @property
    def text(self) -> str:
        return self.training + self.validation + self.test

    @property
    def sha256(self) -> str:
        """Of the text in UTF-8."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class Tokens(NamedTuple):
    """What a model reads: numbers 0 ... size - 1."""

    encode: Callable[[str], list[int]]
    decode: Callable[[list[int]], str]
    size: int
    unknown: int | None = None  # stands for what has no token


@functools.cache
def load(corpus: str) -> Corpus:
    """DEFAULT, the language reference that comes with CPython (its text differs between versions of
    Python), or the path of a text file in UTF-8, relative to the project.

    The last tenth is the test part, the tenth before it is for validation. Raises ParameterError, in
    one line.
    """
    text = "\n".join(topics[name] for name in sorted(topics)) if corpus == DEFAULT else _file(corpus)
    held_out = int(len(text) * HELD_OUT)
    if not held_out:
        raise ParameterError(f"corpus = {corpus!r}: {len(text)} characters are too few")
    first, second = len(text) - 2 * held_out, len(text) - held_out
    return Corpus(corpus, text[:first], text[first:second], text[second:])


def _file(path: str) -> str:
    try:
        return (places.ROOT / path).read_bytes().decode()
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ParameterError(f"corpus = {path!r}: no text there ({what})") from None


@functools.cache
def characters(corpus: Corpus) -> Tokens:
    """One token a character; the alphabet is that of the whole text, held-out parts included."""
    alphabet = sorted(set(corpus.text))
    number = {character: i for i, character in enumerate(alphabet)}
    return Tokens(
        lambda text: [number[character] for character in text],
        lambda ids: "".join(alphabet[i] for i in ids),
        len(alphabet),
    )


def windows(tokens: Tensor, context: int, step: int, shown: str) -> Tensor:
    """Rows of context + 1 tokens, a `step` apart: (n, context + 1), a view of tokens (length,).

    A model reads a row's first `context` tokens and predicts its last ones. With step = context each
    token but the first is predicted once; what fills no row is left out. Raises ParameterError, which
    names the text as `shown`, where there is no row.
    """
    if len(tokens) <= context:
        few = f"{len(tokens)} tokens are fewer than one context of {context} and the next token"
        raise ParameterError(f"{shown}: {few}")
    return tokens.unfold(0, context + 1, step)
