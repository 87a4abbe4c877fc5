"""The reference in its four forms, and what a person may type for it."""

import pytest

from rewardpost import reference

LONGEST = "r_" + 30 * "a"


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (reference.for_redemption("r_0b9a"), "vfy-r_0b9a"),
        (reference.for_redemption(LONGEST), f"vfy-{LONGEST}"),
        (reference.for_event("evcus_1"), "vfy-evcus_1"),
        (reference.for_redemption("r 1"), "vfy-h-u3yrcpeabegnvukyieowky4s5a"),
        (reference.for_event("r_1"), "vfy-h-"),
        (reference.for_redemption("evcus_1"), "vfy-h-"),
        (reference.for_redemption(LONGEST + "a"), "vfy-h-"),
        (reference.for_redemption(""), "vfy-h-"),
        (reference.for_redemption("r_é"), "vfy-h-"),
        (reference.for_redemption("r-1"), "vfy-h-"),
        (reference.for_delivery("abc"), "vfy-d-"),
    ],
)
def test_each_form(made: str, expected: str) -> None:
    """Plain ids stand as they are; what is too long, foreign or ambiguous is a digest of its kind."""
    assert made == expected or (expected.endswith("-") and made.startswith(expected) and len(made) == 32)


def test_a_reference_is_the_same_for_ever() -> None:
    """A new release must find the rewards of the old one: these digests were taken down once."""
    assert reference.for_redemption("r 1") == "vfy-h-u3yrcpeabegnvukyieowky4s5a"
    assert reference.for_delivery("0" * 32) == "vfy-d-gs4g6jzs5zxj6hlyfkrrcwh67m"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("r_1", "vfy-r_1"),
        ("vfy-r_1", "vfy-r_1"),
        ("vfy-r_1-g2", "vfy-r_1"),
        ("vfy-r_1-g99", "vfy-r_1"),
        ("vfy-evcus_1", "vfy-evcus_1"),
        ("vfy-g2", "vfy-g2"),
        ("g2", "vfy-g2"),
        ("r 1", reference.for_redemption("r 1")),
    ],
)
def test_a_person_may_type_a_redemption_or_a_reference(typed: str, expected: str) -> None:
    """A parcel's label shows the generation, which leads to the same reward."""
    assert reference.parse(typed) == expected


def test_the_first_generation_is_not_written() -> None:
    """Nearly all rewards have only one."""
    assert [reference.at_provider("vfy-r_1", number) for number in (1, 2, 99)] == [
        "vfy-r_1",
        "vfy-r_1-g2",
        "vfy-r_1-g99",
    ]
