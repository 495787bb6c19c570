"""Explorers that train quickly."""

import pytest
from driven import forget, of_20_replicates

from t0qat.explorer import measure


@pytest.fixture(scope="module")
def quick():
    """Two quickly trained networks a method, and two such circuits a way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "NETWORKS", 2)
        patch.setattr(measure, "NETWORK", measure.NETWORK | {"epochs": 2})
        patch.setattr(measure, "CIRCUITS", 2)
        patch.setattr(measure, "CIRCUIT_TRAINING", measure.CIRCUIT_TRAINING | {"steps": 3})
        forget()
        yield
        forget()


@pytest.fixture
def small(quick):
    """An explorer of those; what another test has trained is not trained again."""
    return of_20_replicates()


@pytest.fixture
def untrained(quick):
    """The same, but it trains all itself."""
    forget()
    return of_20_replicates()


@pytest.fixture(scope="module")
def moved(quick):
    """The same for many tests, each of which sets all that it looks at."""
    return of_20_replicates()
