"""The site, opened from disk without a network: pages, pictures and formulas show, links lead on."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from projects import copy

pytestmark = pytest.mark.browser
DESKTOP, PHONE = (1200, 900), (390, 844)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site of a copy of the project."""
    project = copy(tmp_path_factory.mktemp("site"))
    done = project.run("site")
    assert done.returncode == 0, done.stderr
    return project.root / "build" / "site"


class Reader:
    """A browser window without a network; what it complains of, and asks other hosts for, is kept."""

    def __init__(self, browser, size: tuple[int, int], scheme: str):
        width, height = size
        self.window = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, offline=True
        )
        self.page = self.window.new_page()
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def open(self, page: Path):
        self.page.goto(page.as_uri(), wait_until="load")

    def elsewhere(self) -> list[str]:
        return [url for url in self.asked if urlsplit(url).scheme not in ("file", "data")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_each_page_is_whole_and_asks_nobody(chromium, pictures, site, size, scheme):
    folder = pictures / "site" / f"{scheme} {size[0]}"
    folder.mkdir(parents=True, exist_ok=True)
    reader = Reader(chromium, size, scheme)
    pages = sorted(site.glob("*.html"))
    assert {"index.html", "00_explore.html", "01_table1.html", "99_claims.html"} <= {
        p.name for p in pages
    }
    formulas = shown = 0
    for page in pages:
        reader.open(page)
        reader.page.screenshot(path=folder / f"{page.stem}.png", full_page=True)
        broken = "all => all.filter((i) => !(i.complete && i.naturalWidth > 0 && i.width > 0)).length"
        assert reader.page.locator("img").evaluate_all(broken) == 0, page.name
        shown += reader.page.locator("img").count()
        reader.page.locator("details").evaluate_all("all => all.forEach((one) => { one.open = true })")
        boxes = "all => all.map((m) => m.getBoundingClientRect()).map((box) => box.width * box.height)"
        drawn = reader.page.locator("math").evaluate_all(boxes)
        assert all(area > 0 for area in drawn), page.name
        formulas += len(drawn)
        body = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert reader.page.evaluate(body) <= 0, f"{page.name} is wider than the window"
    assert formulas > 0
    assert shown > 0
    assert not reader.complaints
    assert not reader.elsewhere()
    reader.window.close()


def test_a_reader_reaches_every_page_from_the_start_and_no_link_is_dead(chromium, site):
    reader = Reader(chromium, DESKTOP, "light")
    waiting, seen = [site / "index.html"], {}
    while waiting:
        page = waiting.pop()
        reader.open(page)
        links = reader.page.locator("a[href]").evaluate_all("all => all.map((link) => link.href)")
        ids = reader.page.locator("[id]").evaluate_all("all => all.map((one) => one.id)")
        seen[page] = ids, [urlsplit(link) for link in links if link.startswith("file:")]
        for link in seen[page][1]:
            path = Path(unquote(link.path))
            assert path.is_file(), f"{page.name} links {path}"
            assert path.is_relative_to(site), f"{page.name} links {path}"
            if path.suffix == ".html" and path not in seen and path not in waiting:
                waiting.append(path)
    for page, (_, links) in seen.items():
        for link in links:
            if link.fragment:
                target = seen[Path(unquote(link.path))][0]
                assert unquote(link.fragment) in target, f"{page.name} links {link.fragment}"
    assert set(seen) == set(site.glob("*.html"))
    assert not reader.elsewhere()
    reader.window.close()
