"""The documentation site: built strictly, every link leads somewhere, a browser shows it whole, on a phone too."""

import ast
import html.parser
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import needs
import results
import tables
from making import errors, hooks, pictures
from tabular import UNKNOWN

ROOT = Path(__file__).parents[2]
PASSED_ON = {
    "self._unusable": "makes the error of `sim/cache.py`",
    "self.explain": "makes the error of a program that took too long",
    "silent": "makes the error of a device that does not answer",
    "ModelFileError": "of `str(error)`: texts of `sw/archive.py`",
    "CompileError": "of a front end's error: texts of `sw/archive.py`",
    "next": "of the alternatives of a record's field: texts of `sw/records.py`",
    "KeyError": "caught where it is raised",
    "subprocess.TimeoutExpired": "caught by who waits",
    "FpgaError": "of `REASONS` in `fpga/flash.py`",
}
"""What is raised with the text of another error, and where that text stands."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site; a warning of MkDocs is an error."""
    needs.package("mkdocs", extra="docs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert result.returncode == 0, result.stderr
    return folder


class Page(html.parser.HTMLParser):
    """What a page links to and loads, and its anchors."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "id" or (tag, name) == ("a", "name"):
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


def test_links(site):
    """Every link leads to a file of the site, and to an anchor that its page has."""
    pages = {path.resolve(): Page(path.read_text()) for path in site.rglob("*.html")}
    assert len(pages) > 15
    broken, followed = [], 0
    for path, page in pages.items():
        if path.name == "404.html":
            continue
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            followed += 1
            fragment = unquote(parts.fragment)
            if not target.exists() or fragment and target in pages and fragment not in pages[target].anchors:
                broken.append(f"{path.relative_to(site.resolve())}: {link}")
    assert not broken and followed > 1000


def pages():
    return sorted(
        path.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for path in (ROOT / "docs").rglob("*.md")
    )


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 800)])
def test_in_a_browser(browser, site, width, height):
    """Nothing sticks out sideways, pictures are there, nothing comes from elsewhere, nothing is logged."""
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    for page in pages():
        for log in ("browser", "performance"):
            browser.get_log(log)
        browser.get((site / page).as_uri())
        assert browser.execute_script("return innerWidth") == width
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width, page
        missing = "return [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
        assert not browser.execute_script(missing), page
        assert browser.execute_script("return document.querySelector('article').innerText.length") > 200, page
        assert not browser.get_log("browser"), page
        events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        asked = [event["request"]["url"] for event in sent]
        assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))], page


def test_search(browser, site):
    """The search finds a page without a server."""
    browser.get((site / "index.html").as_uri() + "?q=scratchpad_bytes")
    found = "return document.querySelectorAll('.md-search-result__item a').length"
    for _ in range(100):
        if browser.execute_script(found):
            break
        browser.execute_async_script("setTimeout(arguments[0], 100)")
    assert browser.execute_script(found) > 0


def test_every_error_is_explained():
    """Each file with texts of errors stands in exactly one section of the page that explains them."""
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    sections = [found.split()[1:] for found in hooks.MADE.findall(text) if found.startswith("errors ")]
    for path in errors.every():
        holding = [names for names in sections if errors.within(path, names)]
        assert len(holding) == 1, f"{path} stands in {len(holding)} sections of docs/troubleshooting.md; name it in one"


def test_every_raise_has_its_text():
    """What raises an error says why in a form that the page can show."""
    unknown = []
    for folder in errors.FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text())
            for scope, node in errors.scopes(tree):
                if errors.raises(node) and not list(errors.told("", scope, node)):
                    written = ast.unparse(node.exc)
                    if written.partition("(")[0] not in PASSED_ON:
                        unknown.append(f"{path.relative_to(ROOT)}:{node.lineno}: {written}")
    assert unknown == []


def test_tables_are_those_of_the_results():
    """``make docs-tables`` would change nothing, and every table has a place."""
    places = []
    for page in tables.PAGES:
        text = page.read_text()
        places += [found[2] for found in tables.PLACE.finditer(text)]
        assert tables.written(text) == text, f"{page.name}: run make docs-tables"
    assert sorted(set(places)) == sorted(tables.TABLES)


def test_figures_of_unknown_commits_are_marked():
    """Once at least, and what the mark means stands below the table."""
    made = [make() for make in tables.TABLES.values()]
    marked = [each for each in made if f"{UNKNOWN} |" in each]
    unknown = [record for record in results.load() if record["commit"] == "unknown"]
    assert sum(each.count(f"{UNKNOWN} |") for each in marked) >= len(unknown)
    assert all(each.endswith(f"\n\n{UNKNOWN.strip()} Measured before commits were recorded.") for each in marked)


def test_results_are_named_once():
    names = [results.name_of(record) for record in results.load()]
    assert len(set(names)) == len(names)
    for record in results.load():
        assert {"commit", "tools", *results.KEYS[record["kind"]]} <= set(record)
        assert record["commit"] != "unknown" or record["listed"]


def test_a_result_is_replaced(monkeypatch, tmp_path):
    (tmp_path / "results.json").write_bytes(results.FILE.read_bytes())
    monkeypatch.setattr(results, "FILE", tmp_path / "results.json")
    before = results.load()
    for luts in (1, 2):
        results.add("cells", configuration="none", part="ecp5-85f", luts=luts, tools=["numpy", "no-such-package"])
    *others, last = results.load()
    assert others == before and last["luts"] == 2 and last["tools"]["no-such-package"] == "unknown"


def test_pictures_are_made():
    """The files are what ``python -m making.pictures`` writes."""
    made = pictures.made()
    assert {path.name: path.read_text() for path in pictures.FOLDER.iterdir()} == made


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
