"""By what several of the sentences of answers.toml are chosen."""

from t0qat.pipeline import claims, decision
from t0qat.pipeline.lookups import Read

Chosen = tuple[str, dict[str, str]]  # the name of a form, and the values of its gaps by name
NOT_RUN = "not run"
UNLEARNED = "not learned"  # not testable, as a model has learned nothing
LEARNED_NOTHING = "has learned nothing"  # says a verdict then


def of_all(some: int, every: int) -> str:
    """Whether these are `all`, `none` or `some` of them; none of none."""
    return "none" if not some else "all" if some == every else "some"


def asked(id: str, column: str) -> tuple[claims.Declared, ...]:
    """The conditions of a column of a claim."""
    (claim,) = (claim for claim in claims.declared() if claim.id == id)
    return claim.columns[column]


def verdict(id: str, column: str, read: Read) -> str:
    """The verdict on a column of a claim by its own results files: a word of `decision`, or UNLEARNED.

    Raises ResultsError.
    """
    conditions = asked(id, column)
    tables = {file: read(file) for file in {file for one in conditions for file in one.files}}
    found = claims.column(id, column, conditions, tables)
    word = decision.decide(found, claims.load().family).verdict
    if word.startswith(decision.UNTESTABLE):
        return UNLEARNED if LEARNED_NOTHING in word else decision.UNMEASURED
    return word
