"""What is said of where noise helps, of what to use, and of files that run."""

from collections.abc import Callable

import pandas as pd

from t0qat.exhibits import deployment, response
from t0qat.exhibits.labels import inside, width
from t0qat.exhibits.recommendation import called, lower_on
from t0qat.exhibits.rows import rows_of
from t0qat.exhibits.sentences import NOT_RUN, Chosen, of_all
from t0qat.experiments import recommendation
from t0qat.experiments.arms import FLOAT
from t0qat.experiments.running import EXACT
from t0qat.pipeline.lookups import Read
from t0qat.pipeline.statistics import ERROR_RATE
from t0qat.pipeline.words import number, percent, span, thousands

FEW = 2  # methods that a sentence names; of more it sends to the table


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
    """What is shown to beat rounded plain training, at the widths where anything is."""

    def choose(read: Read) -> Chosen:
        table = read("recommendation")
        best = table[(table.family == family) & (table.pick == recommendation.RECOMMENDED)]
        if best.empty:
            return NOT_RUN, {}
        widths = [*best.eval_bits.unique()]
        ahead = [bits for bits in widths if _beats_plain(best[best.eval_bits == bits])]
        minus = best[best.eval_bits.isin(ahead) & (best.quantity == "minus_plain")]
        if not ahead:
            return "nowhere", {}
        if ahead != widths[-len(ahead) :]:
            return "mixed", {}
        method = {row["eval_bits"]: called(row) for row in rows_of(best)}
        every = ahead == widths
        form = "everywhere" if every else "lowest"
        partly = not (minus.ci_high < 0).all()  # on some networks only
        uses = _named([(method[bits], bits) for bits in ahead], every)
        return form + ", partly" * partly, {"uses": uses}

    return choose


def _beats_plain(here: pd.DataFrame) -> bool:
    """Whether a pick is shown to lose less on some network, and on none more."""
    minus = here[here.quantity == "minus_plain"]
    return bool(lower_on(here)) and not (minus.ci_low > 0).any()


def _named(chosen: list[tuple[str, int]], every: bool) -> str:
    """At most two methods with their widths, from the widest: `GPTQ at INT4 and QuEST below`."""
    last = {method: bits for method, bits in chosen}
    top, bottom = chosen[0][1], chosen[-1][1]
    order = [method for i, (method, _) in enumerate(chosen) if i == 0 or chosen[i - 1][0] != method]
    below = f"at {width(top)} and below" if top != bottom else f"at {width(top)}"
    if len(order) > FEW:
        return "what the table names" + ("" if every else f" {below}")
    if len(order) == 1:
        return f"{inside(order[0])} {'at every width' if every else below}"
    first, second = order
    there = f"at {width(top)}" if last[first] == top else f"down to {width(last[first])}"
    return f"{inside(first)} {there} and {inside(second)} below"


def in_runtime(read: Read) -> Chosen:
    table = read("deployment")
    exact = table[table.runtime == EXACT]
    change = exact[exact.metric == "difference"]["mean"].abs().max()
    margin = min(family.metric.margin for family in recommendation.FAMILIES.values())
    differing = deployment.total(exact, "differing")
    form = "same" if not differing else "within" if change < margin else "beyond"
    return form, {
        "differing": thousands(differing),
        "n": thousands(deployment.total(exact, "predictions")),
        "change": number(change, 2),
    }


def bytes_saved(read: Read) -> Chosen:
    table = read("deployment")
    lowest, shares = deployment.smallest_files(table[table.runtime == EXACT])
    if shares.empty:
        return NOT_RUN, {}
    return of_all((shares < 1).sum(), len(shares)), {
        "share": span(shares, lambda value: percent(value, 0)),
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
