"""What every report must be: a page that parses, needs nothing else and shows all its pictures."""

import re
from html.parser import HTMLParser
from pathlib import Path

VOID = ("meta", "img")


class Page(HTMLParser):
    """The tags and the text of a page, and what it would have to fetch."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.fetched, self.attributes, self.text, self.open = [], [], [], "", []
        self.feed(page)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open += [] if tag in VOID else [tag]
        self.attributes += attrs
        addresses = [value for name, value in attrs if name in ("src", "href")]
        self.fetched += [one for one in addresses if not one.startswith(("data:", "#"))]

    def handle_endtag(self, tag):
        assert tag in VOID or self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def check(folder, name="report"):
    """Refuse a report in `folder` that isn't whole; the names of its pictures.

    A picture that lies beside it must be shown, too; small photos are the page's alone.
    """
    folder = Path(folder)
    text = (folder / f"{name}.md").read_text(encoding="utf-8")
    html = (folder / f"{name}.html").read_text(encoding="utf-8")
    page = Page(html)
    assert not page.fetched
    assert "http" not in re.sub(r"data:[^\"]+", "", html).replace("http://localhost", "")
    pictures = re.findall(r"^!\[.*\]\((.+)\)$", text, re.MULTILINE)
    assert set(pictures) == {file.name for file in folder.glob("*.png")}
    assert len(re.findall(r'src="data:image/png', html)) == len(pictures)
    for kind, level in (("h1", "# "), ("h2", "## "), ("h3", "### ")):
        assert page.tags.count(kind) == len(re.findall(f"^{level}", text, re.MULTILINE))
    assert page.tags.count("table") == len(re.findall(r"^\|( :?--:? \|)+$", text, re.MULTILINE))
    of_photos = text.startswith("# Audit of")
    assert of_photos or text.endswith("Research software: nothing here is for diagnosis.\n")
    return pictures
