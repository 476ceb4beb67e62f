"""An HTML page taken apart, for tests of what it says and of what it must not hold."""

from html.parser import HTMLParser

VOID = {"meta", "br", "img", "input", "hr", "link"}


class Page(HTMLParser):
    """Elements, attributes and text of a page; refuses elements that are closed out of order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data)

    def names(self) -> list[str]:
        return [name for name, _ in self.elements]

    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())
