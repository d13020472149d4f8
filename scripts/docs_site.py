# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Hooks of MkDocs (mkdocs.yml): pages that lie outside of docs/, and links between all of them.

The Markdown files link to each other by their places in the repository, so that they can be read
there; on the site some lie elsewhere, and what is no page is carried along as it is.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
# Pages outside of docs/, and their names on the site.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "QUALITY_DECLARATION.md": "quality.md",
    "SECURITY.md": "security.md",
    "g2vlm_model/weights/nano/README.md": "card.md",
}
_LINK = re.compile(r"(\]\()(?!https?://|#|mailto:)([^)\s#]+)(#[^)\s]*)?(\))")


def place(path: str) -> str:
    """Where a file of the repository lies on the site."""
    if path in PAGES:
        return PAGES[path]
    return path.removeprefix("docs/") if path.startswith("docs/") else f"files/{path.lstrip('.')}"


def source(page: str) -> str:
    """The file in the repository of a page of the site."""
    return {site: path for path, site in PAGES.items()}.get(page, f"docs/{page}")


def linked(text: str, path: str) -> set[str]:
    """Files of the repository that a page of the repository links to; folders too."""
    folder = posixpath.dirname(path)
    return {posixpath.normpath(posixpath.join(folder, found[2])) for found in _LINK.finditer(text)}


def relinked(text: str, path: str) -> str:
    """A page's text with its links as they are on the site.

    Args:
        text: Markdown.
        path: Of the page in the repository.
    """
    here = posixpath.dirname(place(path))

    def changed(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), found[2]))
        return f"{found[1]}{posixpath.relpath(place(target), here)}{found[3] or ''}{found[4]}"

    return _LINK.sub(changed, text)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages and files outside of docs/ that pages link to."""
    from mkdocs.structure.files import File

    pages = {source(file.src_uri) for file in files.documentation_pages()} | set(PAGES)
    for path in sorted(PAGES):
        content = (REPO / path).read_text(encoding="utf-8")
        files.append(File.generated(config, PAGES[path], content=content))
    others: set[str] = set()
    for path in pages:
        others |= linked((REPO / path).read_text(encoding="utf-8"), path)
    for path in sorted(others - pages):
        if not path.startswith("docs/") and (REPO / path).is_file():
            carried = (REPO / path).read_bytes()
            files.append(File.generated(config, place(path), content=carried))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turn a page's links."""
    return relinked(markdown, source(page.file.src_uri))
