"""HTTP server of a witness.

POST /add-checkpoint, GET /HASH/checkpoint → `Witness` → answer

Source: C2SP tlog-witness, "HTTP Interface".
"""

from __future__ import annotations

from typing import Any

from mlsecops._extras import require
from mlsecops.audit.tlog.witness import MOST_REQUEST_BYTES, Witness, WitnessAnswer

__all__ = ["serve_witness", "witness_app"]


def witness_app(witness: Witness) -> Any:
    """The ASGI application of a witness, for a server of your own.

    Args:
        witness: The witness.

    Raises:
        MissingExtra: Starlette is not installed.
    """
    applications, routing = require("starlette.applications"), require("starlette.routing")
    responses, threads = require("starlette.responses"), require("starlette.concurrency")

    def shown(answer: WitnessAnswer) -> Any:
        headers = {"content-type": answer.content_type}
        return responses.Response(answer.body, status_code=answer.status, headers=headers)

    async def add_checkpoint(request: Any) -> Any:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_REQUEST_BYTES:
                return shown(WitnessAnswer(400, "the request is too long\n"))
        return shown(await threads.run_in_threadpool(witness.add_checkpoint, body))

    async def newest(request: Any) -> Any:
        origin = request.path_params["origin"]
        return shown(await threads.run_in_threadpool(witness.newest, origin))

    return applications.Starlette(
        routes=[
            routing.Route("/add-checkpoint", add_checkpoint, methods=["POST"]),
            routing.Route("/{origin}/checkpoint", newest, methods=["GET"]),
        ]
    )


def serve_witness(witness: Witness, *, host: str, port: int) -> None:
    """Serve until the process is stopped; put TLS and rate limits in front of it.

    Args:
        witness: The witness.
        host: Address to listen at.
        port: Port to listen at.

    Raises:
        MissingExtra: Starlette or uvicorn is not installed.
    """
    uvicorn = require("uvicorn")
    uvicorn.run(witness_app(witness), host=host, port=port, log_level="warning", access_log=False)
