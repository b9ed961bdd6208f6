"""Protobuf's text format, as far as comparing config.pbtxt takes: fields with their values, all of them lists.

A value is text, or another message. https://protobuf.dev/reference/protobuf/textformat-spec
"""

import re

TOKEN = re.compile(r"""(?:\s|\#[^\n]*)*("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|[\w.+-]+|[{}\[\]<>:,;]|\S|$)""")


class Unreadable(Exception):
    """Where it is no text format."""


def read(text):
    return Reader(text).message(None)


class Reader:
    def __init__(self, text):
        self.text, self.at = text, 0
        self.advance()

    def advance(self):
        found = TOKEN.match(self.text, self.at)
        self.at, self.token = found.end(), found[1]

    def take(self, *wanted):
        if self.token not in wanted:
            return None
        taken = self.token
        self.advance()
        return taken

    def fail(self, wanted):
        line = self.text.count("\n", 0, self.at) + 1
        raise Unreadable(f"line {line} has {self.token or 'its end'} where {wanted} should be")

    def message(self, end):
        fields = {}
        while self.token != (end or ""):
            name = self.token
            if not re.fullmatch(r"[A-Za-z_]\w*", name):
                self.fail("a field")
            self.advance()
            self.take(":")
            fields.setdefault(name, []).extend(self.values())
            self.take(",", ";")
        self.advance()
        return fields

    def values(self):
        if not self.take("["):
            return [self.value()]
        values = []
        while not self.take("]"):
            values.append(self.value())
            if not self.take(",") and self.token != "]":
                self.fail("a comma")
        return values

    def value(self):
        if opened := self.take("{", "<"):
            return self.message({"{": "}", "<": ">"}[opened])
        if self.token[:1] in ('"', "'") and len(self.token) > 1:
            parts = []
            # Strings side by side are one.
            while self.token[:1] in ('"', "'") and len(self.token) > 1:
                parts.append(re.sub(r"\\(.)", r"\1", self.token[1:-1]))
                self.advance()
            return "".join(parts)
        if not re.fullmatch(r"[\w.+-]+", self.token):
            self.fail("a value")
        value = self.token
        self.advance()
        return value
