"""The data of a replicate: what the paper describes, and a held-out quarter of the real set."""

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import StandardScaler

from t0qat.training.tasks import TASKS, diabetes, synthetic


def fit(data) -> tuple[np.ndarray, float]:
    """Least-squares coefficients without intercept, and the residual standard deviation."""
    inputs, target = data.inputs.astype(float), data.target.astype(float)
    coefficients = np.linalg.lstsq(inputs, target, rcond=None)[0]
    return coefficients, (target - inputs @ coefficients).std()


@pytest.mark.parametrize(("task", "train", "test"), [("synthetic", 1000, 1000), ("diabetes", 332, 110)])
def test_shapes_types_and_repeatability(task, train, test):
    data = TASKS[task](3, 1)
    assert [part.shape for part in data] == [(train, 10), (train,), (test, 10), (test,)]
    assert {part.dtype for part in data} == {np.dtype(np.float32)}
    assert all(np.array_equal(a, b) for a, b in zip(data, TASKS[task](3, 1), strict=True))
    for other in (TASKS[task](4, 1), TASKS[task](3, 2)):
        assert not np.array_equal(other.target, data.target)


def test_synthetic_reports_its_loss_on_the_training_data():
    data = synthetic(0)
    assert data.test_inputs is data.inputs and data.test_target is data.target


@pytest.mark.parametrize("target_noise", [0.1, 2.0])
def test_the_sum_target_has_unit_coefficients_and_the_noise_asked_for(target_noise):
    coefficients, residual = fit(synthetic(0, 0, "sum", target_noise))
    assert np.abs(coefficients - 1).max() < 5 * target_noise / np.sqrt(1000)
    assert residual == pytest.approx(target_noise, rel=0.1)
    noiseless = synthetic(0, 0, "sum", 0.0)
    np.testing.assert_allclose(noiseless.target, noiseless.inputs.astype(float).sum(1), atol=3e-6)


def test_the_normal_target_draws_standard_normal_coefficients_for_each_replicate():
    coefficients = np.stack([fit(synthetic(i, 0, "normal", 0.0))[0] for i in range(150)])
    assert stats.kstest(coefficients.ravel(), "norm").pvalue > 1e-3
    assert len(np.unique(coefficients.round(4))) > 1400
    assert fit(synthetic(0, 0, "normal", 0.1))[1] == pytest.approx(0.1, rel=0.1)


def test_targets_share_their_inputs_which_are_standard_normal():
    one, other = synthetic(5, 0, "sum"), synthetic(5, 0, "normal")
    assert np.array_equal(one.inputs, other.inputs)
    assert stats.kstest(one.inputs.ravel().astype(float), "norm").pvalue > 1e-3


def rows_in_original_units(data) -> np.ndarray:
    """The patients behind both parts, with what each part's standardization did undone.

    Standardizing is affine, so a column's smallest and largest value over all patients, which are
    known, give back its units without using the code's mean and standard deviation.
    """
    inputs, target = load_diabetes(return_X_y=True, scaled=False)
    original = np.column_stack([inputs, target])
    scaled = np.vstack(
        [
            np.column_stack([data.inputs, data.target]),
            np.column_stack([data.test_inputs, data.test_target]),
        ]
    ).astype(float)
    shift, width = scaled.min(0), np.ptp(scaled, axis=0)
    return original.min(0) + (scaled - shift) / width * np.ptp(original, axis=0)


@pytest.mark.parametrize("replicate", [0, 1, 17])
def test_diabetes_parts_are_disjoint_whole_and_standardized_by_the_training_rows(replicate):
    data = diabetes(replicate)
    inputs, target = load_diabetes(return_X_y=True, scaled=False)
    original = np.column_stack([inputs, target])
    distance = np.abs(rows_in_original_units(data)[:, None] - original).max(-1)
    patient = distance.argmin(1)
    assert distance.min(1).max() < 1e-3
    assert sorted(patient) == list(range(442))  # each patient once: nothing is lost or in both parts

    train, test = patient[:332], patient[332:]
    scaler = StandardScaler().fit(original[train])
    for part, rows in (
        ((data.inputs, data.target), train),
        ((data.test_inputs, data.test_target), test),
    ):
        np.testing.assert_allclose(np.column_stack(part), scaler.transform(original[rows]), atol=1e-5)


def test_diabetes_splits_are_random():
    """Each patient is held out about a quarter of the time."""
    inputs = load_diabetes(return_X_y=True, scaled=False)[0]
    count = np.zeros(len(inputs))
    for replicate in range(120):
        data = diabetes(replicate)
        # Blood serum 3 to 6 and the pressure together tell patients apart.
        seen = rows_in_original_units(data)[332:, :10]
        count[np.abs(seen[:, None] - inputs).max(-1).argmin(1)] += 1
    share = 110 / 442
    assert count.sum() == 120 * 110
    z = (count - 120 * share) / np.sqrt(120 * share * (1 - share))
    assert np.abs(z).max() < 4.5 and z.std() == pytest.approx(1, abs=0.12)
