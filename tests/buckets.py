"""An S3 server of moto's on a free loopback port, with one bucket."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def s3_bucket(name: str, **options: Any) -> Iterator[Any]:
    """Start the server, and yield its client; s3fs forgets clients of other servers.

    Args:
        name: Name of the bucket.
        options: What `create_bucket` is given besides.
    """
    boto3 = pytest.importorskip("boto3")
    s3fs = pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(
        ip_address="127.0.0.1", port=0, verbose=False
    )
    server.start()
    responses = pytest.importorskip("moto.s3.responses").S3Response
    put, turn = responses.put_object, threading.Lock()

    def put_object(response: Any) -> Any:
        """S3 checks a condition and writes in one step; moto in two, between which others write."""
        with turn:
            return put(response)

    host, port = server.get_host_and_port()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(responses, "put_object", put_object)
            patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
            patch.setenv("AWS_ACCESS_KEY_ID", "test")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            s3fs.S3FileSystem.clear_instance_cache()
            client = boto3.client("s3")
            client.create_bucket(Bucket=name, **options)
            yield client
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        server.stop()
