"""What the controls of a method's settings offer."""

import pytest

from t0qat.explorer import controls
from t0qat.pipeline import parameters
from t0qat.pipeline.parameters import number, whole

NUMBERS = [
    (number(0, 10), 0.1), (number(0, 1e9), 80_000.0), (number(-2, 2), 0.0), (number(1e-12, 10), 0.005),
    (whole(1, 16), 4), (whole(0, 2**32 - 1), 1),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "default"), NUMBERS, ids=str)
def test_a_slider_of_any_setting_reaches_its_limits_and_its_default(rule, default):
    offered = controls.spread(rule, default)
    assert (offered[0], offered[-1]) == rule.limits
    assert default in offered
    assert offered == sorted({*offered})
    assert 15 < len(offered) < 45
    for value in offered:
        parameters.check({"it": value}, {"it": rule})
    assert any(default < value <= default + max(default, 1) for value in offered)
