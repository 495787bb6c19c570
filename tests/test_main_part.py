"""What a reader meets first is short, says little at a time, and leads to all the rest."""

import functools
import re
import subprocess

import pytest

from t0qat.exhibits.labels import name as label
from t0qat.paper import PAPER
from t0qat.pipeline import notebooks, places, typeset
from t0qat.training.methods import REGISTRY

PAGES, ABSTRACT, VALUES = 10, 200, 3
HERE = "\ue000"  # stands before each generated value
NAMES = sorted({*map(label, REGISTRY)} - {"T0-QAT"}, key=len, reverse=True)
MATH = r"\$\\:\\cdot\\:10\^\{-?\d+\}\$"
# A number, and its interval; 95 % is their level.
ONE = rf"(?:\$-\$|−)?(?<![\w-])(?!95\\,\\%)\d[\d.]*(?:\\,\d{{3}})*(?:{MATH})?(?:\\,\\%)?(?: \[[^\]]*\])?"
VALUE = re.compile("|".join([r"INT\d", *map(re.escape, NAMES), ONE]))
APPENDIX, MAIN = ((places.ROOT / name).read_text() for name in typeset.texts())
BODY = MAIN.split(r"\begin{document}")[1]


@functools.cache
def sources() -> dict[str, bytes]:
    every, run = notebooks.load(PAPER), places.RUNS["paper"]
    return typeset.with_lookups(PAPER, every, typeset.sources(every, run), run.home)


@functools.cache
def generated() -> dict[str, str]:
    """The text of each generated macro, and of each `\\Kind{place}`."""
    lines = "".join(text.decode() for name, text in sources().items() if "/macros/" in name)
    found = dict(re.findall(r"(?m)^\\newcommand\{(\\[A-Za-z]+)\}\{(.*)\}$", lines))
    looked_up = re.findall(r"(?m)^\\expandafter\\def\\csname (\w+)/(.*?)\\endcsname\{(.*)\}$", lines)
    return found | {rf"\{kind}{{{place}}}": text for kind, place, text in looked_up}


def marked(text: str) -> str:
    """A generated text with a mark before each of its values, or before the whole where it has none."""
    text = re.sub(r"\\file\{[^}]*\}\{((?:[^{}]|\{[^{}]*\})*)\}", r"\1", text)
    shown, found = VALUE.subn(HERE + r"\g<0>", text)
    return shown if found or text.endswith(".") else HERE + text


def sentences(text: str) -> list[str]:
    """Those of a LaTeX text, generated ones too, floats but for their captions left out."""
    text = re.sub(r"(?m)(?<!\\)%.*$", "", text)
    text = re.sub(r"\\begin\{tabular\}.*?\\end\{tabular\}", "", text, flags=re.S)
    text = re.sub(r"\\begin\{(align|equation)\}.*?\\end\{\1\}", "", text, flags=re.S)
    text = re.sub(r"\s+", " ", text)
    for macro, shown in sorted(generated().items(), key=lambda item: -len(item[0])):
        text = text.replace(macro, marked(shown)) if macro.endswith("}") else _alone(text, macro, shown)
    text = re.sub(r"\\(?:sub)*(?:section|paragraph|label|input|made|caption)\*?\{", ". {", text)
    opens = rf"{HERE}?[A-Z]|\\[A-Z]|\\(?:begin|end|emph|par|texttt|method|citet|cref|vspace)"
    parts = re.split(rf"[.?!][)}}\s]*\s(?={opens}|\. )", text)
    return [part.strip() for part in parts if re.search(r"[a-z] [a-z]", part)]


def _alone(text: str, macro: str, shown: str) -> str:
    return re.sub(re.escape(macro) + r"(?![A-Za-z])(?:\{\})?", lambda _: marked(shown), text)


def words(text: str) -> int:
    text = re.sub(r"\\(?:[cC]ref|cite\w*|label)\{[^}]*\}", " x ", text)
    return len(re.findall(r"[A-Za-z0-9−$\\][^\s]*", text))


@functools.cache
def pages() -> list[str]:
    """The text of each page of the PDF that the committed results give."""
    made = typeset.pdf(sources(), places.RUNS["paper"])
    shown = subprocess.run(["pdftotext", "-", "-"], input=made, capture_output=True, check=True)
    return shown.stdout.decode().split("\f")


def abstract() -> str:
    return re.search(r"\\begin\{abstract\}(.*?)\\end\{abstract\}", MAIN, re.S)[1]


def test_the_main_part_has_few_pages_and_the_first_has_the_verdicts_and_the_recommendation():
    (first,) = [n for n, page in enumerate(pages()) if re.search(r"(?m)^A\s+Related work", page)]
    assert first <= PAGES
    assert re.search(r"Table 1: .*Table 2: ", " ".join(pages()[0].split()))
    assert all(f"C{n}" in pages()[0] for n in range(1, 14))


def test_the_abstract_is_short():
    assert sum(map(words, sentences(abstract()))) <= ABSTRACT


@pytest.mark.parametrize("text", [BODY, APPENDIX], ids=["main", "appendix"])
def test_no_sentence_shows_more_values_than_a_reader_holds(text):
    many = [(part.count(HERE), part.replace(HERE, "")) for part in sentences(text)]
    assert [found for found in many if found[0] > VALUES] == []


def test_values_are_counted():
    shown = marked(r"1.5 [1.2, 1.8] nats at INT4 for GPTQ and LSQ, 2\,174 and $-$0.3$\:\cdot\:10^{-4}$")
    assert shown.count(HERE) == 6
    assert marked("is larger than") == HERE + "is larger than"
    assert marked("Nothing is shown.") == "Nothing is shown."
    listed = (
        MAIN.split(r"\begin{document}")[1] + r" We saw \Setting{vision/bits} and \Setting{vision/seed}."
    )
    assert max(part.count(HERE) for part in sentences(listed)) > VALUES


def test_every_section_of_the_appendix_is_reached_from_what_stands_before_it():
    linked = {key for group in re.findall(r"\\[cC]ref\{([^}]*)\}", MAIN) for key in group.split(",")}
    sections = re.findall(r"\\section\{.*?\}\n\\label\{(.*?)\}", APPENDIX)
    assert len(sections) == APPENDIX.count(r"\section{")
    assert set(sections) <= linked


FLOATS = re.findall(r"\\begin\{(figure|table)\}(.*?)\\end\{\1\}", MAIN + APPENDIX, re.S)


@pytest.mark.parametrize("body", [body for _, body in FLOATS])
def test_a_generated_table_or_figure_names_its_maker_in_the_margin(body):
    made = r"\\input\{tables/(\w+)\}|\\includegraphics(?:\[.*?\])?\{\.\./figures/(\w+)\.pdf\}"
    shown = {table or figure for table, figure in re.findall(made, body)}
    assert shown == set(re.findall(r"\\made\{(\w+)\}", body))


def test_links_lead_to_files_that_are_there():
    linked = set(re.findall(rb"\\file\{(.*?)\}", sources()[typeset.BUILD]))
    assert len(linked) > 20
    for link in linked:
        assert (places.ROOT / "paper" / link.decode()).is_file(), link
