"""t0qat: what weight noise at the scale of xi does to quantization, measured.

For a model of your own: prepare, convert; save, load; export, runtime_agrees.
"""

import importlib

__version__ = "0.1.0"
# Imported when asked for: they bring torch along, which takes seconds.
_ROOMS = {
    "prepare": "training.prepare",
    "convert": "training.prepare",
    "save": "quantization.integers",
    "load": "quantization.integers",
    "export": "quantization.integers",
    "runtime_agrees": "quantization.runtimes",
}
__all__ = [*_ROOMS]


def __getattr__(name: str):
    if name in _ROOMS:
        return getattr(importlib.import_module(f"t0qat.{_ROOMS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
