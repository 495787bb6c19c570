"""What each experiment answers: two sentences, each whole and chosen by the results.

The first answers the question that is the title of its notebook, the second says why or what it means.
They stand in notebooks, in the README and on the site, and in LaTeX as \\Answer{vision/1}.
"""

import functools
import tomllib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from t0qat.exhibits.sentences import Chosen
from t0qat.pipeline.lookups import Read
from t0qat.pipeline.results import ResultsError

# Which module chooses the sentences of an experiment: imported only then, as a result depends on all
# that its notebook has imported.
MODULES = {
    "table1": "answers_linear",
    "integer_grids": "answers_linear",
    "theory": "answers_linear",
    "scale": "answers_scale",
    "constants": "answers_scale",
    "calibration": "answers_scale",
    "precision": "answers_scale",
    "vision": "answers_benchmarks",
    "language": "answers_benchmarks",
    "response": "answers_use",
    "recommendation": "answers_use",
    "deployment": "answers_use",
    "circuits": "answers_claims",
    "claims": "answers_claims",
}


@functools.cache
def sentences() -> Mapping[str, Mapping[str, str]]:
    """Every form of each sentence by its place, such as "vision/1"."""
    return tomllib.loads(Path(__file__).with_name("answers.toml").read_text())


def answer(place: str, read: Read) -> str:
    """Both sentences of an experiment, or one of them: "vision", "vision/1" or "vision/2".

    Raises ResultsError for another place, and where a results file is missing or malformed.
    """
    places = [f"{place}/1", f"{place}/2"] if place in MODULES else [place]
    if places[0] not in sentences():
        there = ", ".join(MODULES)
        raise ResultsError(f"no answer is named {place!r}; there are {there}, and /1 or /2 after each")
    said = []
    for each in places:
        form, values = chosen(each, read)
        said.append(sentences()[each][form].format(**values))
    return " ".join(said)


def chosen(place: str, read: Read) -> Chosen:
    """Which form of a sentence the results choose, and the values of its gaps."""
    module = import_module(f"t0qat.exhibits.{MODULES[place.partition('/')[0]]}")
    return module.CHOOSE[place](read)
