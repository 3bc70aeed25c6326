"""The snippets of docs/products.md, as files and commands of a user's home.

A block of `sh`, `python` or `js` is a program. Any other block is the content of the file that the last path before it
names, as in "Put this into `~/.config/x.yaml`:".
"""

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs/products.md"
ADDRESS = "http://127.0.0.1:8080"
PROGRAMS = {"sh", "python", "js"}


class Section:
    """A section of the page, for a sidecar at `root`."""

    def __init__(self, title, root):
        sections = re.split(r"^## (.*)\n", PAGE.read_text("utf-8"), flags=re.MULTILINE)
        text = dict(zip(sections[1::2], sections[2::2]))[title]
        self.files = {}
        self.programs = []
        at = 0
        for block in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            before, at = text[at : block.start()], block.end()
            language, content = block.groups()
            content = content.replace(ADDRESS, root)
            if language in PROGRAMS:
                self.programs.append(content)
            else:
                self.files[re.findall(r"`~/([^`]+)`", before)[-1]] = content

    def write(self, home):
        """Writes the files of the section below `home`."""
        for path, content in self.files.items():
            file = home / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, "utf-8")
