"""The door's second route, for ShipBob's webhooks: who is let in, and what is stored then."""

import base64
import gzip
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from arq.connections import ArqRedis
from standardwebhooks import Webhook

from cli.embedded_server import EmbeddedServer
from rewardpost import codec
from rewardpost.delivery import Delivery, delivery_id
from rewardpost.keys import Keys
from tests.door_client import LIMIT, Door, Reply, opened, stored

PATH = "/webhooks/shipbob"
SECRET = "whsec_" + base64.b64encode(b"the secret of ShipBob's tests").decode()
OLDER = "whsec_" + base64.b64encode(b"the one before").decode()
BODY = json.dumps({"id": 10, "order_id": 1, "reference_id": "vfy-r_1", "status": "Completed"}).encode()


@pytest.fixture
async def door(server: EmbeddedServer, redis: ArqRedis) -> AsyncIterator[Door]:
    """A door on the session's server, which is empty, that takes ShipBob's webhooks in."""
    assert await redis.dbsize() == 0
    async with opened(server.url, SHIPBOB_WEBHOOK_SECRETS=f"{OLDER}, {SECRET}") as door:
        yield door


def _signed(body: bytes, secret: str = SECRET, *, ago: timedelta = timedelta(), text: str = "") -> dict[str, str]:
    sent = datetime.now(UTC) - ago
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(sent.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", sent, text or body.decode()),
        "x-webhook-topic": "order.shipped",
        "Content-Type": "application/json",
    }


async def _post(door: Door, headers: dict[str, str], body: bytes = BODY) -> Reply:
    return await door.request("POST", PATH, data=body, headers=headers)


async def test_a_signed_webhook_is_stored_whole(door: Door, redis: ArqRedis, keys: Keys) -> None:
    """It goes the way of all deliveries, under the name of its source, and nobody has looked inside."""
    answer = await _post(door, _signed(BODY))
    assert answer.status == 202
    assert answer.content() == {"delivery": delivery_id(BODY), "status": "stored"}
    job_id = keys.delivery_job(delivery_id(BODY))
    assert await stored(redis, keys) == [job_id]
    job = codec.decode(await redis.get(keys.job(job_id)))
    delivery = msgspec.convert(job["a"][0], Delivery)
    assert (job["f"], delivery.source, delivery.body) == ("open_delivery", "shipbob", BODY)
    assert set(delivery.headers) == {"content-type", "user-agent"}


async def test_any_of_the_secrets_will_do(door: Door) -> None:
    """Secrets change while webhooks are on their way; a sender may sign with several too."""
    assert (await _post(door, _signed(BODY, OLDER))).status == 202
    headers = _signed(BODY)
    unknown = _signed(BODY, "whsec_b3RoZXI=")["webhook-signature"]
    headers["webhook-signature"] = f"v1a,AAAA {unknown} {headers['webhook-signature']}"
    assert (await _post(door, headers)).status == 202


async def test_a_repeat_is_a_duplicate(door: Door, redis: ArqRedis, keys: Keys) -> None:
    """ShipBob comes again until it is answered; the same body is stored once."""
    answers = [await _post(door, _signed(BODY, ago=timedelta(seconds=ago))) for ago in (0, 5)]
    assert [answer.content()["status"] for answer in answers] == ["stored", "duplicate"]
    assert len(await stored(redis, keys)) == 1


async def test_the_signature_is_over_the_body_as_it_was_before_its_coding(door: Door) -> None:
    """A proxy between may compress."""
    headers = _signed(b"", text=BODY.decode()) | {"Content-Encoding": "gzip"}
    answer = await _post(door, headers, gzip.compress(BODY))
    assert (answer.status, answer.content()["delivery"]) == (202, delivery_id(BODY))


@pytest.mark.parametrize(
    ("changes", "body"),
    [
        pytest.param({"webhook-id": "msg_2"}, BODY, id="another message"),
        pytest.param({"webhook-timestamp": "soon"}, BODY, id="no time"),
        pytest.param({"webhook-timestamp": "nan"}, BODY, id="no number"),
        pytest.param({"webhook-timestamp": "1e300"}, BODY, id="no time of this world"),
        pytest.param({"webhook-signature": "v1,"}, BODY, id="empty"),
        pytest.param({"webhook-signature": "v1"}, BODY, id="no comma"),
        pytest.param({"webhook-signature": "v1,a,b"}, BODY, id="two commas"),
        pytest.param({"webhook-signature": "v1,*"}, BODY, id="no base64"),
        pytest.param({"webhook-signature": "v1," + "é" * 3}, BODY, id="not ascii"),
        pytest.param({"webhook-id": "é"}, BODY, id="an id that is not ascii"),
        pytest.param({}, BODY + b" ", id="another body"),
        pytest.param({}, b"\xff", id="not text"),
        pytest.param({}, b"", id="no body"),
    ],
)
async def test_a_bad_signature_is_401(door: Door, redis: ArqRedis, changes: dict[str, str], body: bytes) -> None:
    """What ShipBob has not signed lately is not stored; the answer says what was expected."""
    answer = await _post(door, _signed(BODY) | changes, body)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "webhook-signature"
    assert "webhook-timestamp" in answer.content()["detail"]
    assert await redis.dbsize() == 0


@pytest.mark.parametrize("minutes", [6, -6])
async def test_a_message_of_another_time_is_401(door: Door, redis: ArqRedis, minutes: int) -> None:
    """Whoever has recorded a webhook cannot play it again later."""
    assert (await _post(door, _signed(BODY, ago=timedelta(minutes=minutes)))).status == 401
    assert await redis.dbsize() == 0


async def test_another_secret_is_401(door: Door, redis: ArqRedis) -> None:
    """A signature that is right in every way but for its secret is none."""
    assert (await _post(door, _signed(BODY, "whsec_b3RoZXI="))).status == 401
    assert await redis.dbsize() == 0


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
async def test_each_header_comes_exactly_once(door: Door, redis: ArqRedis, name: str) -> None:
    """With two of one nobody knows which was meant."""
    headers = list(_signed(BODY).items())
    for given in ([pair for pair in headers if pair[0] != name], [*headers, (name, dict(headers)[name])]):
        answer = await door.request("POST", PATH, data=BODY, headers=given)
        assert answer.status == 401
    assert await redis.dbsize() == 0


async def test_it_is_a_door_like_the_other(door: Door) -> None:
    """Methods and sizes have the same bounds."""
    answer = await door.request("GET", PATH)
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    large = b"x" * (LIMIT + 1)
    answer = await door.request("POST", PATH, data=io.BytesIO(large), headers=_signed(large))
    assert answer.status == 413


async def test_one_sources_signature_opens_no_other_route(door: Door, redis: ArqRedis) -> None:
    """Each route has its own secrets; unsigned is no way in either."""
    assert (await door.post(BODY, headers=_signed(BODY), signature="")).status == 401
    assert (await door.request("POST", PATH, data=BODY)).status == 401
    assert await redis.dbsize() == 0


async def test_both_routes_are_open(door: Door, redis: ArqRedis, keys: Keys) -> None:
    """Voucherify's webhooks come in as before."""
    assert (await door.post()).status == 202
    assert (await _post(door, _signed(BODY))).status == 202
    assert len(await stored(redis, keys)) == 2


@pytest.mark.parametrize("environ", [{}, {"VOUCHERIFY_ALLOW_UNSIGNED": "1", "VOUCHERIFY_WEBHOOK_SECRETS": ""}])
async def test_without_a_secret_there_is_no_such_route(
    server: EmbeddedServer, redis: ArqRedis, environ: dict[str, str]
) -> None:
    """A hint that nobody signed is not taken in, whatever holds for Voucherify."""
    async with opened(server.url, **environ) as door:
        assert (await _post(door, _signed(BODY))).status == 404
    assert await redis.dbsize() == 0
