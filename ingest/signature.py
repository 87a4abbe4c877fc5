"""Whether a body carries a signature of ours: pure, in constant time over all secrets.

Voucherify signs the body with HMAC-SHA256, in lower-case hexadecimal, after removing insignificant white space
(https://docs.voucherify.io/docs/introduction-to-webhooks). What arrives may still have that white space, so the
bytes as they came are tried first and then the body without it. Nothing is parsed and written again: that would
change numbers and escapes.
"""

import hmac
import re
from collections.abc import Sequence

HEADER = "X-Voucherify-Signature"

_SIGNATURE = re.compile(r"[0-9a-f]{64}")

# A string with its white space (one that never ends reaches to the end of the body), or anything else without.
# Possessive: a match is never given up, so the time is linear whatever the bytes are.
_SIGNIFICANT = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[^ \t\r\n"]++', re.DOTALL)


def verify(body: bytes, header_values: Sequence[str], secrets: Sequence[str]) -> bool:
    """Say whether exactly one well-formed signature came with the body and one of the secrets made it."""
    if len(header_values) != 1 or _SIGNATURE.fullmatch(header_values[0]) is None:
        return False
    claimed = header_values[0].encode()
    if _made_by_any(body, claimed, secrets):
        return True
    compact = without_insignificant_space(body)
    return len(compact) != len(body) and _made_by_any(compact, claimed, secrets)


def without_insignificant_space(body: bytes) -> bytes:
    """Return the body without space, tab, carriage return and line feed outside strings; all else is kept."""
    return b"".join(_SIGNIFICANT.findall(body))


def _made_by_any(message: bytes, claimed: bytes, secrets: Sequence[str]) -> bool:
    matches = [
        hmac.compare_digest(hmac.digest(secret.encode(), message, "sha256").hex().encode(), claimed)
        for secret in secrets
    ]
    return any(matches)  # over the finished list: how long it took does not tell which secret it was
