"""Executed notebooks and published results as pages that open from disk: no script, no request."""

import re
from collections.abc import Iterable
from html import escape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import MarkdownWithMath
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, find_lexer_class_for_filename
from traitlets.config import Config

from t0qat.exhibits import readme as blocks
from t0qat.exhibits import story, verdicts
from t0qat.explorer import markdown
from t0qat.pipeline import notebooks, places, readme, receipts, runner, typeset
from t0qat.pipeline.notebooks import Notebook, NotebookError
from t0qat.pipeline.paper import Paper
from t0qat.pipeline.places import Run

RUN = places.RUNS["paper"]
README = places.ROOT / "README.md"
PDF = RUN.home / "paper" / "main.pdf"
TEMPLATES = Path(__file__).parent / "templates"
WIDGET = "application/vnd.jupyter.widget-view+json"
# No widgets and no scripts: they need a kernel, or another host.
SHOWN = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain"]


def build(paper: Paper, folder: Path = places.BUILD / "site") -> Path:
    """Write the site into a folder of its own and return its start page.

    Nothing is run. Every page appears whole, or none does and the pages before stay. Raises
    NotebookError for a notebook or a link that cannot be shown, ResultsError for a bad results file,
    PipelineError while another run is at work or where a generated file was edited by hand.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / "index.html").is_file():
        raise NotebookError(
            f"{folder.name}: the folder holds something else than a site; empty it first"
        )
    with runner.alone():
        files = {folder / name: content for name, content in _Site(paper).files().items()}
        places.write_set(files)
        for path in {path for path in folder.rglob("*") if path.is_file()} - set(files):
            path.unlink()  # of notebooks that are gone
    return folder / "index.html"


class _Site:
    """The pages, made together because they link one another."""

    def __init__(self, paper: Paper):
        self.paper, every = paper, notebooks.load(paper)
        runner.refuse_altered(every, RUN)
        self.run_by_pipeline = {notebook.path: notebook for notebook in every}
        paths = sorted((places.ROOT / "notebooks").glob("*.ipynb"))
        self.texts = readme.texts()
        self.names = {path: f"{path.stem}.html" for path in paths}
        self.names |= {path: f"docs-{path.stem}.html" for path in self.texts} | {README: "readme.html"}
        # Where they lie in the project too, as the PDF links them from its own folder.
        self.copied = {path: receipts.shown(path) for path in paths}
        self.copied |= {path: receipts.shown(path) for path in self._results(every)}
        self.copied |= {PDF: receipts.shown(PDF)} if PDF.is_file() else {}
        self.questions = {path: _question(path) for path in paths}
        self.sources: dict[Path, str] = {}  # what pages link besides notebooks, and its page's name
        self.exporter = HTMLExporter(
            config=Config({"NbConvertBase": {"display_data_priority": SHOWN}}),
            template_file=str(TEMPLATES / "notebook.html.j2"),
            exclude_input_prompt=True,
            exclude_output_prompt=True,
        )

    def files(self) -> dict[str, bytes]:
        """Each file of the site by its name, the start page last."""
        pages = {self.names[path]: self._notebook(path) for path in self.questions}
        for path in self.texts:
            text = path.read_text()
            pages[self.names[path]] = self._page(_title(text), self._markdown(text, path))
        pages["index.html"] = self._start()
        for path, name in self.sources.items():
            lexer = find_lexer_class_for_filename(path.name) or TextLexer
            listing = highlight(path.read_text(), lexer(), HtmlFormatter())
            pages[name] = self._page(receipts.shown(path), listing)
        files = {name: page.encode() for name, page in pages.items()}
        files |= {name: path.read_bytes() for path, name in self.copied.items()}
        return {name: files[name] for name in sorted(files, key=lambda name: name == "index.html")}

    def address(self, url: str, source: Path) -> str:
        """Where a link of a file of the project leads in the site; "" where it leads nowhere."""
        parts = urlsplit(url)
        if parts.scheme or parts.netloc:
            return url
        fragment = f"#{markdown.slug(unquote(parts.fragment))}" if parts.fragment else ""
        if not parts.path:
            return fragment
        path = markdown.find(parts.path, source, later=PDF)
        if path in self.names:
            return self.names[path] + fragment
        if path in self.copied:
            return self.copied[path]
        if path is None or not path.is_file():
            return ""
        self.sources[path] = f"{receipts.shown(path).replace('/', '-')}.html"
        return self.sources[path]

    def _markdown(self, text: str, source: Path) -> str:
        return MarkdownWithMath(renderer=markdown.Renderer(source, self.address)).render(text)

    def _page(self, title: str, body: str, **more) -> str:
        template = self.exporter.environment.get_template("page.html.j2")
        light, dark = (HtmlFormatter(style=name) for name in ("default", "github-dark"))
        styles = (TEMPLATES / "style.css").read_text() + light.get_style_defs(".highlight")
        styles += f"@media (prefers-color-scheme: dark) {{ {dark.get_style_defs('.highlight')} }}"
        return template.render(title=title, body=body, styles=styles, **more)

    def _results(self, every: Iterable[Notebook]) -> list[Path]:
        """The results files of these notebooks."""
        names = (name for notebook in every for name in notebook.outputs if name.endswith(".csv"))
        return [path for path in (RUN.home / name for name in names) if path.is_file()]

    def _start(self) -> str:
        head, *sections = re.split(r"^(?=## )", README.read_text(), flags=re.M)
        (how,) = [text for text in sections if text.startswith("## Two commands\n")]
        results = readme.read(self.paper, RUN.home)
        conditions: dict[str, list] = {}
        for claim, said, cells in verdicts.conditions_of(results):
            conditions.setdefault(claim, []).append((said, cells))
        every = self.run_by_pipeline.values()
        made = {notebook.name: receipts.read(notebook, RUN) for notebook in every}
        body = self.exporter.environment.get_template("start.html.j2").render(
            head=self._markdown(head.partition("\n")[0], README),
            marks=typeset.marks({name: receipt for name, receipt in made.items() if receipt}),
            result=self._markdown(blocks.results(results), README),
            questions=self._markdown(blocks.questions(results), README),
            columns=[*verdicts.columns().values()],
            claims=[
                (claim, said, conditions.get(claim, [])) for claim, *said in story.verdict_cells(results)
            ],
            every=sum(verdicts.counts(results).values()),
            tally=verdicts.tally(verdicts.counts(results)),
            pdf=self.copied.get(PDF),
            notebooks=[
                (self.names[path], question, _first_figure(path, self.run_by_pipeline.get(path)))
                for path, question in self.questions.items()
            ],
            how=self._markdown(how, README),
            texts=[(self.names[path], _title(path.read_text())) for path in self.texts[1:]],
        )
        return self._page(_title(head), body)

    def _notebook(self, path: Path) -> str:
        shown, note = _executed(path, self.run_by_pipeline.get(path), self.paper.sample_sizes)
        self.exporter.register_filter("markdown2html", lambda text: self._markdown(text, path))
        body, _ = self.exporter.from_notebook_node(_prepared(shown))
        order = [None, *self.questions, None]
        at = order.index(path)
        around = {
            word: (self.names[other], self.questions[other])
            for word, other in (("Previous", order[at - 1]), ("Next", order[at + 1]))
            if other
        }
        made = self._results([run] if (run := self.run_by_pipeline.get(path)) else [])
        files = [(self.copied[file], file.name) for file in (path, *made)]
        return self._page(self.questions[path], body, note=note, around=around, files=files)


def _title(text: str) -> str:
    """Of a text in Markdown."""
    return text.partition("\n")[0].removeprefix("# ")


def _question(path: Path) -> str:
    """A notebook's title, which asks its question."""
    try:
        cells = nbformat.read(path, 4).cells
        return re.match("# (.*)", cells[0].source)[1]
    except (ValueError, IndexError, TypeError) as error:
        raise NotebookError(f"{path.name} has no title in its first cell: {error}") from None


def _executed(
    path: Path, notebook: Notebook | None, sample_sizes: str, run: Run = RUN
) -> tuple[Path, str]:
    """The copy of a notebook to show, and what to say of it."""
    if notebook is None:
        return path, "Shown as a picture; it is live in JupyterLab: <code>make lab</code>."
    sizes = {*sample_sizes.split()}
    receipt, full = receipts.read(notebook, run), runner.executed(notebook, run)
    changed = receipts.outdated(notebook, run)
    here = receipt is not None and full.is_file() and receipts.made_here(notebook, run)
    if here and receipts.shown(path) not in changed:
        values = _listed(receipt["parameters"], sizes | set(receipt["changed_parameters"]))
        note = f"Shown as <code>make paper</code> ran it, at full size{values}."
        if changed:
            note += f" Since then {changed[0]} changed; <code>make paper</code> runs it again."
        return full, note
    small, large = notebook.defaults, notebook.parameters(run.profile, {})
    return path, (
        f"Shown with the notebook’s own parameters{_listed(small, sizes)}."
        f" <code>make paper</code> runs it at full size{_listed(large, sizes)}."
    )


def _listed(values: dict, names: set[str]) -> str:
    shown = [f"{name} = {value:,}" if isinstance(value, int) else f"{name} = {value}"
             for name, value in values.items() if name in names]  # fmt: skip
    return f" ({escape(', '.join(shown))})" if shown else ""


def _prepared(path: Path) -> nbformat.NotebookNode:
    """The notebook with a description for each picture, and without what needs a kernel."""
    notebook = nbformat.read(path, 4)
    headings = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            headings += re.findall(r"^#+ +(.*)$", cell.source, re.M)
        for output in [*cell.get("outputs", [])]:
            if output.output_type == "error":
                raise NotebookError(f"{path.name}: a cell ended in {output.ename}; run it again")
            data = output.get("data", {})
            if data.pop(WIDGET, None) and set(data) == {"text/plain"}:
                cell.outputs.remove(output)
            words = data.get("text/plain", "<")
            for kind in set(data) & {"image/png", "image/jpeg"}:
                # Most pictures' own text is a repr.
                alt = " – ".join(["Figure", *headings[:1], *headings[1:][-1:]])
                alt = alt if words.startswith("<") else words
                output.metadata.setdefault(kind, {}).setdefault("alt", alt)
    if not any(cell.get("outputs") for cell in notebook.cells):
        raise NotebookError(f"{path.name} has no outputs; make outputs runs it")
    return notebook


def _first_figure(path: Path, notebook: Notebook | None) -> str:
    """The first figure that a notebook publishes, or else shows, as an address; "" without one."""
    if notebook:
        names = [name for name in notebook.outputs if name.endswith(".png")]
        return markdown.picture(RUN.home / names[0]) if names else ""
    outputs = [output for cell in nbformat.read(path, 4).cells for output in cell.get("outputs", [])]
    pictures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    return f"data:image/png;base64,{pictures[0].strip()}" if pictures else ""
