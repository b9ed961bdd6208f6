#!/usr/bin/env python3
"""Makes `tests/recipes/*.pt` by running the Python of docs/recipes.md.

    scripts/models/recipe_fixtures.py

The page's own modules are what the test serves: a comment of the page names the file that stands for each
`model.pt`. Those that lie elsewhere, of large weights, aren't made here.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

import repository

ROOT = Path(__file__).resolve().parents[2]
MADE = re.compile(r"^<!-- (\S+/model\.pt) is (tests/recipes/\S+) -->$", re.MULTILINE)
PYTHON = re.compile(r"^```python title=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def main() -> None:
    for recipe in re.split(r"^## ", (ROOT / "docs/recipes.md").read_text(), flags=re.MULTILINE)[1:]:
        if not (made := MADE.search(recipe)):
            continue
        place, fixture = made.groups()
        # The first makes the model; clients come behind it.
        name, text = PYTHON.search(recipe).groups()
        with tempfile.TemporaryDirectory() as scratch:
            model = Path(scratch) / place
            model.parent.mkdir(parents=True)
            (Path(scratch) / name).write_text(text)
            subprocess.run([sys.executable, "-W", "ignore", name], cwd=scratch, check=True)
            repository.save(torch.jit.load(str(model)), ROOT / fixture)
        print(fixture, (ROOT / fixture).stat().st_size)


if __name__ == "__main__":
    main()
