"""A real MLflow server of the tests' own, which keeps the artifacts too, on the loopback interface."""

import os
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fault_miniature import end_group
from tests.local_server import free_port
from tests.programs import RELEARN
from tests.watched import until


@contextmanager
def mlflow_server(place: Path) -> Iterator[str]:
    """Its address; its database, artifacts and log lie in the folder."""
    place.mkdir()
    port = free_port()
    command = [
        str(RELEARN.with_name("mlflow")), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{place}/mlflow.db", "--artifacts-destination", str(place / "artifacts"),
    ]  # fmt: skip
    with (place / "log").open("w") as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        )  # fmt: skip
    try:
        until("MLflow", lambda: _answers(port) or server.poll() is not None)
        assert server.poll() is None, (place / "log").read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        end_group(server.pid)
        server.wait()


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
    except OSError:
        return False
    return True
