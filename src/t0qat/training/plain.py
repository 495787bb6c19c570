"""Plain training, rounded in more than one way."""

from t0qat.training.views import Method, View, unchanged


def no_noise() -> View:
    """W itself: plain training."""
    return unchanged


# Rounding to nearest and the step of least squared error are no lines of their own: they are how plain
# training, and everything else, is evaluated.
METHODS = {
    "no_noise": Method("No noise", no_noise, "none", few=True, layer=True),
    "gptq": Method("GPTQ", no_noise, "none", rounding="gptq"),
}
