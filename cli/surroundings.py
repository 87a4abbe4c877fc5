"""The settings of a verb: the environment, completed by what a running `rewardpost dev` in this folder left."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from cli.failures import WrongSetting
from rewardpost.settings import Settings, SettingsError, load

DATA = Path("data")
"""Where `rewardpost dev` keeps its data unless it is told otherwise."""

_NOTE = "dev.json"


def settings() -> Settings:
    """Read the settings for this call.

    Raises:
        WrongSetting: a value is wrong.
    """
    try:
        return load(environment(os.environ, DATA))
    except SettingsError as exc:
        raise WrongSetting(str(exc)) from None


def environment(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the variables to go by: where none names a server, those of a running `dev` stand in for unset ones."""
    if environ.get("REDIS_URL") or environ.get("REDIS_URL_FILE"):
        return dict(environ)
    return completed(environ, read_note(folder))


def completed(environ: Mapping[str, str], defaults: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with defaults for those that are unset or empty; a secret in a file counts as set."""
    missing = {
        name: value for name, value in defaults.items() if not environ.get(name) and not environ.get(f"{name}_FILE")
    }
    return {**environ, **missing}


def write_note(folder: Path, variables: Mapping[str, str]) -> None:
    """Leave word of a running `dev`, readable for its own user alone."""
    path = folder / _NOTE
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps({"pid": os.getpid(), "environment": dict(variables)}), encoding="utf-8")
    fresh.replace(path)


def remove_note(folder: Path) -> None:
    """Take the word back, if it is ours."""
    try:
        note = json.loads((folder / _NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if note["pid"] == os.getpid():
        (folder / _NOTE).unlink(missing_ok=True)


def read_note(folder: Path) -> dict[str, str]:
    """Return the variables of a `dev` that runs on this folder; empty when none does."""
    try:
        note = json.loads((folder / _NOTE).read_text(encoding="utf-8"))
        os.kill(note["pid"], 0)
        return {str(name): str(value) for name, value in note["environment"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # none has run here, or it was killed and could not tidy up
