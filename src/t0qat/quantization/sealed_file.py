"""Files that hold a SHA-256 of themselves, since no format of integers notices a changed byte."""

import hashlib
import re
from pathlib import Path

from t0qat.pipeline import places
from t0qat.pipeline.parameters import ParameterError

BEGINS, BLANK = b"t0qat sha256 ", 64 * b"0"
EMPTY = (BEGINS + BLANK).decode()  # the text that a file holds once, in a place for notes
_SEAL = re.compile(re.escape(BEGINS) + b"(.{64})", re.DOTALL)


def write(path: Path, data: bytes) -> None:
    """Write a file that holds EMPTY, filled in; whole or not at all. Raises ParameterError."""
    start = data.index(EMPTY.encode()) + len(BEGINS)
    try:
        places.write(path, data[:start] + _digest(data, start) + data[start + len(BLANK) :])
    except (OSError, ValueError) as error:  # ValueError: no name, or one that no file can have
        raise ParameterError(f"{path}: it cannot be written ({_reason(error)})") from None


def read(path: Path, writer: str | None = None) -> bytes:
    """What a file holds. Raises ParameterError where that changed since it was sealed.

    writer: the function that sealed it; a file that bears no seal is refused by this name. None: it is
    taken as it is.
    """
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise ParameterError(f"{path}: it cannot be read ({_reason(error)})") from None
    seal = _SEAL.search(data)
    if seal and _digest(data, seal.start(1)) != seal[1]:
        raise ParameterError(f"{path}: it is damaged: its bytes changed since it was written")
    if writer and not seal:
        raise ParameterError(f"{path}: it was not written by {writer}, or is damaged")
    return data


def _digest(data: bytes, start: int) -> bytes:
    """Hexadecimal, of a file whose own digest, there, is BLANK."""
    view = memoryview(data)
    found = hashlib.sha256(view[:start])
    found.update(BLANK)
    found.update(view[start + len(BLANK) :])
    return found.hexdigest().encode()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
