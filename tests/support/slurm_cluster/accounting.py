"""slurmdbd and its database, for a private cluster that must answer `sacct`."""

import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.support.slurm_cluster.config import Accounting, slurmdbd_conf


def start_accounting(
    folder: Path,
    host: str,
    user: str,
    accounting: Accounting,
    spawn: Callable[..., None],
    own: Callable[..., None],
) -> None:
    """Start the database, then slurmdbd, and return when both listen; raises TimeoutError.

    `spawn(name, *command)` starts a daemon as the cluster's user, `own(*paths)` gives files to that user.
    """
    data = folder / "db"
    common = ["--no-defaults", f"--user={user}", f"--datadir={data}", "--innodb-log-file-size=8M"]
    extra = ["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]
    subprocess.run(["mariadb-install-db", *common, *extra], check=True, capture_output=True, stdin=subprocess.DEVNULL)
    own(data, *data.rglob("*"))
    address = [f"--socket={folder}/my.sock", f"--port={accounting.database}", "--bind-address=127.0.0.1"]
    small = ["--skip-grant-tables", "--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0"]
    spawn("mariadbd", "mariadbd", *common, *address, *small, f"--pid-file={folder}/my.pid")
    _wait_for_listener(accounting.database)
    conf = folder / "slurmdbd.conf"
    conf.write_text(slurmdbd_conf(folder, host=host, user=user, accounting=accounting))
    conf.chmod(0o600)
    own(conf)
    spawn("slurmdbd", "slurmdbd", "-D")
    _wait_for_listener(accounting.slurmdbd)


def _wait_for_listener(port: int, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise TimeoutError(f"nothing listens on port {port} of 127.0.0.1 after {seconds:g} s")
