"""The experiment to play with: controls, live pictures and sentences, in notebooks/00_explore.ipynb."""

from t0qat.explorer.panel import Explorer, show

__all__ = ["Explorer", "show"]
