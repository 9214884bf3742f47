"""The pages hold together: links lead somewhere, and what is named exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.modules import load

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path
    for path in [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("*/README.md"),
        *ROOT.glob("*/*/README.md"),
    ]
    if path.name != "CHANGELOG.md"  # generated, with anchors of its own
)
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))

_FENCE = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
#: Folders of the checkout whose files pages name in code.
_PLACE = re.compile(
    r"(?<![\w./<-])((?:playbooks|inventories|tools|tests|roles|examples|molecule|changelogs|requirements)/[\w./-]*\w)"
)
#: An inventory of the reader's own.
_YOURS = re.compile(rf"inventories/(?!{'|'.join(path.name for path in (ROOT / 'inventories').iterdir())})")
_MAKE = re.compile(r"\bmake ([a-z][a-z-]*)\b")


def prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text())


def code(page: Path) -> str:
    """What stands in code: blocks, indented lines and spans."""
    text = page.read_text()
    fenced = "\n".join(match.group() for match in _FENCE.finditer(text))
    rest = _FENCE.sub("", text)
    indented = "\n".join(line for line in rest.splitlines() if line.startswith("    "))
    return "\n".join([fenced, indented, *re.findall(r"`([^`\n]+)`", rest)])


def anchors(page: Path) -> set[str]:
    """The anchors that headings get where Markdown is shown."""
    titles = (re.sub(r"[^\w\- ]", "", title.lower()) for title in _HEADING.findall(prose(page)))
    return {title.replace(" ", "-") for title in titles}


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


@each_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert sorted(set(_MAKE.findall(code(page))) - targets) == []


@each_page
def test_named_files_exist(page: Path) -> None:
    named = {name for name in _PLACE.findall(code(page)) if not _YOURS.match(name)}
    folders = (ROOT, page.parent)
    assert sorted(name for name in named if not any((folder / name).exists() for folder in folders)) == []


def test_every_page_is_listed() -> None:
    index = ROOT / "docs/index.md"
    linked = {
        (index.parent / target.partition("#")[0]).resolve() for target in _LINK.findall(index.read_text())
    }
    pages = {path for path in (ROOT / "docs").rglob("*.md") if path != index}
    assert sorted(str(path.relative_to(ROOT)) for path in pages - linked) == []


def test_the_inventory_reference_is_current() -> None:
    tool = load(ROOT / "tools/inventory_reference.py")
    current = (ROOT / "docs/inventory.md").read_text()
    assert current == tool.render(tool.read(ROOT / "roles")), (
        "run: .venv/bin/python tools/inventory_reference.py"
    )
