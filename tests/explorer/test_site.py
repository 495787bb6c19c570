"""The site says what the notebooks and results say, and needs neither a kernel nor a network."""

import base64
import json
import re
import shutil
from dataclasses import replace
from urllib.parse import unquote

import nbformat
import pandas as pd
import pytest
import tinycss2
from bs4 import BeautifulSoup
from projects import Project, copy

from t0qat.explorer import site
from t0qat.paper import PAPER
from t0qat.pipeline import notebooks, places, receipts
from t0qat.pipeline.notebooks import NotebookError

FULL = places.RUNS["paper"]
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Project:
    """A copy of the project with its site."""
    project = copy(tmp_path_factory.mktemp("site"))
    make(project)
    return project


@pytest.fixture(scope="module")
def pages(built) -> dict[str, BeautifulSoup]:
    return read(built)


def make(project: Project) -> None:
    done = project.run("site")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "open build/site/index.html\n"


def read(project: Project) -> dict[str, BeautifulSoup]:
    found = (project.root / "build/site").glob("*.html")
    return {path.name: BeautifulSoup(path.read_text(), "html.parser") for path in found}


def written(project: Project) -> dict[str, nbformat.NotebookNode]:
    """The notebooks by the name of their page, in reading order."""
    paths = sorted((project.root / "notebooks").glob("*.ipynb"))
    return {f"{path.stem}.html": nbformat.read(path, 4) for path in paths}


def outputs(notebook) -> list[dict]:
    return [o for cell in notebook.cells for o in cell.get("outputs", []) if "data" in o]


def test_every_link_leads_to_a_place_in_the_site(built, pages):
    folder = built.root / "build/site"
    for name, page in pages.items():
        ids = [tag["id"] for tag in page.select("[id]")]
        assert len(ids) == len(set(ids)), name
        for tag in page.select("a[href]"):
            address, _, anchor = unquote(tag["href"]).partition("#")
            if address.startswith("https://"):
                continue
            target = address or name
            assert (folder / target).is_file(), f"{name}: {tag}"
            assert not anchor or pages[target].find(id=anchor), f"{name}: {tag}"
            assert tag.get_text().strip(), f"{name}: a link without words"
    linked = {unquote(a["href"]).partition("#")[0] for page in pages.values() for a in page.select("a")}
    there = set(built.files("build/site"))
    assert {name.removeprefix("build/site/") for name in there} <= linked  # nothing no page leads to


def test_files_lie_where_the_paper_links_them_from_its_own_folder(built):
    """The PDF's links are relative to paper/: results beside it, notebooks one folder up."""
    site, kept = built.root / "build/site", built.files("paper/results", "notebooks")
    kept = {name: data for name, data in kept.items() if name.endswith((".csv", ".ipynb"))}
    assert {f"paper/results/{name}.csv" for name in PAPER.results} <= set(kept)
    for name, data in kept.items():
        link = f"results/{name.rpartition('/')[2]}" if name.startswith("paper") else f"../{name}"
        assert (site / "paper" / link).resolve().read_bytes() == data


def test_every_text_of_docs_has_its_page_and_the_start_page_says_what_the_readme_says(built, pages):
    start, readme = pages["index.html"], pages["readme.html"]
    for path in (built.root / "docs").glob("*.md"):
        page = pages[f"docs-{path.stem}.html"]
        assert page.h1.text == path.read_text().splitlines()[0].removeprefix("# ")
        assert start.find("a", href=f"docs-{path.stem}.html")
        assert readme.find("a", href=f"docs-{path.stem}.html")
    table, others = ([tag.text for tag in page.select("table")] for page in (start, readme))
    assert table[0] == others[0] and "Because" in table[0]
    said = [[p.text for p in page.main.select("p") if p.strong] for page in (start, readme)]
    assert [text.partition(".")[0] for text in said[0]][:3] == [
        "What was claimed", "What we found", "What to use"
    ]  # fmt: skip
    assert len(said[0]) == 6 and said[0] == said[1]


def test_no_page_asks_for_anything_outside_itself_nor_names_this_machine(built, pages):
    for name, page in pages.items():
        assert not page.select("script, iframe, object, embed, base, form, video, audio"), name
        assert [link["href"] for link in page.select("link")] == ["data:,"]
        assert not page.select("[srcset], [background], [onclick], [onload]")
        for tag in page.select("[src]"):
            assert tag["src"].startswith("data:image/"), name
            base64.b64decode(tag["src"].partition("base64,")[2], validate=True)
        styles = "".join(tag.text for tag in page.select("style")) + str(page.select("[style]"))
        assert not re.search(r"url\(|@import|@font-face", styles), name
        (policy,) = page.select('meta[http-equiv="Content-Security-Policy"]')
        assert policy["content"].startswith("default-src 'none';")
        assert str(built.root) not in str(page), name
        assert page.html["lang"] == "en"
        assert page.title.text.strip(), name
        assert len(page.select("h1")) == (not name.endswith((".py.html", ".toml.html", ".cff.html"))), (
            name
        )


def test_each_formula_of_a_notebook_is_mathml_and_no_dollar_is_left(built, pages):
    for name, notebook in written(built).items():
        texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
        texts += [o.data["text/markdown"] for o in outputs(notebook) if "text/markdown" in o.data]
        prose = re.sub(r"`[^`]*`", "", "\n\n".join(texts))
        formulas = re.findall(r"\$\$(?:.+?)\$\$|\$(?:.+?)\$", prose, re.S)
        assert len(pages[name].select("math")) == len(formulas), name
        assert len(pages[name].select("math[display=block]")) == prose.count("$$") / 2
    for name, page in pages.items():
        for code in BeautifulSoup(str(page.main), "html.parser").select("pre, code"):
            assert code.text
        text = "".join(s for s in page.main.strings if not s.find_parent(["pre", "code", "style"]))
        assert "$" not in text, name
        assert "\\" not in text, name


def test_a_page_shows_what_its_notebook_put_out(built, pages):
    for name, notebook in written(built).items():
        page = pages[name]
        shown = [tag["src"].partition("base64,")[2] for tag in page.select(".output img")]
        pictures = [o.data for o in outputs(notebook) if "image/png" in o.data]
        assert shown == ["".join(data["image/png"].split()) for data in pictures]
        question = notebook.cells[0].source.splitlines()[0][2:]
        for tag, data in zip(page.select(".output img"), pictures, strict=True):
            text = data["text/plain"]
            assert (question in tag["alt"]) if text.startswith("<") else (tag["alt"] == text)
        tables = "".join(o.data["text/html"] for o in outputs(notebook) if "text/html" in o.data)
        cells = [cell.text for cell in BeautifulSoup(tables, "html.parser").select("th, td")]
        assert [cell.text for cell in page.select(".output .dataframe :is(th, td)")] == cells, name
        code = [cell.source.split() for cell in notebook.cells if cell.cell_type == "code"]
        assert [fold.pre.text.split() for fold in page.select("details.code")] == code


def test_the_pages_lead_through_the_notebooks_in_reading_order(built, pages):
    questions = {name: nb.cells[0].source.splitlines()[0][2:] for name, nb in written(built).items()}
    cards = pages["index.html"].select(".cards a")
    assert {a["href"]: a.text.strip() for a in cards} == questions
    assert [a["href"] for a in cards] == list(questions)
    way = [next(iter(questions))]
    while after := pages[way[-1]].select_one("header a[rel=next]"):
        assert pages[after["href"]].select_one("header a[rel=prev]")["href"] == way[-1]
        assert after.text == f"Next: {questions[after['href']]}"
        way.append(after["href"])
    assert way == list(questions)
    for name, question in questions.items():
        assert pages[name].h1.text == question
        assert pages[name].title.text == f"{question} – t0qat"


def test_the_start_page_shows_every_verdict_and_every_condition(built, pages):
    table, said = (
        pd.read_csv(built.root / f"paper/results/{name}.csv") for name in ("claims", "verdicts")
    )
    page = pages["index.html"]
    rows = [[cell.text for cell in row.select("td")] for row in page.select(".claim tbody tr")]
    assert [row[0] for row in rows] == list(table.condition)
    for (_, estimate, n, *_), row in zip(rows, table.itertuples(), strict=True):
        if pd.isna(row.estimate):
            assert (estimate, n) == ("–", "–")
            continue
        found, _, power = estimate.replace("−", "-").partition(" · 10")
        power = int(power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")) or 0)
        mean, low, high = (float(n) * 10.0**power for n in re.findall(r"-?[\d.]+", found))
        half = max((row.ci_high - row.ci_low) / 2, 1e-12)
        for shown, exact in ((mean, row.estimate), (low, row.ci_low), (high, row.ci_high)):
            assert shown == pytest.approx(exact, abs=half / 5)
        assert int(n.replace(",", "")) == row.n
    for section, row in zip(page.select(".claim"), said.fillna("–").itertuples(), strict=True):
        assert section.summary.contents[0] == f"{row.id}: {row.claim}"
        shown = section.select_one(".verdicts").text
        for name, verdict in (("as published", row.as_published), ("scale tuned", row.scale_tuned)):
            assert f"{name}: {verdict.partition(' (')[0].removesuffix(' here')}" in shown


def test_without_a_pdf_the_start_page_says_how_to_make_it_and_with_one_it_leads_there(built, tmp_path):
    assert "make paper makes its PDF" in " ".join(
        read(built)["index.html"].select_one(".ways").text.split()
    )
    shutil.copytree(built.root, tmp_path / "other")
    project = Project(tmp_path / "other")
    (project.root / "paper/main.pdf").write_bytes(b"%PDF-1.7 a paper")
    receipt = project.root / "paper/results/table1.json"
    changed = json.loads(receipt.read_text()) | {"changed_parameters": {"baseline_noise": 0.8}}
    receipt.write_text(json.dumps(changed))
    (project.root / "build/site/of_an_old_notebook.html").write_text("old")
    make(project)
    start = read(project)["index.html"]
    assert "changed parameters: 01_table1: baseline_noise = 0.8" in start.text
    assert start.find("a", string="The paper (PDF)")["href"] == "paper/main.pdf"
    assert (project.root / "build/site/paper/main.pdf").read_bytes() == b"%PDF-1.7 a paper"
    assert not (project.root / "build/site/of_an_old_notebook.html").exists()


def test_a_site_that_cannot_be_made_leaves_the_one_before_and_says_why_in_a_line(built, tmp_path):
    shutil.copytree(built.root, tmp_path / "other")
    project = Project(tmp_path / "other")
    before = project.files("build/site")
    path = project.root / "notebooks/01_table1.ipynb"
    notebook = nbformat.read(path, 4)
    for cell in notebook.cells:
        cell |= {"outputs": []} if cell.cell_type == "code" else {}
    nbformat.write(notebook, path)
    done = project.run("site")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "t0qat: 01_table1.ipynb has no outputs; make outputs runs it\n"
    assert project.files("build/site") == before


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(NotebookError, match="holds something else than a site"):
        site.build(PAPER, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_cannot_be_shown_is_refused_by_name(tmp_path):
    def refused(text: str) -> str:
        with pytest.raises(NotebookError) as error:
            whole._markdown(text, places.ROOT / "notebooks/01_toy.ipynb")
        return str(error.value)

    whole = site._Site(PAPER)
    assert refused(r"$\nosuchcommand{x}$").startswith("01_toy.ipynb: the formula")
    assert refused("[more](02_nothing.ipynb)") == (
        "01_toy.ipynb names 02_nothing.ipynb, which is not in the project"
    )
    assert refused("![a figure](../figures/none.png)").startswith("01_toy.ipynb names ../figures/none")
    path = tmp_path / "toy.ipynb"
    broken = nbformat.v4.new_output("error", ename="KeyError", evalue="'x'", traceback=[])
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=[broken])]), path)
    with pytest.raises(NotebookError, match=r"toy\.ipynb: a cell ended in KeyError"):
        site._prepared(path)
    with pytest.raises(NotebookError, match=r"toy\.ipynb has no title in its first cell"):
        site._question(path)


def test_markdown_becomes_html_that_stays_inside():
    whole = site._Site(PAPER)
    show = lambda text: whole._markdown(text, places.ROOT / "README.md")  # noqa: E731
    assert 'href="01_table1.html#a-b"' in show("[one](notebooks/01_table1.ipynb#A,-b)")
    assert 'href="https://example.org/x.ipynb"' in show("[there](https://example.org/x.ipynb)")
    assert show("[![ci](../../badge.svg)](../../actions) ![b](https://example.org/b.svg)") == ""
    assert show("[all](notebooks)") == "<p>all</p>\n"
    assert show("## A, b `c`") == '<h2 id="a-b-c">A, b <code>c</code></h2>\n'
    assert 'src="data:image/png;base64,' in show("![t](figures/table1.png)")
    xi = BeautifulSoup(show(r"The paper fixes $\xi = \tfrac43 \cdot 10^{-4}$."), "html.parser").math
    assert [tag.text for tag in xi.mfrac.select("mn")] == ["4", "3"]
    assert (xi.mi.text, xi.msup.mn.text, xi.msup.mrow.text) == ("ξ", "10", "−4")
    assert "<math" not in show(r"a price of \$5, and \$6")


def test_a_widget_becomes_its_picture_or_nothing(tmp_path):
    def display(**data):
        return nbformat.v4.new_output("display_data", {site.WIDGET: {"model_id": "1"}} | data)

    text = {"text/plain": "Box(children=(IntSlider(value=3),))"}
    picture = {"text/plain": "Three bits\ncost little.", "image/png": PIXEL}
    cell = nbformat.v4.new_code_cell("show()", outputs=[display(**text), display(**picture)])
    path = tmp_path / "toy.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    body, _ = site._Site(PAPER).exporter.from_notebook_node(site._prepared(path))
    shown = BeautifulSoup(body, "html.parser")
    assert [(i["alt"], i["src"][-20:]) for i in shown.select("img")] == [
        (picture["text/plain"], PIXEL[-20:])
    ]
    assert "IntSlider" not in body
    assert not shown.select("script")


def test_the_last_full_run_is_shown_until_its_notebook_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "BUILD", tmp_path / "build")
    run = replace(FULL, home=tmp_path)
    (notebook,) = [n for n in notebooks.load(PAPER) if n.name == "01_table1"]
    full = tmp_path / "build/paper/notebooks/01_table1.ipynb"
    full.parent.mkdir(parents=True)
    full.write_text("executed")
    receipt = json.loads((places.ROOT / notebook.receipt).read_text())
    receipt["parameters"] |= {"replicates": 12345}
    own, engine = "notebooks/01_table1.ipynb", "src/t0qat/training/linear.py"
    now = {name: notebooks.source_hash(places.ROOT / name) for name in (own, engine)}

    def shown(inputs: dict[str, str], made_here: bool = True) -> tuple[bool, str]:
        places.write(tmp_path / notebook.receipt, json.dumps(receipt | {"inputs": inputs}))
        if made_here:
            receipts.stamp(notebook, run)
        path, note = site._executed(notebook.path, notebook, PAPER.sample_sizes, run)
        assert path in (full, notebook.path)
        return path == full, note

    assert shown(now) == (
        True, "Shown as <code>make paper</code> ran it, at full size (replicates = 12,345)."
    )  # fmt: skip
    is_full, note = shown(now | {engine: "before"})
    assert is_full
    assert note.endswith(f"Since then {engine} changed; <code>make paper</code> runs it again.")
    is_full, note = shown(now | {own: "before"})
    assert not is_full
    default, large = notebook.defaults["replicates"], notebook.profiles["paper"]["replicates"]
    assert f"own parameters (replicates = {default:,})" in note
    assert f"at full size (replicates = {large:,})" in note
    assert not shown(now | {"README.md": "other"}, made_here=False)[0]  # the results came by git
    shown(now)
    full.unlink()
    assert not shown(now)[0]


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb or #rgb, as WCAG 2 defines it."""
    digits = colour.lstrip("#")
    digits = "".join(2 * d for d in digits) if len(digits) == 3 else digits
    values = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return sum(weight * v for weight, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_text_and_code_have_the_contrast_that_wcag_aa_asks_for(pages):
    """4.5 to 1 in the light and the dark scheme, for each colour of text on each background it gets."""
    schemes = {"light": {}, "dark": {}}
    tokens = {"light": {}, "dark": {}}

    def gather(rules, scheme):
        for rule in rules:
            if rule.type == "at-rule" and "dark" in tinycss2.serialize(rule.prelude):
                gather(tinycss2.parse_rule_list(rule.content, True, True), "dark")
            elif rule.type == "qualified-rule":
                selector = tinycss2.serialize(rule.prelude).strip()
                for d in tinycss2.parse_declaration_list(rule.content, True, True):
                    if d.type == "declaration":
                        value = tinycss2.serialize(d.value).strip()
                        if selector == ":root" and d.name.startswith("--"):
                            schemes[scheme][d.name] = value
                        if selector.startswith(".highlight .") and d.name == "color":
                            tokens[scheme][selector] = value

    sheet = "".join(tag.text for tag in pages["01_table1.html"].head.select("style"))
    gather(tinycss2.parse_stylesheet(sheet, True, True), "light")
    for scheme, colours in schemes.items():
        for text in ("--ink", "--faint", "--link"):
            for ground in ("--paper", "--field"):
                assert contrast(colours[text], colours[ground]) >= 4.5, (scheme, text, ground)
        assert len(tokens[scheme]) > 20
        used = {
            c for page in pages.values() for t in page.select(".highlight [class]") for c in t["class"]
        }
        for token in used - {"w"}:  # white space shows no colour
            selector = f".highlight .{token}"
            # What the dark style does not name keeps its light colour.
            colour = tokens[scheme].get(selector) or tokens["light"].get(selector, colours["--ink"])
            assert contrast(colour, colours["--field"]) >= 4.5, (scheme, selector, colour)
