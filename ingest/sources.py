"""Where webhooks come from: the path of each source, and how its webhooks are verified; no event is known here.

| source | path | verified by |
| --- | --- | --- |
| `voucherify` | `/webhooks/voucherify` | its own header, see `signature` |
| `shipbob` | `/webhooks/shipbob` | Standard Webhooks, see `verified_by_standard` |
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from multidict import CIMultiDictProxy
from standardwebhooks import Webhook, WebhookVerificationError

from ingest import signature
from rewardpost.settings import Settings

Verification = Callable[[bytes, CIMultiDictProxy[str]], bool]
"""Says of a body and the headers that came with it whether the source sent them."""

STANDARD_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Who sends webhooks, and how that is seen."""

    name: str
    path: str
    verified: Verification | None
    """None takes every body for the source's own."""
    scheme: str
    """The header that carries the signature, which an answer 401 names."""
    expected: str
    """What a webhook has to come with, for whoever was refused."""


def voucherify(settings: Settings) -> Source:
    """Return the source that is always open; without a secret nothing is verified."""
    secrets = settings.voucherify_webhook_secrets

    def verified(body: bytes, headers: CIMultiDictProxy[str]) -> bool:
        return signature.verify(body, headers.getall(signature.HEADER, ()), secrets)

    return Source(
        name="voucherify",
        path="/webhooks/voucherify",
        verified=verified if secrets else None,
        scheme=signature.HEADER,
        expected=f"expected one {signature.HEADER} header with the body's signature",
    )


def providers(settings: Settings) -> Sequence[Source]:
    """Return the providers whose webhooks are let in: those with a secret, since a hint may come from anyone."""
    if not settings.shipbob_webhook_secrets:
        return []
    shipbob = Source(
        name="shipbob",
        path="/webhooks/shipbob",
        verified=verified_by_standard(settings.shipbob_webhook_secrets),
        scheme=STANDARD_HEADERS[-1],
        expected=f"expected the headers {', '.join(STANDARD_HEADERS)}, once each, of the last five minutes",
    )
    return [shipbob]


def verified_by_standard(secrets: Sequence[str]) -> Verification:
    """Return the verification of Standard Webhooks with any of these secrets.

    Old and early messages are refused (https://github.com/standard-webhooks/standard-webhooks, "Verifying signatures").
    """
    signers = [Webhook(secret) for secret in secrets]

    def verified(body: bytes, headers: CIMultiDictProxy[str]) -> bool:
        if any(len(headers.getall(name, [])) != 1 for name in STANDARD_HEADERS):
            return False
        given = {name: headers[name] for name in STANDARD_HEADERS}
        matches = [_made_by(signer, body, given) for signer in signers]
        return any(matches)  # over the finished list: how long it took does not tell which secret it was

    return verified


def _made_by(signer: Webhook, body: bytes, headers: dict[str, str]) -> bool:
    try:
        signer.verify(body, headers, json_parse=False)
    except (WebhookVerificationError, ValueError):  # the library lets through what its parsing raises
        return False
    return True
