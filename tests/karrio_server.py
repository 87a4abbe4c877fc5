"""A real Karrio server for tests, private to whoever starts it; `python -m tests.karrio_server` prepares it.

Preparing installs the pinned packages into an environment of their own, lets Karrio make its SQLite database, which
takes about a minute, and keeps both. Each server starts on a copy of that database.
"""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from cli import end_with_parent

_ROOT = Path(__file__).parent.parent
_LOCK = _ROOT / "tests" / "karrio" / "requirements.lock"
_CACHE = _ROOT / ".cache" / "karrio"
_ENVIRONMENT = _CACHE / "venv"
_BIN = _ENVIRONMENT / ("Scripts" if sys.platform == "win32" else "bin")
_TEMPLATE = _CACHE / "template.sqlite3"
_STAMP = _CACHE / "prepared"
_DATABASE = "db.sqlite3"
_PATIENCE_SECONDS = 120
_THREADS = 8

TOKEN = "key_of_the_tests"
SOURCE = "rewardpost"
"""The orders' source, written out: the tests notice when the provider changes it."""

_CREDENTIALS = f"""
from django.contrib.auth import get_user_model
from karrio.server.user.models import Token
user = get_user_model().objects.create_superuser("operator@example.org", "a password of the tests")
Token.objects.create(user=user, key="{TOKEN}", test_mode=False)
Token.objects.create(user=user, key="{TOKEN}_of_test_mode", test_mode=True)
"""
# What buying a label leaves behind; Karrio's own signals link the order and work out its status.
_SEND = """
import os
from karrio.server.manager.models import Shipment
from karrio.server.orders.models import Order
order = Order.objects.exclude(status="cancelled").get(order_id=os.environ["ORDER"])
weight = {"weight": 0.5, "weight_unit": "KG"}
items = [{"parent_id": item["id"], "quantity": item["quantity"], **weight} for item in order.line_items]
Shipment.objects.create(
    created_by=order.created_by, test_mode=order.test_mode, status="created", recipient=order.shipping_to,
    tracking_number=os.environ["TRACKING"], parcels=[{"items": items, **weight}],
)
"""
# What a tracker does when the carrier has news.
_MOVE = """
import os
from karrio.server.orders.models import Order
for shipment in Order.objects.get(order_id=os.environ["ORDER"]).shipments.all():
    shipment.status = os.environ["STATUS"]
    shipment.save(update_fields=["status"])
"""


def missing() -> str | None:
    """Return why no server can be started; None where it can."""
    if _STAMP.is_file() and _STAMP.read_text(encoding="ascii") == _digest():
        return None
    return "Karrio is not prepared: run `make test-karrio`"


def prepare() -> None:
    """Install Karrio and make its database, if that has not been done for these pins."""
    if missing() is None:
        return
    _STAMP.unlink(missing_ok=True)
    venv.create(_ENVIRONMENT, with_pip=True, clear=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", str(_LOCK)]
    subprocess.run([str(_BIN / "python"), *install], check=True)  # noqa: S603 - our own command, no shell
    with tempfile.TemporaryDirectory(prefix="karrio-") as name:
        directory = Path(name)
        _karrio(directory, "migrate", "-v", "0")
        _karrio(directory, "shell", "-v", "0", "-c", _CREDENTIALS)
        shutil.move(directory / _DATABASE, _TEMPLATE)
    _STAMP.write_text(_digest(), encoding="ascii")


class KarrioServer:
    """One server on a free port of the loopback interface; what it knows is gone when it is closed.

    Args:
        contended: leave SQLite as Karrio configures it, so that some of several simultaneous posts are answered with
            500 and "database is locked"; otherwise each waits for its turn.
        **environment: more of Karrio's own settings.
    """

    def __init__(self, *, contended: bool = False, **environment: str) -> None:
        self.url = ""
        self._contended = contended
        self._more = environment
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with self._stack:
            # Not pytest's own directory: Karrio logs whole requests, and the suite's logs are searched for addresses.
            self._directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="karrio-")))
            shutil.copy(_TEMPLATE, self._directory / _DATABASE)
            self._start()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def live(self, reference: str) -> int:
        """Count the orders of this reference that are not cancelled."""
        return self.live_orders()[reference]

    def live_orders(self) -> Counter[str]:
        """Count the orders that are not cancelled, archived ones too, by reference."""
        return Counter(self.orders().values())

    def orders(self) -> dict[str, str]:
        """Return the reference of each order that is not cancelled, archived ones too, by its id."""
        return dict(self._asked("SELECT id, order_id FROM orders WHERE source = ? AND status <> 'cancelled'", SOURCE))

    def address(self, reference: str) -> dict[str, str | None]:
        """Return where the one order of this reference goes, in Karrio's own words."""
        query = "SELECT shipping_to FROM orders WHERE source = ? AND order_id = ?"
        ((text,),) = self._asked(query, SOURCE, reference)
        address: dict[str, str | None] = json.loads(text)
        return address

    def clear(self) -> None:
        """Forget all orders."""
        with contextlib.closing(self._connected()) as database, database:
            for table in ("orders_shipments", "order_key", "orders"):
                database.execute(f"DELETE FROM {table}")  # noqa: S608 - the names stand above

    def archive(self, reference: str) -> None:
        """Archive all orders of this reference, as Karrio does after some months."""
        with contextlib.closing(self._connected()) as database, database:
            database.execute("UPDATE orders SET is_archived = 1 WHERE order_id = ?", (reference,))

    def send(self, reference: str, tracking: str) -> None:
        """Let a label be bought for the order."""
        self._run(_SEND, ORDER=reference, TRACKING=tracking)

    def move(self, reference: str, status: str) -> None:
        """Give the order's shipments a status: `in_transit`, `delivery_failed`, `delivered` …."""
        self._run(_MOVE, ORDER=reference, STATUS=status)

    @property
    def log(self) -> str:
        """What the server has written."""
        return (self._directory / "server.log").read_text(encoding="utf-8", errors="replace")

    def _start(self) -> None:
        listener = self._stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=512))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        log = self._stack.enter_context((self._directory / "server.log").open("wb"))
        # The socket is handed over, so nobody else can answer on this port.
        serve = ["-m", "gunicorn", "karrio.server.wsgi:application", "--bind", f"fd://{listener.fileno()}"]
        stub = [sys.executable, "-I", "-S", end_with_parent.__file__, str(os.getpid())]
        process = subprocess.Popen(  # noqa: S603 - our own command, no shell
            [*stub, str(_BIN / "python"), *serve, "--workers", "1", "--threads", str(_THREADS)],
            cwd=self._directory,
            env=self._environment,
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        self._stack.callback(_end, process)
        self._wait(process)

    def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        request = urllib.request.Request(  # noqa: S310 - the loopback address from above
            f"{self.url}/v1/orders?limit=1", headers={"Authorization": f"Token {TOKEN}"}
        )
        until = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < until and process.poll() is None:
            try:
                with urllib.request.urlopen(request, timeout=_PATIENCE_SECONDS):  # noqa: S310 - the same
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise RuntimeError(f"expected Karrio to answer, and it wrote: {self.log[-2000:]}")

    @property
    def _environment(self) -> Mapping[str, str]:
        environment = {**_environment(self._directory), **self._more}
        if not self._contended:
            path = self._directory / _DATABASE
            environment["DATABASE_URL"] = f"sqlite:///{path}?transaction_mode=IMMEDIATE&timeout=30"
        return environment

    def _run(self, script: str, **environment: str) -> None:
        _karrio(self._directory, "shell", "-v", "0", "-c", script, **environment)

    def _connected(self) -> sqlite3.Connection:
        return sqlite3.connect(self._directory / _DATABASE, timeout=30)

    def _asked(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(self._connected()) as database:
            return database.execute(query, values).fetchall()


def _environment(directory: Path) -> dict[str, str]:
    # Its environment is only what stands here, so that no setting of this machine reaches it.
    return {
        "PATH": os.defpath,
        "HOME": str(directory),
        "PYTHONWARNINGS": "ignore",
        "SECRET_KEY": "a secret of the tests",
        "WORK_DIR": str(directory),
        "DATABASE_NAME": _DATABASE,
        "WORKER_IMMEDIATE_MODE": "True",
        "DETACHED_WORKER": "False",
        "DEBUG_MODE": "True",
        "USER_RATE_LIMIT": "1000000/minute",
        "ANON_RATE_LIMIT": "1000000/minute",
    }


def _karrio(directory: Path, *arguments: str, **environment: str) -> None:
    command = [str(_BIN / "python"), "-m", "karrio.server", *arguments]
    done = subprocess.run(  # noqa: S603 - our own command, no shell
        command, cwd=directory, env={**_environment(directory), **environment}, capture_output=True, check=False
    )
    if done.returncode:
        written = (done.stdout + done.stderr).decode("utf-8", "replace")
        raise RuntimeError(f"expected karrio {arguments[0]} to succeed, and it wrote: {written[-2000:]}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _digest() -> str:
    return hashlib.sha256(_LOCK.read_bytes() + _CREDENTIALS.encode() + sys.version.encode()).hexdigest()


if __name__ == "__main__":
    prepare()
