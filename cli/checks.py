"""What `rewardpost doctor` looks at, each check on its own; they read and never write."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime

import aiohttp
from redis.exceptions import ResponseError

from cli.desk import Desk
from rewardpost import durability, logs
from rewardpost.states import State
from worker.address_sources import registry as address_sources
from worker.address_sources.voucherify import build as build_voucherify
from worker.providers import registry as providers
from worker.providers.protocol import Finding

LEAST_VERSION = (7, 0)
"""Of Redis; every Valkey is newer than that (https://valkey.io/topics/migration/)."""

_FULL = 0.8
_CLOCK_SECONDS = 2.0
_MEBIBYTE = 1024 * 1024

Check = Callable[[Desk, aiohttp.ClientSession], Awaitable[Sequence[Finding]]]


async def server(desk: Desk, _: aiohttp.ClientSession) -> Sequence[Finding]:
    """Look at the version and the clock; raises a member of UNREACHABLE when the server does not answer."""
    info = await desk.redis.info("server")
    before = time.time()
    seconds, microseconds = await desk.redis.time()
    here = (before + time.time()) / 2
    return [version(info), clock(seconds + microseconds / 1_000_000 - here)]


def version(info: Mapping[str, object]) -> Finding:
    """Judge the section `server` of INFO."""
    if info.get("valkey_version"):
        return Finding(ok=True, what=f"Valkey {info['valkey_version']} answers")
    found = str(info.get("redis_version", "0"))
    parts = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    wanted = ".".join(str(part) for part in LEAST_VERSION)
    return Finding(
        ok=parts >= LEAST_VERSION,
        what=f"Redis {found} answers, expected {wanted} or newer, or Valkey",
        todo="" if parts >= LEAST_VERSION else "use a newer server",
    )


def clock(ahead: float) -> Finding:
    """Judge by how many seconds the server's clock is ahead of this machine's."""
    ok = abs(ahead) <= _CLOCK_SECONDS
    todo = "" if ok else "let both machines follow a time server (NTP): deadlines count on it"
    return Finding(ok=ok, what=f"the server's clock differs from this machine's by {abs(ahead):.1f} s", todo=todo)


async def durable(desk: Desk, _: aiohttp.ClientSession) -> Sequence[Finding]:
    """Look whether the server keeps what it confirms, and has room."""
    trust = desk.settings.redis_durability == "trust"
    try:
        found = await desk.redis.config_get(*durability.DEMANDED)  # type: ignore[arg-type] # redis-py types each further pattern as a list of them
    except ResponseError:
        what = "the server hides its configuration"
        if trust:
            return [Finding(ok=True, what=f"{what}; REDIS_DURABILITY=trust takes it as right"), *await _room(desk)]
        return [Finding(ok=False, what=what, todo=durability.HIDDEN), *await _room(desk)]
    return [*kept({_text(name): _text(value) for name, value in found.items()}, trust=trust), *await _room(desk)]


def kept(settings: Mapping[str, str], *, trust: bool) -> list[Finding]:
    """Judge the settings that decide whether a confirmed write can be lost."""
    findings = []
    for name, wanted in durability.DEMANDED.items():
        ok = settings.get(name) == wanted
        what = f"{name} is {settings.get(name, 'unknown')}" + ("" if ok else f", expected {wanted}")
        todo = "" if ok else f"redis-cli CONFIG SET {name} {wanted}, and the same in the server's configuration file"
        if not ok and trust:
            todo += "; REDIS_DURABILITY=trust lets webhooks in all the same"
        findings.append(Finding(ok=ok, what=what, todo=todo))
    return findings


async def _room(desk: Desk) -> list[Finding]:
    try:
        info = await desk.redis.info("replication", "persistence", "memory")  # type: ignore[arg-type] # redis-py types each further section as a list of them
    except ResponseError:
        return []
    obstacles = [
        Finding(ok=False, what=what, todo="point REDIS_URL at a master with disk and memory to spare")
        for what in durability.obstacles(info, room=True)
    ]
    return [*obstacles, memory(info.get("used_memory", 0), info.get("maxmemory", 0))]


def memory(used: int, most: int) -> Finding:
    """Judge how full the server is, in bytes; `most` is 0 without a limit."""
    if not most:
        return Finding(ok=True, what=f"{used / _MEBIBYTE:.0f} MiB used, no maxmemory set")
    ok = used <= _FULL * most
    todo = "" if ok else "raise maxmemory before it is full: then webhooks are answered 503"
    return Finding(ok=ok, what=f"{used / _MEBIBYTE:.0f} of {most / _MEBIBYTE:.0f} MiB used (maxmemory)", todo=todo)


async def webhooks(desk: Desk, _: aiohttp.ClientSession) -> Sequence[Finding]:
    """Look whether webhooks can be told from forgeries."""
    secrets = len(desk.settings.voucherify_webhook_secrets)
    if secrets:
        return [Finding(ok=True, what=f"webhooks are checked against {secrets} secret(s)")]
    if desk.settings.voucherify_allow_unsigned:
        what = "anyone can send webhooks (VOUCHERIFY_ALLOW_UNSIGNED)"
        return [Finding(ok=True, what=what, todo="set VOUCHERIFY_WEBHOOK_SECRETS before real rewards come")]
    todo = "set it to the secret that Voucherify shows for the webhook; the door does not start without"
    return [Finding(ok=False, what="VOUCHERIFY_WEBHOOK_SECRETS is not set", todo=todo)]


async def voucherify(desk: Desk, session: aiohttp.ClientSession) -> Sequence[Finding]:
    """Ask Voucherify's API whether it takes the credentials."""
    api = build_voucherify(desk.settings, session)
    if api is None:
        todo = "set VOUCHERIFY_APP_ID and VOUCHERIFY_APP_TOKEN to take addresses from Voucherify"
        return [Finding(ok=True, what="Voucherify's API is not used: no credentials", todo=todo)]
    return await examined(api.check)


async def provider(desk: Desk, session: aiohttp.ClientSession) -> Sequence[Finding]:
    """Let the provider check itself."""
    made = providers.build(desk.settings, session)
    try:
        return await examined(made.check)
    finally:
        await made.close()


async def addresses(desk: Desk, session: aiohttp.ClientSession) -> Sequence[Finding]:
    """Let the address sources check themselves; Voucherify has been asked already."""
    sources = address_sources.build(desk.settings, session)
    if not sources:
        todo = "set VOUCHERIFY_APP_ID and VOUCHERIFY_APP_TOKEN, or ADDRESS_FILE; until then: rewardpost set-address"
        return [Finding(ok=True, what="no address source is configured: every reward waits for a person", todo=todo)]
    findings = [Finding(ok=True, what="asked in this order: " + ", ".join(source.name for source in sources))]
    for source in sources:
        if source.name != "voucherify":
            findings += await examined(source.check)
        await source.close()
    return findings


async def work(desk: Desk, _: aiohttp.ClientSession) -> Sequence[Finding]:
    """Look who works, and what waits for a person."""
    workers = await desk.queue.workers()
    counts = await desk.operations.counts()
    letters = await desk.letters.count()
    todo = "" if workers else "start one: python -m worker"
    findings = [Finding(ok=workers > 0, what=f"{workers} worker(s) alive", todo=todo)]
    for count, what, verb in (
        (letters, "dead letter(s)", "dead-letters list"),
        (counts[State.NEEDS_ATTENTION], "reward(s) need attention", "list --state needs_attention"),
        (counts[State.NEEDS_ADDRESS], "reward(s) need an address", "list --state needs_address"),
    ):
        if count:
            findings.append(Finding(ok=True, what=f"{count} {what}", todo=f"rewardpost {verb}"))
    return findings


async def dispatch(desk: Desk, _: aiohttp.ClientSession) -> Sequence[Finding]:
    """Say what is dispatched, and what is held."""
    settings = desk.settings
    findings = [Finding(ok=True, what=f"SHIP_SINCE in force: {await _ship_since(desk)}")]
    if settings.dispatch == "hold":
        what = "DISPATCH=hold: a shadow run, nothing is dispatched"
        findings.append(Finding(ok=True, what=what, todo="DISPATCH=on, then rewardpost release everything"))
    for scope, why in sorted((await desk.operations.holds()).items()):
        named = scope.replace(":", " ", 1)
        findings.append(Finding(ok=True, what=f"{named} is held: {why}", todo=f"rewardpost release {named}"))
    counts = await desk.operations.counts()
    gone = sum(counts[state] for state in (State.SUBMITTED, State.SHIPPED, State.DELIVERED))
    if len(findings) == 1 and settings.provider != "manual" and not gone:
        what = f"rewards go to {settings.provider} at once, and none has been dispatched yet"
        todo = "to look at the first ones before they go: rewardpost hold everything --reason …"
        findings.append(Finding(ok=True, what=what, todo=todo))
    return findings


async def _ship_since(desk: Desk) -> str:
    if desk.settings.ship_since is not None:
        return f"{desk.settings.ship_since.astimezone(UTC).isoformat()} (set)"
    installed = await desk.redis.get(desk.keys.installed_at)
    if installed is None:
        return "not yet; it will be the moment when the first worker starts"
    return f"{datetime.fromisoformat(installed.decode()).astimezone(UTC).isoformat()} (the moment of installation)"


async def examined(check: Callable[[], Awaitable[Sequence[Finding]]]) -> Sequence[Finding]:
    """Return what a self-check found; one that fails itself is a finding."""
    try:
        return await check()
    except Exception as exc:  # noqa: BLE001 - the other checks are wanted all the same
        return [Finding(ok=False, what=f"the check itself failed ({logs.summary(exc)})", todo="report this")]


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


CHECKS: Mapping[str, Check] = {
    "server": server,
    "durability": durable,
    "webhooks": webhooks,
    "voucherify": voucherify,
    "provider": provider,
    "addresses": addresses,
    "work": work,
    "dispatch": dispatch,
}
"""All checks by area, in the order in which they are shown."""

WITHOUT_SERVER = frozenset({"webhooks", "voucherify", "provider", "addresses"})
"""Areas that can be looked at while the server is away."""
