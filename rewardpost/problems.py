"""Errors as other programs read them: `application/problem+json` (RFC 9457)."""

import json
from collections.abc import Mapping

from aiohttp import web

_CONTENT_TYPE = "application/problem+json"


def problem(status: int, title: str, detail: str = "", headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an error answer.

    `title` is the same for every occurrence; `detail` says what was expected and what came, never a payload.
    """
    content: dict[str, object] = {"type": "about:blank", "title": title, "status": status}
    if detail:
        content["detail"] = detail
    return web.Response(
        status=status,
        body=json.dumps(content).encode(),
        content_type=_CONTENT_TYPE,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
