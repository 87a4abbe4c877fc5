"""The workshop: claims deliveries and rewards from the queue and gets each reward to its customer."""

import os
from typing import Any


def __getattr__(name: str) -> Any:  # noqa: ANN401 - what a module's attribute hook returns
    """Build `WorkerSettings` when `arq worker.WorkerSettings` asks for it, and not at import."""
    if name != "WorkerSettings":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from worker.composition import worker_settings  # noqa: PLC0415 - nothing is read or built at import

    return worker_settings(os.environ)
