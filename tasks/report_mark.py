"""The sentence of a report that says which version serves, kept true after the page was written.

A version that serves against its verdict is marked on its own page for as long as it does.
"""

import html
import re
from pathlib import Path

from data.cycle_records import LedgerEntry
from data.decisions import told
from data.files import write_text
from data.workspace import Workspace

_PLACE = re.compile(r'(<span id="serving">).*?(</span>)', re.DOTALL)


def serving_said(version: int | None, champion: LedgerEntry | None) -> str:
    """Whether a version serves, or which does; and by whom against its verdict."""
    if champion is None or champion.to_version is None:
        return "No version serves yet."
    whose = "It serves" if champion.to_version == version else f"Version {champion.to_version} serves"
    if not champion.evidence.get("overridden"):
        return f"{whose} now."
    verdict = champion.evidence.get("verdict") or "none"
    return f"{whose} now, against its verdict ({verdict}): overridden by {told(champion)}."


def mark(workspace: Workspace, champion: LedgerEntry) -> None:
    """Let the pages of the version that serves, and of the one that did, say so."""
    for version in (champion.from_version, champion.to_version):
        page = workspace.reports / f"v{version}.html"
        if version is not None and page.is_file():
            _mark(page, serving_said(version, champion))


def _mark(page: Path, said: str) -> None:
    before = page.read_text(encoding="utf-8")
    after = _PLACE.sub(lambda found: f"{found[1]}{html.escape(said)}{found[2]}", before, count=1)
    if after != before:
        write_text(page, after)
