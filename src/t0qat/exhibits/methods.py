"""The table of all methods that networks train by: what they are told by their lines and docstrings."""

import inspect
import re

from t0qat.exhibits.labels import listed, macros, network_label
from t0qat.exhibits.rows import Results
from t0qat.experiments.arms import preset
from t0qat.pipeline import places
from t0qat.pipeline.latex import Raw, grouped
from t0qat.pipeline.words import NOTHING, number
from t0qat.training.methods import REGISTRY, named
from t0qat.training.views import FAMILIES, Method

ENTRY = re.compile(r"@\w+\{(\S+),.*?(?=^@|\Z)", re.DOTALL | re.MULTILINE)


def bibliography() -> dict[str, str]:
    """arXiv number -> key, of the entries in paper/references.bib that have one."""
    text = (places.ROOT / "paper" / "references.bib").read_text()
    numbers = {
        entry[1]: re.search(r"eprint\s*=\s*\{(.+?)\}", entry[0]) for entry in ENTRY.finditer(text)
    }
    return {found[1]: key for key, found in numbers.items() if found}


def source(method: Method, known: dict[str, str]) -> Raw | str:
    """A citation of what its function's docstring names, or a dash."""
    said = inspect.getdoc(preset(method)[0]) or ""
    keys = [known[n] for n in re.findall(r"arXiv\s(\d{4}\.\d{5})", said) if n in known]
    return Raw(rf"\citet{{{','.join(keys)}}}") if keys else NOTHING


def methods(results: Results) -> tuple[str, dict[str, int]]:
    """All that are registered for the benchmarks, by family, whichever a run names."""
    run = {"images": named(lambda m: m.images), "text": named(lambda m: m.text)}
    known, groups = bibliography(), []
    shown = [name for name in REGISTRY if any(name in names for names in run.values())]
    for family in FAMILIES:
        mine = [name for name in shown if REGISTRY[name].family == family]
        groups.append([_row(name, REGISTRY[name], run, known) for name in mine])
    header = ["Family", "Method", "Trains for", "Gradients", "Strengths tried", "On", "Source"]
    body = grouped([group for group in groups if group], header, "lllrlll", leads=1)
    return body, macros("Methods", {"Count": len(shown)})


def _row(name: str, method: Method, run: dict[str, tuple[str, ...]], known: dict[str, str]) -> list[str]:
    widths = "all widths" if not method.for_bits else "each width"
    if method.for_bits and method.widths:
        widths = listed(f"INT{bits}" for bits in method.widths)
    gradients = number(method.gradients) if method.length else "0"
    gradients += f", {method.length:g} times the steps" * (method.length > 1)
    strengths = listed(map(number, method.values)) if method.values else NOTHING
    where = " and ".join(place for place, names in run.items() if name in names)
    family = {"none": "plain"}.get(method.family, method.family)
    return [family, network_label(name), widths, gradients, strengths, where, source(method, known)]
