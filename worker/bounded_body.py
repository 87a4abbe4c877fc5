"""Reading an answer's body no further than a limit, so that no server can fill a worker's memory."""

import aiohttp


async def read_at_most(response: aiohttp.ClientResponse, limit: int) -> bytes | None:
    """Return the whole decompressed body, or None if it is longer than `limit` bytes.

    Raises:
        aiohttp.ClientError, OSError, TimeoutError: the answer broke off.
    """
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            response.close()
            return None
    return bytes(body)
