"""Reads an HTML page: what is in it, and what it may do."""

from __future__ import annotations

from html.parser import HTMLParser

_EMPTY = {"meta", "link", "input", "rect"}


class Html(HTMLParser):
    """A page's elements, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self.open: list[str] = []
        """What was opened and not closed, which is nothing in the end."""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.pieces).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def links(self) -> list[str]:
        return [each["href"] or "" for each in self.all("a")]

    @property
    def active(self) -> list[str]:
        """What would run or load something, beside the page's own script, style and icon."""
        own = {"static/page.js", "static/page.css", "static/icon.svg"}
        found = [
            f"{tag} {name}={value}"
            for tag, attributes in self.elements
            for name, value in attributes.items()
            if name.startswith("on")
            or name == "style"
            or (name in {"src", "srcset", "action", "formaction"} and ":" in (value or ""))
            or (name == "href" and (value or "").startswith(("javascript:", "data:", "//", "http")))
            or (tag in {"script", "link"} and name in {"src", "href"} and value not in own)
        ]
        tags = {"script", "link", "iframe", "object", "embed", "img", "style", "base"}
        loading = [tag for tag, _ in self.elements if tag in tags]
        return found + loading[3:]
