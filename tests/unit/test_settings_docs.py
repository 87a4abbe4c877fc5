"""What is written about the settings is what the settings are."""

import dataclasses
import re
from pathlib import Path

from cli import configuration
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


def test_the_configuration_is_described_as_it_is() -> None:
    """`make docs` would change nothing."""
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == configuration.markdown()


def test_readme_names_no_setting_that_there_is_not() -> None:
    """What a first installation needs is told by its real names."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", text))
    assert len(named) > 10
    assert named - set(VARIABLES) == set()
