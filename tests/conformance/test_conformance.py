"""Every provider does what the protocol promises, against its other side, which really runs.

Each module in `beds` opens one; a provider without a bed, or whose other side is not there, is skipped with the reason.
"""

import importlib
import pkgutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conformance import beds
from tests.conformance.bed import Bed
from tests.conformance.scenarios import SCENARIOS, Scenario
from tests.conformance.steps import ready
from worker.providers import registry

BEDS = {module.name for module in pkgutil.iter_modules(beds.__path__)}
FIFTH = Path(__file__).parent / "fifth.py"


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=sorted(BEDS | {*registry.names()}))
async def bed(request: pytest.FixtureRequest) -> AsyncIterator[Bed]:
    """One bed for all scenarios of a provider, since its other side may take long to start."""
    if request.param not in BEDS:
        pytest.skip(f"{request.param}: it has no bed in tests/conformance/beds")
    module = importlib.import_module(f"{beds.__name__}.{request.param}")
    if module.AVAILABLE is not None:
        pytest.skip(f"{request.param}: {module.AVAILABLE}")
    async with module.open_bed() as bed:
        yield bed
        for _ in range(2):
            await bed.provider.close()  # which is harmless, however often


@pytest.mark.timeout(600)
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("scenario", [pytest.param(scenario, id=scenario.__name__) for scenario in SCENARIOS])
async def test_provider_keeps_its_promises(bed: Bed, scenario: Scenario) -> None:
    """Each scenario says in its own docstring what it is about."""
    guarantee = bed.provider.guarantee
    if guarantee not in SCENARIOS[scenario]:
        pytest.skip(f"not for the guarantee {guarantee}")
    if bed.faults is not None:
        bed.faults.plan.clear()  # of a scenario that failed
    await ready(bed)
    await scenario(bed)


def test_every_provider_has_a_bed() -> None:
    """A provider that nothing tries is not one."""
    assert set(registry.names()) <= BEDS


def test_a_provider_takes_less_than_sixty_lines_of_code() -> None:
    """The fifth one is an example for whoever writes a sixth: its class stays as short as docs say."""
    _, _, section = FIFTH.read_text(encoding="utf-8").partition("\nclass Shop")
    lines = [line for line in section.splitlines() if line.strip()]
    assert 30 < len(lines) < 60
