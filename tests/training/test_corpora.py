"""Texts: their parts, their tokens and what is predicted, against plain loops."""

import hashlib
from pydoc_data.topics import topics

import pytest
import torch

from t0qat.pipeline.parameters import ParameterError
from t0qat.training import corpora


def save(folder, content):
    path = folder / "my text.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    corpora.load.cache_clear()
    return str(path)


def test_the_default_is_the_language_reference_in_three_parts_that_follow_one_another():
    corpus = corpora.load("pydoc_topics")
    names = sorted(topics)
    assert corpus.training.startswith(topics[names[0]]) and corpus.test.endswith(topics[names[-1]])
    assert len(corpus.text) == sum(map(len, topics.values())) + len(topics) - 1
    assert len(corpus.test) == len(corpus.validation) == len(corpus.text) // 10


def test_a_file_is_read_to_the_letter(tmp_path):
    content = "äß→ one\r\ntwo\n" * 10 + "tail"
    corpus = corpora.load(save(tmp_path, content))
    assert corpus.training + corpus.validation + corpus.test == content
    assert corpus.test == content[-13:] and corpus.validation == content[-26:-13]
    assert corpus.sha256 == hashlib.sha256((tmp_path / "my text.txt").read_bytes()).hexdigest()


@pytest.mark.parametrize("content", [b"", b"too short", b"\xff\xfe not text" * 9])
def test_what_is_no_text_or_too_short_is_named_in_one_line(tmp_path, content):
    with pytest.raises(ParameterError, match=r"^corpus = '.*my text.txt': ") as caught:
        corpora.load(save(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_named_in_one_line(tmp_path):
    for path in (tmp_path / "nowhere.txt", tmp_path):
        with pytest.raises(ParameterError, match="no text there") as caught:
            corpora.load(str(path))
        assert "\n" not in str(caught.value)


def test_characters_are_numbered_in_order_and_come_back(tmp_path):
    corpus = corpora.load(save(tmp_path, "the end: zebra " * 5 + "äb"))
    tokens = corpora.characters(corpus)
    alphabet = sorted(set("the end: zebra ä"))
    assert tokens.encode("zebra ä") == [alphabet.index(c) for c in "zebra ä"]
    assert tokens.decode(tokens.encode(corpus.text)) == corpus.text and tokens.size == len(alphabet)


@pytest.mark.parametrize(("length", "context"), [(17, 4), (16, 5), (5, 4), (40, 1)])
def test_every_token_but_the_first_is_predicted_once_and_read_before(length, context):
    rows = corpora.windows(torch.arange(length), context, context, "text")
    predicted = [t for row in rows.tolist() for t in row[1:]]
    assert predicted == list(range(1, 1 + (length - 1) // context * context))
    for row in rows.tolist():
        assert row == list(range(row[0], row[0] + context + 1))
    drawn_from = corpora.windows(torch.arange(length), context, 1, "text")
    assert [row[0] for row in drawn_from.tolist()] == list(range(length - context))


def test_a_text_shorter_than_one_context_is_named_in_one_line():
    with pytest.raises(ParameterError, match=r"^my text: 5 tokens are fewer than one context of 5"):
        corpora.windows(torch.arange(5), 5, 5, "my text")
