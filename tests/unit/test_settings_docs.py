"""What is written about the settings is what the settings are."""

import dataclasses
import re
from pathlib import Path

import pytest

from rewardpost.settings import Settings, load, shown, variable

ROOT = Path(__file__).parents[2]
VARIABLES = {variable(field): field for field in dataclasses.fields(Settings)}


def test_env_example_names_every_setting_and_no_other() -> None:
    """A setting that is added, renamed or removed has to be so in .env.example too."""
    named = re.findall(r"^#? ?([A-Z][A-Z_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(VARIABLES)


def test_env_example_shows_the_defaults_and_can_be_loaded() -> None:
    """Whoever takes the comment signs away gets the very defaults."""
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    environ = dict(re.findall(r"^#? ?([A-Z][A-Z_]+)=(.*)$", text, re.MULTILINE))
    assert shown(load(environ)) == shown(Settings())


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_readme_describes_every_setting(name: str) -> None:
    """Each setting has its line in the README's table, with the meaning that the code gives it."""
    lines = [line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if f"| `{name}` |" in line]
    assert len(lines) == 1
    assert VARIABLES[name].metadata["doc"] in lines[0]
