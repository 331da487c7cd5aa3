"""The command lines and files in the code of a document."""
import os
import re
import textwrap

from hosts import PROJECT, Failed

WHEN = '"2026-11-28 03:00"'     # replaced by a moment


class Document:
    def __init__(self, path):
        self.path = path
        self.blocks = []
        with open(self.source(path), encoding="utf-8") as h:
            lines = h.read().split("\n")
        fenced = open_ = False
        for text in lines:
            if text.startswith("```"):
                fenced, open_ = not fenced, False
            elif fenced or text.startswith("    "):
                if not open_:
                    self.blocks.append([])
                self.blocks[-1].append(text)
                open_ = True
            else:
                open_ = False
        self.raw = self.blocks
        self.blocks = [[t.strip() for t in b] for b in self.raw]
        self.left = {self.command(t) for b in self.blocks for t in self.typed(b) if self.is_command(t)}

    @staticmethod
    def typed(block):
        """The lines of a block. In a transcript, only those after a "$ ": the others are what a program has printed."""
        if not block[0].startswith("$ "):
            return block
        return [t[2:] for t in block if t.startswith("$ ")]

    @staticmethod
    def source(path):
        return os.path.join(PROJECT, path)

    @staticmethod
    def command(text):
        """A line without its comment."""
        return text.split(" # ")[0].split("      #")[0].strip()

    @staticmethod
    def is_command(text):
        return bool(text) and not text.startswith("#") and "  cmd=" not in text and text.split()[0].rstrip(":") == text.split()[0] \
            and text not in ("}", "...") and not text.endswith("{")

    def line(self, text):
        """Notes that the line was run. It must be in the document."""
        if not any(self.command(t) == text for b in self.blocks for t in self.typed(b)):
            raise Failed("%s has no line: %s" % (self.path, text))
        self.left.discard(text)
        return text

    def file(self, first, *more, indented=False):
        """The block of a file that begins with this line, and has more lines. It is indented as in the document, or not at all."""
        for b, raw in zip(self.blocks, self.raw):
            if b[0] == first and all(m in b for m in more):
                self.left -= {self.command(t) for t in b}
                return textwrap.dedent("\n".join(raw)) + "\n" if indented else "\n".join(b) + "\n"
        raise Failed("%s has no block that begins with %s and has %s" % (self.path, first, more))

    def output(self, first, said, *more):
        """A block that a program has printed. Its first line, and more of them, occur in said, with other figures and blanks."""
        block = [b for b in self.blocks if b[0] == first]
        if not block:
            raise Failed("%s has no block that begins with %s" % (self.path, first))
        self.left -= {self.command(t) for t in block[0]}
        for t in more if first.startswith("$ ") else (first, *more):
            if t not in block[0]:
                raise Failed("%s: %s is not in the block of %s" % (self.path, t, first))
            if shape(t) not in [shape(line) for line in said.split("\n")]:
                raise Failed("%s shows this line:\n%s\nThe program has printed:\n%s" % (self.path, t, said))

    def skip(self, text, why):
        assert why
        self.line(text)

    def check(self, source=""):
        """Fails if a line was not run, and is not in the source of a section that was left out either."""
        left = [t for t in self.left if t.replace(WHEN, "%s") not in source]
        if left:
            raise Failed("%s: nothing runs these lines:\n  %s" % (self.path, "\n  ".join(sorted(left))))


def shape(line):
    """A line of output without its blanks and figures, the units of these, and the plural of what they count."""
    line = re.sub(r"<?\d[\d.,]*( ?([KMGT]i)?B\b)?", "#", " ".join(line.split()))
    return re.sub(r"(# [a-z]+?)s?\b", r"\1", line)
