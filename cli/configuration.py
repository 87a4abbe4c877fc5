"""docs/configuration.md, written out of the settings themselves: `make docs`."""

import dataclasses
import sys
from typing import Any

from rewardpost.settings import Settings, shown, variable

_HEAD = """# Configuration

All from the environment, of every process alike. A wrong or missing value stops a process at its start with the
variable's name and what was expected; `rewardpost doctor` prints what is in force. A secret may also stand in a file
that `<NAME>_FILE` names. This file is written by `make docs`.

| variable | default | meaning |
| --- | --- | --- |
"""


def markdown() -> str:
    """Return the whole document."""
    defaults = shown(Settings())
    return _HEAD + "".join(_row(field, defaults[variable(field)]) for field in dataclasses.fields(Settings))


def _row(field: "dataclasses.Field[Any]", default: str) -> str:
    name = variable(field)
    if isinstance(field.default, bool):
        default = str(int(field.default))
    also = f"; also `{name}_FILE`" if field.metadata["secret"] else ""
    return f"| `{name}` | {f'`{default}`' if default else ''} | {field.metadata['doc']}{also} |\n"


if __name__ == "__main__":
    sys.stdout.write(markdown())
