"""The runbook has a word on every alert and on every reason for which a person is asked about a reward."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
ALERTS = (ROOT / "ops" / "alerts.yml").read_text(encoding="utf-8")

ASKING = {"wants_attention"}
"""Functions that ask a person; their second argument says why."""
DOUBTING = {"_doubts", "_doubt"}
"""Functions whose answers say why a person is asked."""


def _sentence(node: ast.expr) -> str:
    """Return the longest part of a text that the program does not fill in."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return max((_sentence(value) for value in values), key=len, default="")
        case _:
            return ""


def _assigned(function: ast.AST, name: str) -> Iterator[ast.expr]:
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == name for to in node.targets):
            yield node.value


def _reasons_of_calls(function: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(function):
        if not isinstance(node, ast.Call):
            continue
        named = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        words = {word.arg: word.value for word in node.keywords}
        if named in ASKING:
            why = node.args[1]
        elif named == "Reading" and isinstance(words.get("is_clear"), ast.Constant):
            why = words["why"]
        else:
            continue
        yield from _assigned(function, why.id) if isinstance(why, ast.Name) else [why]


def _reasons_of_answers(function: ast.FunctionDef) -> Iterator[ast.expr]:
    for node in ast.walk(function):
        if isinstance(node, ast.Yield | ast.Return) and node.value is not None:
            yield node.value


def reasons() -> list[str]:
    """Return what the program says of rewards that need attention, without what is filled in."""
    found: set[str] = set()
    for path in sorted((ROOT / "worker").glob("*.py")):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            found |= {_sentence(why) for why in _reasons_of_calls(function)}
            if isinstance(function, ast.FunctionDef) and function.name in DOUBTING:
                found |= {_sentence(why) for why in _reasons_of_answers(function)}
    return sorted({reason.strip(" ,:;()") for reason in found} - {""})


def test_reasons_are_found() -> None:
    """What the other tests go through is not empty: one reason of each kind is there."""
    assert {
        "the redemption names no reward",
        "only a cancelled order has its reference",
        "a material reward that names no product and no sku",
        "its address has been erased; expected a new one",
    } <= set(reasons())


@pytest.mark.parametrize("reason", reasons())
def test_every_reason_is_explained(reason: str) -> None:
    """Whoever reads a reason in `rewardpost list` finds the same words in the runbook."""
    assert reason in RUNBOOK


@pytest.mark.parametrize("alert", re.findall(r"- alert: (\w+)", ALERTS))
def test_every_alert_is_explained(alert: str) -> None:
    """Each alert links to its own heading."""
    assert f"runbook_url: docs/runbook.md#{alert.lower()}\n" in ALERTS
    assert f"\n### {alert}\n" in RUNBOOK


def test_the_runbook_explains_no_alert_that_there_is_not() -> None:
    """A heading without its alert would be out of date."""
    section = RUNBOOK.partition("## Alerts")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^### (\w+)$", section, re.MULTILINE)) == sorted(re.findall(r"- alert: (\w+)", ALERTS))
