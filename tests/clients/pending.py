"""What the server doesn't do yet. The tests are here and run: one that begins to pass fails, until its
mark is taken away."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from server import Refused


class NotYet(Exception):
    """The server said at its start that it doesn't do this."""


@contextmanager
def unless(words: str) -> Iterator[None]:
    """A server that is started in the block may be refused in these words, and in no others."""
    try:
        yield
    except Refused as refused:
        if words in str(refused):
            raise NotYet(str(refused)) from refused
        raise


def _until(what: str) -> pytest.MarkDecorator:
    return pytest.mark.xfail(reason=what, strict=True, raises=NotYet)


POLICIES = _until("priorities and time limits in config.pbtxt are refused")
