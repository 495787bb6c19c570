"""Files that are spoiled, codes that no grid has, and places where no file can be."""

import math
import pickle
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from t0qat import convert
from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization.integers import noted
from t0qat.quantization.rounding import Coded

MARK = b"t0qat sha256 "  # without these letters a file is as good, and has no digest


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def spoiled(data: bytes) -> dict[str, bytes]:
    """What a file may have become: cut, longer, empty, or with one bit turned over."""
    size, draws = len(data), random.Random(0)
    found = {f"cut to {n}": data[:n] for n in (0, 1, 7, 100, size // 4, size // 2, size - 9, size - 1)}
    found["longer"] = data + b"\0"
    mark = range(at := data.index(MARK), at + len(MARK))
    for place in sorted({*range(8), *draws.sample(range(size), 60)} - {*mark}):
        changed = bytes([data[place] ^ 1 << draws.randrange(8)])
        found[f"changed at {place}"] = data[:place] + changed + data[place + 1 :]
    return found


def refused(act: Callable[[], object]) -> str:
    """The one line that tells why."""
    with pytest.raises(ParameterError) as told:
        act()
    assert "\n" not in str(told.value)
    return str(told.value)


def each_refused(path: Path, read: Callable[[Path], object]) -> None:
    """Spoils a file in every way, and holds that reading it is refused in a line that names it."""
    data, trap = path.read_bytes(), path.with_name("unpickled")
    for what, content in (spoiled(data) | {"a pickle": pickle.dumps(Trap(trap))}).items():
        path.write_bytes(content)
        assert str(path) in refused(lambda: read(path)), what
    assert not trap.exists()
    path.unlink()
    assert f"{path}: it cannot be read" in refused(lambda: read(path))
    path.mkdir()
    assert f"{path}: it cannot be read" in refused(lambda: read(path))


def altered(
    model: nn.Module, bits: int, code: float | None = None, step: float | None = None
) -> nn.Module:
    """Converted, but with this code or step for the first weight of the first layer."""
    held = convert(model, bits, "absmax").t0qat
    name, first = next(iter(held.codes.items()))
    codes, steps = first.codes.clone(), first.step.clone()
    codes[0, 0] = codes[0, 0] if code is None else code
    steps[0] = steps[0] if step is None else step
    return noted(model, held.codes | {name: Coded(codes, steps)}, held.grid)


# What altered is given, and what every format says of it.
ALTERED = {
    "code 8;": {"code": 8},
    "code -9;": {"code": -9},
    "code 0.5;": {"code": 0.5},
    "code nan;": {"code": math.nan},
    "step 0;": {"step": 0},
    "step -1;": {"step": -1},
    "step inf;": {"step": math.inf},
    "step nan;": {"step": math.nan},
}


def nothing_written(act: Callable[[Path], object], path: Path) -> str:
    """Holds that it is refused and leaves a file that was there; the line that tells why."""
    path.write_bytes(b"before")
    line = refused(lambda: act(path))
    assert path.read_bytes() == b"before" and [*path.parent.iterdir()] == [path]
    return line


def each_place(write: Callable[[Path], object], folder: Path, name: str) -> None:
    """Holds that no file can be where a folder is, nor below a file; folders are made."""
    (folder / name).mkdir()
    assert f"{folder / name}: it cannot be written (Is a directory)" == refused(
        lambda: write(folder / name)
    )
    assert [*folder.iterdir()] == [folder / name] and not [*(folder / name).iterdir()]
    below = folder / "file" / name
    (folder / "file").touch()
    assert f"{below}: it cannot be written" in refused(lambda: write(below))
    write(folder / "new" / name)
    assert (folder / "new" / name).is_file()
