"""Markdown as HTML that stands alone: formulas in MathML, pictures inside, links as the caller says."""

import base64
import mimetypes
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from latex2mathml.converter import convert
from nbconvert.filters.markdown_mistune import IPythonRenderer

from t0qat.pipeline import places
from t0qat.pipeline.notebooks import NotebookError


class Renderer(IPythonRenderer):
    """Of texts of the file `source`; address: where its links lead by the site, "" for no link.

    Raises NotebookError for a formula, a link or a picture that cannot be shown.
    """

    def __init__(self, source: Path, address: Callable[[str, Path], str]):
        super().__init__(escape=False)
        self.source, self.address = source, address

    def inline_math(self, body: str, display: str = "inline") -> str:
        mathml = convert(body, display=display)
        if "\\" in mathml:  # a command that latex2mathml does not know stays as it is
            raise NotebookError(f"{self.source.name}: the formula {body!r} has no form in MathML")
        return mathml

    def block_math(self, body: str) -> str:
        return f'<div class="scroll" tabindex="0">{self.inline_math(body, "block")}</div>'

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(rf"\begin{{{name}}}{body}\end{{{name}}}")

    def heading(self, text: str, level: int, **_) -> str:
        return f'<h{level} id="{slug(re.sub("<.*?>", "", text))}">{text}</h{level}>\n'

    def table(self, text: str) -> str:
        return f'<div class="scroll" tabindex="0"><table>\n{text}</table></div>\n'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        address = self.address(url, self.source)
        return super().link(text, address, title) if address and text else text

    def image(self, text: str, url: str, title: str | None = None) -> str:
        path = None if urlsplit(url).netloc else find(url, self.source)
        # No badges: reading must not ask another host for anything.
        return super().image(text, picture(path), title) if path else ""

    def paragraph(self, text: str) -> str:
        return super().paragraph(text) if text.strip() else ""


def find(url: str, source: Path, later: Path | None = None) -> Path | None:
    """The file of the project that a link or a picture of `source` names; None for one outside.

    later: a file that need not be there. Raises NotebookError for another that is not there.
    """
    path = (source.parent / unquote(url)).resolve()
    if not path.is_relative_to(places.ROOT):  # such as the host's page of this project
        return None
    if path != later and not path.exists():
        raise NotebookError(f"{source.name} names {url}, which is not in the project")
    return path


def picture(path: Path) -> str:
    """An image file as an address that holds it."""
    kind, _ = mimetypes.guess_type(path.name)
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def slug(text: str) -> str:
    """A heading's address, the same from JupyterLab's and from GitHub's."""
    return re.sub(r"[^\w-]", "", text.strip().lower().replace(" ", "-"))
