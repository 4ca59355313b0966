"""How the engine's server is started, emptied and spoken to."""

import socket
import sys
from pathlib import Path
from types import SimpleNamespace

from testgrove.engines import InstanceEngine, UnavailableError, client


def ask_at(access, *commands):
    try:
        return ask(access.host, access.port, access.password.reveal(), *commands)
    except OSError as error:
        raise UnavailableError("kv-failed", f"the KV at port {access.port} does not answer: {error}") from error


def ask(host, port, password, *commands):
    with socket.create_connection((host, port), timeout=10) as connection, connection.makefile("rw") as lines:
        answers = []
        for command in (f"AUTH {password}", *commands):
            lines.write(f"{command}\n")
            lines.flush()
            answers.append(lines.readline().strip())
        return answers[1:]


class Kv(InstanceEngine):
    name = "kv"

    def find(self, launcher, service):
        return SimpleNamespace(version="1.0", what="KV 1.0", path=Path(__file__).with_name("server.py"))

    def argv(self, program, *, directory, port, password, settings):
        file = directory / "password"
        file.touch(mode=0o600)
        file.write_text(password.reveal())
        return (sys.executable, str(program.path), str(port), str(file))

    def empty(self, access):
        ask_at(access, "CLEAR")

    delete_rows = empty

    def is_untouched(self, access):
        return ask_at(access, "COUNT") == ["0"]

    def read_schema(self, access):
        return {"count": ask_at(access, "COUNT")[0]}

    def execute(self, sql, access, *, timeout):
        ask_at(access, *sql.splitlines())

    def shell(self, url, service):
        return (client("echo"), url)


KV = Kv()
