"""Kept weights come back to the bit or not at all, and the folder stays below its limit."""

import os
from pathlib import Path

import pytest
import torch

from t0qat.pipeline import weights


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    return tmp_path


def some(seed: int) -> dict[str, torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return {
        "layer.weight": torch.randn(3, 5, generator=draws).T,  # not contiguous
        "layer.count": torch.tensor(7 + seed),
        "layer.weight.step": torch.randn(5, generator=draws).requires_grad_(),
    }


def test_they_come_back_to_the_bit_from_their_own_store():
    weights.keep("paper", "a", some(0))
    weights.keep("smoke", "a", some(1))
    found = weights.kept("paper", "a")
    assert found.keys() == some(0).keys() and not any(t.requires_grad for t in found.values())
    assert all(torch.equal(found[name], tensor) for name, tensor in some(0).items())
    assert weights.kept("paper", "b") is None and weights.kept("verify", "a") is None


@pytest.mark.parametrize("fault", ["flipped", "short", "empty", "text"])
def test_a_damaged_file_is_as_none(folder, fault):
    weights.keep("paper", "a", some(0))
    path = folder / "paper/a.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 16
    damaged = {"flipped": content, "short": content[:-5], "empty": b"", "text": b"not weights"}
    path.write_bytes(damaged[fault])
    assert weights.kept("paper", "a") is None


def test_what_was_read_or_written_longest_ago_goes_first(folder, monkeypatch):
    weights.keep("paper", "a", some(0))
    size = (folder / "paper/a.safetensors").stat().st_size
    monkeypatch.setattr(weights, "LIMIT", 3 * size + size // 2)
    for i, key in enumerate("abc"):
        weights.keep("paper", key, some(i))
        os.utime(folder / f"paper/{key}.safetensors", (i, i))
    assert weights.kept("paper", "a") is not None  # read lately
    weights.keep("smoke", "d", some(3))
    assert {path.stem for path in folder.rglob("*.safetensors")} == {"a", "c", "d"}


def test_files_that_another_process_drops_meanwhile_are_no_error(monkeypatch):
    for key in "abc":
        weights.keep("paper", key, some(0))
    drop = Path.unlink

    def dropped_by_both(path, missing_ok):
        for each in path.parent.iterdir():
            drop(each)

    monkeypatch.setattr(weights, "LIMIT", 0)
    monkeypatch.setattr(Path, "unlink", dropped_by_both)
    weights._drop_oldest()
    assert [*weights.FOLDER.rglob("*.safetensors")] == []


def test_a_full_disk_costs_only_the_training(monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights.places, "write", full)
    weights.keep("paper", "a", some(0))
    assert weights.kept("paper", "a") is None
