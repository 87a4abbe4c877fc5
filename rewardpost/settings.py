"""Settings: everything that the environment may say, read once, checked whole, and passed in.

Each field is one environment variable of the same name in upper case, with its unit behind it where it
has one (`ingest_deadline` is `INGEST_DEADLINE_SECONDS`). A secret may also stand in a file that
`<NAME>_FILE` names.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rewardpost import parsing
from rewardpost.parsing import (
    choice,
    countries,
    duration,
    existing_file,
    flag,
    instant,
    number,
    text,
    url,
    words,
)

_NEEDED: Mapping[str, tuple[str, ...]] = {
    "karrio": ("karrio_url", "karrio_token"),
    "shipbob": ("shipbob_url", "shipbob_token", "shipbob_channel_id"),
    "webhook": ("webhook_out_url", "webhook_out_secret"),
}
# What a provider cannot do without.


class SettingsError(Exception):
    """A setting is wrong or missing; the message names the variable and what was expected, never a secret."""


def _setting(
    parse: Callable[[str], Any],
    default: object,
    doc: str,
    *,
    unit: str = "",
    secret: bool = False,
    empty_says: str = "",
) -> Any:  # noqa: ANN401 - it stands where a value of the field's own type is declared
    metadata = {"parse": parse, "doc": doc, "unit": unit, "secret": secret, "empty_says": empty_says}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The whole configuration of one process."""

    # fmt: off
    dispatch: str = _setting(choice("on", "hold"), "on", "`hold` stops every reward before its first call: a shadow run")
    ship_since: datetime | None = _setting(instant, None, "rewards redeemed before this time are never shipped by themselves; default: the moment of installation")
    voucherify_project_ids: frozenset[str] = _setting(words, frozenset(), "when set, another project's webhook becomes a dead letter and nothing is shipped")

    redis_url: str = _setting(url("redis", "rediss", "unix", "redis+sentinel"), "redis://127.0.0.1:6379/0", "the server: `redis://`, `rediss://`, `unix://` or `redis+sentinel://host:port,host:port/master/0`", secret=True)
    redis_durability: str = _setting(choice("verify", "trust"), "verify", "`trust` takes the server's durability settings as right where they cannot be seen")
    key_prefix: str = _setting(text(r"[A-Za-z0-9_.-]{1,32}"), "rewardpost", "what every key starts with; installations that share a server need different ones")

    voucherify_webhook_secrets: tuple[str, ...] = _setting(parsing.secrets, (), "comma-separated secrets of the webhooks, all accepted", secret=True)
    voucherify_allow_unsigned: bool = _setting(flag, default=False, doc="accept webhooks without a signature while no secret is set")
    voucherify_api_url: str = _setting(url("https", "http"), "https://api.voucherify.io", "the cluster that the project lives on")
    voucherify_app_id: str = _setting(text(), "", "application id for Voucherify's API", secret=True)
    voucherify_app_token: str = _setting(text(), "", "application token for Voucherify's API", secret=True)
    voucherify_calls_per_minute: int = _setting(number(1, 100_000), 30, "the budget of calls to Voucherify for all workers and audits together")
    voucherify_silence: timedelta = _setting(duration("hours", 0.01, 720), timedelta(hours=24), "after so long without a webhook an audit warns", unit="hours")

    ingest_host: str = _setting(text(), "0.0.0.0", "where the door listens")  # noqa: S104 - it is the door: it is there to be reached
    ingest_port: int = _setting(number(0, 65535), 8080, "where the door listens; 0 takes a free port")
    ingest_max_body_bytes: int = _setting(number(1024, 64 * 1024 * 1024), 1048576, "the largest body taken in, before and after decompression")
    ingest_deadline: timedelta = _setting(duration("seconds", 0.05, 9), timedelta(seconds=2), "how long a webhook may wait for Redis before it is answered 503", unit="seconds")
    ingest_processes: int = _setting(number(1, 64), 1, "how many processes the door runs")

    worker_host: str = _setting(text(), "0.0.0.0", "where a worker's health and metrics are served")  # noqa: S104 - a probe comes from another host
    worker_port: int | None = _setting(parsing.optional(number(0, 65535)), 9090, "0 takes a free port, empty switches it off", empty_says="off")
    worker_max_jobs: int = _setting(number(1, 10_000), 100, "how many jobs one worker runs at a time")
    worker_lease: timedelta = _setting(duration("seconds", 1, 3600), timedelta(seconds=30), "how long a job of a dead worker stays its own", unit="seconds")
    worker_max_attempts: int = _setting(number(1, 1000), 12, "how often a failing job is tried before a person is asked")

    address_sources: tuple[str, ...] = _setting(parsing.some_of("voucherify", "file", "url"), ("voucherify", "file", "url"), "where addresses come from, in this order; a source that is not configured is passed over")
    address_file: Path | None = _setting(existing_file, None, "JSON lines or CSV with one customer's address a line")
    ship_to_countries: frozenset[str] | None = _setting(countries, None, "comma-separated ISO 3166-1 alpha-2 codes; unset: everywhere")

    provider: str = _setting(text(r"[a-z][a-z0-9_]{0,31}"), "manual", "who fulfils: `manual` (a packing list), `karrio`, `shipbob` or `webhook` (your own system)")
    provider_calls_per_second: float | None = _setting(parsing.rate, None, "how many calls to the provider all workers together may make a second; unset: no limit")
    provider_concurrency: int = _setting(number(0, 10_000), 0, "how many calls to the provider may run at a time, of all workers together; 0: no bound")
    provider_timeout: timedelta = _setting(duration("seconds", 1, 60), timedelta(seconds=10), "how long one call to the provider may take", unit="seconds")
    provider_quiet: timedelta = _setting(duration("seconds", 1, 86400), timedelta(seconds=30), "how long after a call's deadline, beyond the provider's own delay, a look-up that finds nothing is believed", unit="seconds")
    provider_poll: timedelta = _setting(duration("minutes", 0.01, 1440), timedelta(minutes=15), "how often a provider is asked at first what became of an order; older orders are asked for less often", unit="minutes")
    karrio_url: str = _setting(url("https", "http"), "", "the Karrio server")
    karrio_token: str = _setting(text(), "", "API key of the Karrio account", secret=True)
    shipbob_url: str = _setting(url("https", "http"), "https://api.shipbob.com", "ShipBob's API; `https://sandbox-api.shipbob.com` to try it out")
    shipbob_token: str = _setting(text(), "", "personal access token for ShipBob", secret=True)
    shipbob_channel_id: int = _setting(number(0, 2**31 - 1), 0, "ShipBob's channel, in which references are unique")
    shipbob_webhook_secrets: tuple[str, ...] = _setting(parsing.standard_webhooks_secrets, (), "comma-separated secrets of ShipBob's webhooks, `whsec_…`; without one its route is closed", secret=True)
    webhook_out_url: str = _setting(url("https", "http"), "", "where the `webhook` provider posts its orders")
    webhook_out_secret: str = _setting(parsing.standard_webhooks_secret, "", "the Standard Webhooks secret that signs them, `whsec_…`", secret=True)
    webhook_out_status_url: str = _setting(parsing.template("reference"), "", "a URL with `{reference}` in it, which tells what became of a parcel; without it an unknown outcome waits for a person")
    webhook_out_removes_duplicates: bool = _setting(flag, default=False, doc="the receiver takes one `webhook-id` once, however often it comes, so that it may be sent again after an unknown outcome")

    log_format: str = _setting(choice("json", "console"), "json", "`json` for machines, `console` for people")
    retention: timedelta = _setting(duration("days", 1, 3650), timedelta(days=30), "how long personal data is kept after a reward's end", unit="days")
    # fmt: on


def variable(field: "dataclasses.Field[Any]") -> str:
    """Return the name of the environment variable behind a field of `Settings`."""
    unit = field.metadata["unit"]
    return f"{field.name}_{unit}".upper() if unit else field.name.upper()


def load(environ: Mapping[str, str]) -> Settings:
    """Read and check all settings.

    Raises:
        SettingsError: a value is wrong, a file of a secret cannot be read, or two settings do not go together.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Settings):
        name = variable(field)
        raw = _raw(environ, name, secret=field.metadata["secret"])
        if raw is None or not (raw.strip() or field.metadata["empty_says"]):
            continue  # compose files hand on what is unset as empty
        try:
            values[field.name] = field.metadata["parse"](raw)
        except ValueError as exc:
            raise SettingsError(f"{name}: expected {exc}") from None  # the cause would print the value
    settings = Settings(**values)
    _check_together(settings)
    return settings


def shown(settings: Settings) -> dict[str, str]:
    """Return every variable with its value as text for a person, secrets hidden."""
    return {variable(field): _text_of(field, getattr(settings, field.name)) for field in dataclasses.fields(Settings)}


def _raw(environ: Mapping[str, str], name: str, *, secret: bool) -> str | None:
    path = environ.get(f"{name}_FILE") if secret else None
    if not path:
        return environ.get(name)
    if environ.get(name, "").strip():  # compose files hand on what is unset as empty
        raise SettingsError(f"{name}: expected either {name} or {name}_FILE, both are set")
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{name}_FILE: expected a readable text file ({type(exc).__name__})") from exc


def _check_together(settings: Settings) -> None:
    if bool(settings.voucherify_app_id) != bool(settings.voucherify_app_token):
        raise SettingsError("VOUCHERIFY_APP_ID: expected together with VOUCHERIFY_APP_TOKEN, or neither of them")
    for name in _NEEDED.get(settings.provider, ()):
        if not getattr(settings, name):
            raise SettingsError(f"{name.upper()}: expected a value while PROVIDER is {settings.provider}")


def _text_of(field: "dataclasses.Field[Any]", value: object) -> str:
    if value in (None, "", (), frozenset()):
        return ""
    if field.name == "redis_url":
        return without_password(str(value))
    if field.metadata["secret"]:
        return f"(set, {len(value)})" if isinstance(value, tuple) else "(set)"
    if isinstance(value, timedelta):
        return f"{value / timedelta(**{field.metadata['unit']: 1}):g}"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, frozenset | tuple):
        return ",".join(sorted(value) if isinstance(value, frozenset) else value)
    return str(value)


def without_password(address: str) -> str:
    """Return a URL as it may stand in a log: without user and password."""
    parts = urlsplit(address)
    if parts.scheme == "unix":
        return f"unix://{parts.path}"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
