"""What a page holds, and a text that would be more than text in one."""

import html.parser

# It would end a text, an attribute, a style sheet and a formula, and be a tag
# and a template. There is no slash in it: a folder has that name.
HOSTILE = """"'><script>alert(1)<style>&amp;{{ 7 * 7 }}{% x %}$\\x$"""


class Outline(html.parser.HTMLParser):
    """Collects what a page holds, and checks that its tags nest."""

    VOID = ("meta", "img", "source")

    def __init__(self, text):
        super().__init__()
        self.text, self.images, self.addresses = "", [], []
        self.elements = []
        self._open = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.elements.append((tag, *attributes))
        if tag == "img":
            self.images.append(attributes)
        self.addresses += [
            attributes[name]
            for name in ("src", "srcset", "href")
            if name in attributes
        ]
        assert tag != "script"
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data
