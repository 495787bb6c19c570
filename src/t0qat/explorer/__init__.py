"""What a reader chooses: the experiment to play with, and which method at which width.

In notebooks/00_explore.ipynb: controls, live pictures and sentences.
"""

from t0qat.explorer.chooser import Chooser, which
from t0qat.explorer.panel import Explorer, show

__all__ = ["Chooser", "Explorer", "show", "which"]
