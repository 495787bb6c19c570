"""What is said of where noise helps, of what to use, and of files that run."""

from collections.abc import Callable

import pandas as pd

from t0qat.exhibits import response
from t0qat.exhibits.labels import at, inside, listed, width, widths_of
from t0qat.exhibits.recommendation import called
from t0qat.exhibits.rows import rows_of
from t0qat.exhibits.sentences import NOT_RUN, Chosen, of_all
from t0qat.experiments import recommendation
from t0qat.experiments.arms import FLOAT
from t0qat.experiments.running import EXACT
from t0qat.pipeline.lookups import Read
from t0qat.pipeline.statistics import ERROR_RATE
from t0qat.pipeline.words import fixed, number, span, thousands


def where_noise_helps(read: Read) -> Chosen:
    table = read("response_best")
    noise = table[table.method.isin(response.NOISES)]
    lower = noise.assign(lower=noise.ci_high < 0)
    found, chance = lower.lower.sum(), ERROR_RATE / 2 * len(noise)
    values = {"n": thousands(len(noise)), "chance": number(chance, 2)}
    if found <= chance:
        return "chance" if found else "none", values | {"found": thousands(found)}
    by = lower.groupby("eval_bits").lower.agg(["sum", "size", "mean"])
    most = by["mean"].idxmax()
    where = {"where": "before rounding" if most == FLOAT else f"at {width(most)}"}
    return "some", where | {"found": thousands(by["sum"][most]), "n": thousands(by["size"][most])}


def noise_or_ste(read: Read) -> Chosen:
    table = read("response_best")
    table = table[table.eval_bits < FLOAT]
    before = [response.before_ste(mine) for _, mine in table.groupby("model")]
    ahead, every = sum(int(b.to_numpy().sum()) for b in before), sum(b.size for b in before)
    form = "noise" if 2 * ahead > every else "ste" if 2 * ahead < every else "even"
    return form, {"ahead": thousands(ahead), "behind": thousands(every - ahead), "n": thousands(every)}


def to_use(family: str) -> Callable[[Read], Chosen]:
    def choose(read: Read) -> Chosen:
        table = read("recommendation")
        table = table[(table.family == family) & (table.pick == recommendation.RECOMMENDED)]
        if table.empty:
            return NOT_RUN, {}
        by = table.groupby("method", sort=False)
        uses = [f"{inside(called(rows_of(m)[0]))} {at(m.eval_bits.unique())}" for _, m in by]
        return "few" if len(uses) <= 3 else "many", {"uses": listed(uses[-3:])}

    return choose


def total(rows: pd.DataFrame, metric: str) -> int:
    mine = rows[rows.metric == metric]
    return round((mine["mean"] * mine.n).sum())


def in_runtime(read: Read) -> Chosen:
    table = read("deployment")
    exact = table[table.runtime == EXACT]
    change = exact[exact.metric == "difference"]["mean"].abs().max()
    margin = min(family.metric.margin for family in recommendation.FAMILIES.values())
    differing = total(exact, "differing")
    form = "same" if not differing else "within" if change < margin else "beyond"
    return form, {
        "differing": thousands(differing),
        "n": thousands(total(exact, "predictions")),
        "change": number(change, 2),
    }


def bytes_saved(read: Read) -> Chosen:
    table = read("deployment")
    plain = (table.runtime == EXACT) & (table.method == recommendation.PLAIN)
    rows = table[plain & (table.metric == "file_bytes")]
    files = rows.pivot(index="model", columns="eval_bits", values="mean")
    lowest = min(widths_of(rows))
    share = 100 * files[lowest] / files[FLOAT]
    return of_all((share < 100).sum(), len(share)), {
        "share": span(share, lambda value: fixed(value, 0)),
        "lowest": width(lowest),
    }


CHOOSE = {
    "response/1": where_noise_helps,
    "response/2": noise_or_ste,
    "recommendation/1": to_use("images"),
    "recommendation/2": to_use("text"),
    "deployment/1": in_runtime,
    "deployment/2": bytes_saved,
}
