"""The door under measurement: FastAPI on uvicorn, which sends each webhook to Celery on its Redis broker.

Celery's client blocks, so it is called in Starlette's pool of threads, as its documentation advises.
"""

import uvicorn  # type: ignore[import-not-found] # only in the peers' environment
from celery import Celery  # type: ignore[import-not-found] # the same
from fastapi import FastAPI, Request, Response  # type: ignore[import-not-found] # the same
from fastapi.concurrency import run_in_threadpool  # type: ignore[import-not-found] # the same

from bench.peers.door_settings import PATH, SECRET, options
from ingest.signature import HEADER, verify

_CONNECTIONS = 40  # as many as the pool has threads


def create_app(url: str) -> FastAPI:
    """Return the application; nothing is connected before the first webhook."""
    celery = Celery(broker=url, broker_pool_limit=_CONNECTIONS, task_ignore_result=True)
    app = FastAPI(openapi_url=None)

    @celery.task(name="open_delivery")  # type: ignore[untyped-decorator] # its types are not here
    def open_delivery(body: str) -> None:
        """Be a name; nobody works here."""

    @app.post(PATH)  # type: ignore[untyped-decorator] # the same
    async def receive(request: Request, response: Response) -> dict[str, str]:
        body = await request.body()
        if not verify(body, request.headers.getlist(HEADER), (SECRET,)):
            response.status_code = 401
            return {"status": "refused"}
        await run_in_threadpool(open_delivery.delay, body.decode())
        response.status_code = 202
        return {"status": "stored"}

    return app


def main() -> None:
    """Serve until ended."""
    told = options()
    uvicorn.run(
        create_app(told.url),
        host="127.0.0.1",
        port=told.port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
