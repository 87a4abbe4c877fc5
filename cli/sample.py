"""The sample webhook: the bundled event in an envelope as Voucherify puts around one, the same bytes each time."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

PROJECT = "proj_sample"
ENVELOPE = "whs_5a3b1e000000000001"
SOURCE = "wh_5a3b1e000000000001"

_EVENT = "evcus_5a3b1e000000000001"
_TYPE = "customer.rewarded"
_MADE_AT = "2024-01-18T15:27:57.000Z"
_SAMPLES = resources.files("cli") / "samples"


def data() -> Any:  # noqa: ANN401 - any JSON
    """Return the event's object: a reward that is a product."""
    return json.loads((_SAMPLES / "customer_rewarded.data.json").read_text(encoding="utf-8"))


def addresses() -> Path:
    """Return the address file that knows the sample's customer, at an invented address."""
    return Path(str(_SAMPLES / "addresses.csv"))


def wrap(content: object, *, project: str = PROJECT, envelope: str = ENVELOPE, source: str = SOURCE) -> dict[str, Any]:
    """Return the whole webhook around an event's object.

    Args:
        content: what stands as `data`.
        project: whose webhook it is.
        envelope: the id of the send-out, which another send-out of the same event does not share.
        source: `wh_…` for a project's webhook, `distr_…` for a distribution.
    """
    kind = "distribution" if source.startswith("distr_") else "webhook"
    return {
        "id": envelope,
        "project_id": project,
        "created_at": _MADE_AT,
        "type": _TYPE,
        "data": content,
        "source": {"id": source, "object": kind, "target_url": "https://door.example/webhooks/voucherify"},
        "event": {
            "id": _EVENT,
            "type": _TYPE,
            "created_at": _MADE_AT,
            "group_id": "v0-sample",
            "event_source": {"channel": "INTERNAL"},
        },
    }


def distinct(webhook: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the webhook as one of another reward: with redemption, event and send-out of its own.

    Raises:
        KeyError: it has no `data`.
    """
    content = webhook["data"]
    if isinstance(content.get("redemption"), dict):
        content = {**content, "redemption": {**content["redemption"], "id": f"r_{name}"}}
    event = webhook.get("event")
    event = event if isinstance(event, dict) else {}
    return {**webhook, "id": f"whs_{name}", "data": content, "event": {**event, "id": f"evcus_{name}"}}


def encode(webhook: object) -> bytes:
    """Return the body: without insignificant white space, as Voucherify sends and signs it."""
    return json.dumps(webhook, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
