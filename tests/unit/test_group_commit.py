"""Group commit: who shares a write with whom, and what each caller is told."""

import asyncio
from collections.abc import Sequence

import pytest

from rewardpost.group_commit import GroupCommit


class Writer:
    """Writes groups when it is let, remembers them, and answers each item with its double."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.groups: list[list[int]] = []
        self.failure: Exception | None = None

    async def write(self, group: Sequence[int]) -> list[int | Exception]:
        """Wait until it is let, then answer or fail; 13 is unlucky by itself."""
        self.groups.append(list(group))
        await self.let.wait()
        if self.failure is not None:
            raise self.failure
        return [ValueError("unlucky") if item == 13 else 2 * item for item in group]


async def _start(commit: GroupCommit[int, int], items: Sequence[int]) -> list[asyncio.Future[int]]:
    """Put the first item on its way, then the others behind it."""
    first = commit.put(items[0])
    await asyncio.sleep(0)
    return [first, *(commit.put(item) for item in items[1:])]


async def test_what_waits_together_leaves_together() -> None:
    """The first leaves at once, alone; all that comes while it is in flight shares the next write."""
    writer = Writer()
    answers = await _start(GroupCommit(writer.write, most=10), [1, 2, 3, 4])
    assert writer.groups == [[1]]
    writer.let.set()
    assert await asyncio.gather(*answers) == [2, 4, 6, 8]
    assert writer.groups == [[1], [2, 3, 4]]


async def test_what_comes_in_the_same_moment_needs_one_write() -> None:
    """Callers of one turn of the loop do not wait for one another."""
    writer = Writer()
    writer.let.set()
    commit = GroupCommit(writer.write, most=10)
    assert await asyncio.gather(*(commit.put(item) for item in (1, 2, 3))) == [2, 4, 6]
    assert writer.groups == [[1, 2, 3]]


async def test_a_group_is_bounded_by_number() -> None:
    """No more than the bound leave together, in the order in which they came."""
    writer = Writer()
    answers = await _start(GroupCommit(writer.write, most=2), [1, 2, 3, 4, 5, 6])
    writer.let.set()
    await asyncio.gather(*answers)
    assert writer.groups == [[1], [2, 3], [4, 5], [6]]


async def test_a_group_is_bounded_by_size() -> None:
    """The sizes in a group stay within their bound; an item over it goes alone instead of never."""
    writer = Writer()
    commit: GroupCommit[int, int] = GroupCommit(writer.write, most=10, size=lambda item: item, most_size=10)
    answers = await _start(commit, [1, 4, 6, 1, 50, 2, 9, 1])
    writer.let.set()
    await asyncio.gather(*answers)
    assert writer.groups == [[1], [4, 6], [1], [50], [2], [9, 1]]


async def test_an_answer_that_is_an_exception_is_for_its_item_alone() -> None:
    """The others of the group get theirs."""
    writer = Writer()
    writer.let.set()
    commit = GroupCommit(writer.write, most=10)
    answers = await asyncio.gather(*(commit.put(item) for item in (1, 13, 2)), return_exceptions=True)
    assert answers[::2] == [2, 4]
    assert isinstance(answers[1], ValueError)


async def test_a_write_that_fails_fails_for_the_whole_group_only() -> None:
    """Everybody in it is told, and the next group is written."""
    writer = Writer()
    writer.failure = ConnectionResetError()
    writer.let.set()
    commit = GroupCommit(writer.write, most=10)
    answers = await asyncio.gather(*(commit.put(item) for item in (1, 2)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ConnectionResetError] * 2
    writer.failure = None
    assert await commit.put(3) == 6


async def test_a_wrong_number_of_answers_is_nobodys_answer() -> None:
    """Rather than answers out of step, or callers that wait for ever, the whole group fails."""

    async def write(group: Sequence[int]) -> list[int]:
        return list(group)[1:]

    commit: GroupCommit[int, int] = GroupCommit(write, most=10)
    answers = await asyncio.gather(*(commit.put(item) for item in (1, 2)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [RuntimeError] * 2


async def test_giving_up_takes_nothing_back() -> None:
    """An item whose caller has gone is written all the same, waiting or in flight, and the others are answered."""
    writer = Writer()
    answers = await _start(GroupCommit(writer.write, most=10), [1, 2, 3])
    answers[0].cancel()
    answers[1].cancel()
    writer.let.set()
    assert await answers[2] == 6
    assert writer.groups == [[1], [2, 3]]


async def test_settling_waits_for_all() -> None:
    """Afterwards nothing is waiting or in flight."""
    writer = Writer()
    commit = GroupCommit(writer.write, most=1)
    answers = await _start(commit, [1, 2, 3])
    writer.let.set()
    await commit.settle()
    assert [answer.result() for answer in answers] == [2, 4, 6]


@pytest.mark.parametrize("started", [True, False])
async def test_abandoning_tells_everybody_and_leaves_it_usable(*, started: bool) -> None:
    """What waits is never written, what is in flight is broken off, even before its first step."""
    writer = Writer()
    commit = GroupCommit(writer.write, most=1)
    answers = await _start(commit, [1, 2, 3]) if started else [commit.put(item) for item in (1, 2, 3)]
    await commit.abandon()
    assert all(answer.cancelled() for answer in answers)
    assert writer.groups == ([[1]] if started else [])
    writer.let.set()
    assert await commit.put(4) == 8


async def test_the_end_of_the_process_tells_everybody() -> None:
    """When all tasks are cancelled nothing more is written, and no caller is left waiting."""
    writer = Writer()
    answers = await _start(GroupCommit(writer.write, most=1), [1, 2, 3])
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.wait(answers, timeout=1)
    assert all(answer.cancelled() for answer in answers)
    assert writer.groups == [[1]]
