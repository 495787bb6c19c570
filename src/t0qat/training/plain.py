"""Plain training, rounded in more than one way, and what costs more or less than it."""

from t0qat.training.views import Method, View, unchanged


def no_noise() -> View:
    """W itself: plain training."""
    return unchanged


# Rounding to nearest and the step of least squared error are no lines of their own: they are how plain
# training, and everything else, is evaluated.
METHODS = {
    "no_noise": Method("No noise", no_noise, "none", few=True, layer=True),
    "gptq": Method("GPTQ", no_noise, "none", rounding="gptq", few=True),
    # Controls: at the cost of methods with two gradients a step, and at no cost.
    "longer": Method("No noise, twice as long", no_noise, "none", length=2.0),
    "not_tuned": Method("No fine-tuning", no_noise, "none", length=0.0, images=False),
}
