"""The labels of metrics are the words that the program uses, and no others."""

import re
from pathlib import Path

from prometheus_client import REGISTRY

from rewardpost import metrics

ROOT = Path(__file__).parents[2]
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "worker").rglob("*.py")))

_CODE = r'(?:\bcode=|_ReadingError\(\s*|_set_aside\(\s*job, )"(\w+)"'
_KIND = r'(?:\bFinding\(\s*kind=|^(?:UNKNOWN_ORDER|TWO_ORDERS|ORDER_FOR_ENDED|UNRECORDED_ORDER) = )"(\w+)"'


def test_every_reason_of_a_dead_letter_has_its_label() -> None:
    """A new reason that is not listed would be counted as `other`."""
    assert set(re.findall(_CODE, SOURCE)) == metrics.DEAD_LETTER_CODES


def test_every_kind_of_finding_is_counted_from_the_start() -> None:
    """An alert on the increase of a counter misses the first one where the counter was not there before."""
    assert set(re.findall(_KIND, SOURCE, re.MULTILINE)) == metrics.FINDING_KINDS


def test_a_reason_that_is_not_known_is_another_one() -> None:
    """What stands in a dead letter of another release makes no label of its own."""
    assert metrics.dead_letter_label("not_json") == "not_json"
    assert metrics.dead_letter_label("of another release") == metrics.OTHER


def test_names_are_those_of_prometheus() -> None:
    """Everything is ours by its name, told in base units, and explained."""
    ours = [family for family in REGISTRY.collect() if family.name.startswith("rewardpost_")]
    assert len(ours) > 20
    for family in ours:
        assert not re.search(r"_(?:ms|milliseconds|minutes|hours|kb|percent)$", family.name)
        assert family.documentation.endswith(".")
        if family.type == "histogram":
            assert family.name.endswith(("_seconds", "_bytes"))
