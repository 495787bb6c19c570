"""t0qat: what weight noise at the scale of xi does to quantization, measured."""

__version__ = "0.1.0"
