"""The committed numbers come back under another instruction set: to the printed digit, or nearly.

`make test-portable` runs this with older instruction sets switched on; under `make test` it checks the
machine's own.
"""

import numpy as np

from t0qat import experiments, results

PINNED = (0.2920764535, 10.29704871, 2.412854571, "0.181198913")


def test_a_small_run_gives_the_pinned_numbers_to_nine_digits():
    first, second = experiments.published(replicates=40)
    table = experiments.table1(first).set_index(["method", "quantity"])["mean"]
    pinned = {
        ("standard_qat", "full_precision"): PINNED[0],
        ("t0_qat", "quantized"): PINNED[1],
        ("no_noise", "drop"): PINNED[2],
    }
    for key, value in pinned.items():
        np.testing.assert_allclose(table[key], value, rtol=1e-9)
    text = results.text("table1_paired", experiments.table1_paired(first, second))
    assert text.splitlines()[1].split(",")[1] == PINNED[3]
