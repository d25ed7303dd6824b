"""The documents, and how tests read them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md")))
}
API, OPERATIONS = PAGES["docs/api.md"], PAGES["docs/operations.md"]
LEARNERS = PAGES["docs/learners.md"]
EACH_PAGE = pytest.mark.parametrize("page", PAGES)


def blocks(page: str, *languages: str) -> list[tuple[str, str]]:
    """The fenced blocks of a page in these languages, in order: (language, text)."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [(language, text) for language, text in found if language in languages]


def table(page: str, head: str) -> list[list[str]]:
    """The rows of the table whose head begins so, as cells."""
    _, _, rest = page.partition(f"\n| {head} |")
    lines = rest.splitlines()[2:]
    rows = lines[: next((i for i, line in enumerate(lines) if not line.startswith("|")), None)]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def code_spans(page: str) -> set[str]:
    """What a page writes as code."""
    return set(re.findall(r"`([^`\n]+)`", page))
