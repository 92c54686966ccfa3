"""The page of reports: it loads nothing, escapes what kernels say, can be read in the dark and on a telephone.

Contrast and structure are computed from the page itself.  What a browser makes of it is tested where there is one:
Chromium, Node.js, and axe-core and playwright-core of npm in NODE_PATH (benchmarks/report_page.cjs).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from reports import ALL, FAILED, FAILED_CASES, PASSED, REPRODUCER, WEIGHTS, report

from assay.conformance.interface.usage import UsageError
from assay.conformance.report.page import to_html

if TYPE_CHECKING:
    from assay.conformance.report.report import Report

every_report = pytest.mark.parametrize("each", ALL.values(), ids=ALL.keys())
DRAWN = report(*FAILED_CASES, weights=WEIGHTS)
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "report_page.cjs"


class Page(HTMLParser):
    """The tags of a page with their attributes, what would be loaded from elsewhere, and what a tag lies in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.attributes: list[tuple[str, dict[str, str]]] = []
        self.inside: list[tuple[str, tuple[tuple[str, str], ...]]] = []
        self._open: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attributes}
        self.tags.append(tag)
        self.links += [value for name, value in named.items() if name in ("src", "href")]
        self.attributes.append((tag, named))
        self.inside.append((tag, tuple(self._open)))
        if tag not in ("meta", "br"):
            self._open.append((tag, named.get("class", "")))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass


@every_report
def test_html_is_one_page_that_loads_nothing(each: Report) -> None:
    page = Page(each.to_html())
    assert page.tags.count("section") == 1
    assert all(link.startswith(("#", "https://github.com/")) for link in page.links)
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert "url(" not in each.to_html()
    assert "@import" not in each.to_html()


def test_html_escapes_what_kernels_say() -> None:
    text = to_html(FAILED)
    assert "<b>" not in text
    assert "&lt;b&gt;" in text
    assert REPRODUCER in text


def test_every_link_within_the_page_leads_somewhere_and_every_name_is_given_once() -> None:
    page = Page(to_html(*ALL.values(), DRAWN))
    assert page.tags.count("section") == 5
    names = [named["id"] for _, named in page.attributes if "id" in named]
    assert len(names) == len(set(names))
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(names)
    assert [f"#report-{number}" for number in range(1, 6)] == [x for x in page.links if x.startswith("#report")]
    assert page.links.count("#top") == 5  # a way back up after every report


def test_a_family_leads_to_what_it_is_made_for_and_that_to_where_it_was_seen() -> None:
    text = to_html(FAILED)
    assert text.count('href="#family-1-causal"') == 2  # from its finding and from the table
    assert "a causal mask off by one (seen in " in text
    issues = [link for link in Page(text).links if link.startswith("https://")]
    assert issues == ["https://github.com/example/project/issues/1", "https://github.com/example/project/issues/2"]


def test_the_page_says_when_and_by_which_command_it_was_written() -> None:
    header = to_html(PASSED, FAILED).partition("</header>")[0]
    assert "2 reports, 2026-01-02T03:04:05+00:00" in header
    assert header.count("assay check my:kernel") == 1


def test_headings_go_down_one_level_at_a_time() -> None:
    levels = [int(tag[1]) for tag in Page(to_html(*ALL.values(), DRAWN)).tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert max(levels) == 4
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_whatever_scrolls_can_be_reached_by_the_keyboard_and_has_a_name_of_its_own() -> None:
    page = Page(to_html(*ALL.values(), DRAWN))
    scrolling = [named for _, named in page.attributes if named.get("class") == "scroll"]
    assert scrolling
    assert all(named["tabindex"] == "0" and named["role"] == "region" for named in scrolling)
    names = [named["aria-label"] for named in scrolling]
    assert len(names) == len(set(names))


def test_no_table_is_outside_of_what_scrolls_and_no_line_is_kept_whole() -> None:
    """A page is as wide as its widest part that cannot break, so tables scroll and long words break."""
    page = Page(to_html(*ALL.values(), DRAWN))
    tables = [around for tag, around in page.inside if tag == "table"]
    assert tables
    assert all(("div", "scroll") in around for around in tables)
    style = to_html().partition("</style>")[0]
    assert re.search(r"body \{[^}]*overflow-wrap: anywhere", style)
    assert re.search(r"pre \{[^}]*white-space: pre-wrap; overflow-wrap: anywhere", style)
    assert "minmax(0, 1fr)" in style


def test_every_heading_of_a_table_says_of_what_it_is_one() -> None:
    headings = [named for tag, named in Page(to_html(*ALL.values(), DRAWN)).attributes if tag == "th"]
    assert headings
    assert all(named["scope"] in ("row", "col") for named in headings)


# --- colours ----------------------------------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    """The relative luminance of a colour #rrggbb (WCAG 2.2)."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def colours() -> dict[str, dict[str, str]]:
    """The colours of the page by name, in the light and in the dark."""
    style = to_html().partition("</style>")[0]
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    named = {
        scheme: re.findall(r"--(\w+): (#[0-9a-f]{6})", text) for scheme, text in (("light", light), ("dark", dark))
    }
    return {scheme: dict(pairs) for scheme, pairs in named.items()}


def test_contrast_is_as_it_is_defined() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=1e-3)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("text", ["text", "muted", "link", "good", "bad", "open"])
@pytest.mark.parametrize("behind", ["page", "soft"])
def test_every_colour_of_text_can_be_read_on_every_colour_behind_it(scheme: str, text: str, behind: str) -> None:
    assert contrast(colours()[scheme][text], colours()[scheme][behind]) >= 4.5


def test_text_has_no_other_colours_and_nothing_is_faint() -> None:
    style = to_html().partition("</style>")[0]
    assert set(re.findall(r"[; {]color: ([^;]+);", style)) <= {f"var(--{name})" for name in colours()["light"]}
    assert set(re.findall(r"background: ([^;]+);", style)) <= {f"var(--{name})" for name in colours()["light"]}
    assert "opacity" not in style
    assert colours()["light"].keys() == colours()["dark"].keys()


# --- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> list[str]:
    """The command that looks at a page, without the page and the folder for pictures."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    node = shutil.which("node")
    if chromium is None or node is None:
        pytest.skip("needs Chromium and Node.js")
    asked = [node, "-e", "require.resolve('axe-core/axe.min.js'); require.resolve('playwright-core')"]
    if subprocess.run(asked, capture_output=True, check=False, env=os.environ).returncode:
        pytest.skip("needs axe-core and playwright-core of npm in NODE_PATH")
    return [node, str(SCRIPT), chromium]


def test_in_a_browser_nothing_overflows_and_axe_finds_nothing(browser: list[str], tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(to_html(*ALL.values(), DRAWN), encoding="utf-8", errors="backslashreplace")
    command = [*browser, str(tmp_path / "page.html"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [(look["width"], look["scheme"]) for look in found] == [
        (390, "light"), (390, "dark"), (1280, "light"), (1280, "dark"),
    ]  # fmt: skip
    assert all(look["over"] <= 0 for look in found)
    assert [problem for look in found for problem in look["violations"]] == []


def test_html_without_jinja2_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UsageError, match=r"^--html needs jinja2: pip install -e '\.\[report\]'"):
        to_html(PASSED)
