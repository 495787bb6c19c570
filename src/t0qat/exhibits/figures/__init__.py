"""Figures, sized for one column of the paper and readable in greyscale: one module an experiment."""

# ruff: noqa: F401 - what notebooks call
from t0qat.exhibits.figures.benchmark import (
    language,
    language_matrix,
    vision,
    vision_matrix,
)
from t0qat.exhibits.figures.calibration import calibration
from t0qat.exhibits.figures.circuits import circuits, qubit
from t0qat.exhibits.figures.deployment import deployment
from t0qat.exhibits.figures.grids import integer_grids
from t0qat.exhibits.figures.precision import precision
from t0qat.exhibits.figures.response import response
from t0qat.exhibits.figures.scale import constants, scale
from t0qat.exhibits.figures.table1 import table1
from t0qat.exhibits.figures.theory import expansion, reductions, training
