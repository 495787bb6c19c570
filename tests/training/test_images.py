"""Images from files and from OpenML, and each fault in one line."""

import numpy as np
import pandas as pd
import pytest
from scipy.io import arff
from sklearn.datasets import load_digits

from t0qat.pipeline.parameters import ParameterError
from t0qat.training import images, tasks


def save(folder, X, y):
    path = folder / "my images.npz"
    np.savez(path, X=X, y=y)
    images.load.cache_clear()
    return str(path)


def test_digits_as_a_file_are_digits(tmp_path):
    pixels, labels = load_digits(return_X_y=True)
    for X, y in ((pixels, labels), (pixels.reshape(-1, 8, 8), np.array([f"no. {k}" for k in labels]))):
        loaded = images.load(save(tmp_path, X, y))
        assert loaded.shape == (1, 8, 8) and loaded.classes == 10
        for mine, theirs in zip(loaded.split(2, 5), tasks.digits(2, 5), strict=True):
            assert mine.dtype == theirs.dtype and np.array_equal(mine, theirs)
    assert images.load("digits")[1:] == ((1, 8, 8), 10)


@pytest.mark.parametrize(
    ("X", "y"),
    [
        (np.ones((10, 4)), np.arange(10)),
        (np.random.default_rng(0).random((10, 5)), np.arange(10)),
        (np.random.default_rng(0).random((10, 4)), np.arange(9)),
        (np.random.default_rng(0).random((10, 4)), np.zeros(10)),
        (np.random.default_rng(0).random((4, 4)), np.arange(4)),
        (np.full((10, 4), np.nan), np.arange(10)),
        (np.array([["a"] * 4] * 10), np.arange(10)),
        (np.array([[None] * 4] * 10), np.arange(10)),
        (np.random.default_rng(0).random(10), np.arange(10)),
    ],
    ids=["constant", "no square", "labels", "one class", "few", "nan", "text", "objects", "flat"],
)
def test_a_malformed_file_is_named_in_one_line(tmp_path, X, y):
    with pytest.raises(ParameterError, match=r"^dataset = '.*my images.npz': ") as caught:
        images.load(save(tmp_path, X, y))
    assert "\n" not in str(caught.value)


def test_a_file_without_the_arrays_or_not_npz_is_named_in_one_line(tmp_path):
    path = tmp_path / "other.npz"
    for write in (
        lambda: np.savez(path, x=np.ones(3)),
        lambda: path.write_bytes(b"PK\x03\x04 cut short"),
        lambda: path.write_text("text"),
        lambda: path.write_bytes(b""),
        lambda: np.save(path.open("wb"), np.ones((9, 4))),
    ):
        write()
        images.load.cache_clear()
        with pytest.raises(ParameterError, match=r"^dataset = '.*other.npz': no images there") as caught:
            images.load(str(path))
        assert "\n" not in str(caught.value)


ARFF = """@RELATION toy
@ATTRIBUTE pixel1 REAL
@ATTRIBUTE pixel2 REAL
@ATTRIBUTE pixel3 REAL
@ATTRIBUTE pixel4 REAL
@ATTRIBUTE class {0,1}
@DATA
"""


def test_a_data_set_of_openml_in_its_own_format(tmp_path, monkeypatch):
    path = tmp_path / "toy.arff"
    path.write_text(ARFF + "".join(f"{i},{255 - i},0,255,{i % 2}\n" for i in range(20)))
    frame = pd.DataFrame(arff.loadarff(path)[0])
    labels = frame.pop("class").str.decode("ascii").astype("category")
    asked = []

    def fetch(name, **options):
        asked.append((name, options["version"]))
        return frame, labels

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    images.load.cache_clear()
    loaded = images.load("mnist_784")
    assert asked == [("mnist_784", 1)] and loaded.shape == (1, 2, 2) and loaded.classes == 2
    part = loaded.split(0, 0)
    whole = np.concatenate([part.test_inputs, part.inputs])
    assert sorted(whole[:, 0]) == pytest.approx([2 * i / 255 - 1 for i in range(20)], abs=1e-6)
    truth = np.concatenate([part.test_target, part.target])
    assert np.array_equal(truth, np.rint((whole[:, 0] + 1) / 2 * 255) % 2)

    def offline(*_, **__):
        raise OSError("no route\nto host")

    monkeypatch.setattr("sklearn.datasets.fetch_openml", offline)
    images.load.cache_clear()
    with pytest.raises(ParameterError, match="dataset = 'CIFAR_10': no images there") as caught:
        images.load("CIFAR_10")
    assert "\n" not in str(caught.value)
    images.load.cache_clear()
