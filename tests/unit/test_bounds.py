"""What ids and labels become before they are stored."""

import pytest

from worker import bounds


@pytest.mark.parametrize("text", ["r_1", "a b/c'\"d", "ä" * 200, "jane@shop.test", ""])
def test_ordinary_ids_are_kept_whole(text: str) -> None:
    """Spaces, slashes and quotes are a part of an id."""
    assert bounds.identifier(text) == text


@pytest.mark.parametrize("text", ["a" * 201, "a" * 10_000, "a\nb", "a\x00", "a\x1b[31m", "a\u202eb"])
def test_other_ids_get_a_stand_in_that_can_be_stored(text: str) -> None:
    """It is short and can be printed, and no id is mistaken for it."""
    stored = bounds.identifier(text)
    assert stored != text
    assert len(stored) <= bounds.LONGEST_ID
    assert bounds.identifier(stored) == stored


def test_stand_ins_are_as_distinct_as_the_ids() -> None:
    """Two ids that differ in their ten thousandth character, or in a control character, stay two."""
    ids = ["a" * 9_999 + "b", "a" * 9_999 + "c", "a\n", "a\t", "a?"]
    assert len({bounds.identifier(text) for text in ids}) == len(ids)


def test_labels_are_one_short_line() -> None:
    """A name for people has no line breaks, no terminal's commands and no more than its length."""
    assert bounds.label(" Blue\r\nmug\x1b[31m ", 100) == "Blue mug [31m"
    assert bounds.label("x" * 500, 100) == "x" * 100
    assert bounds.label(None, 100) == ""
