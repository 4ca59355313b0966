"""A program: two test sessions in one project, between which something changes; prints what the databases of each hold.

Arguments: the repository, a folder for the migration tool, what changes, and the part of the fingerprint that is left
out (or nothing). It is a process of its own because it holds the machine as a command does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from pytest_testgrove import broker
from testgrove.app.composition import open_project
from testgrove.app.context import own_folder
from testgrove.app.databases import migration as made
from testgrove.app.sessions import migration
from testgrove.errors import TestgroveError
from testgrove.services.engines.postgres import installation, template_cache
from testgrove.services.engines.postgres import server as postgres
from testgrove.services.provider import DatabaseRequest, TemplateSpec
from testgrove.services.provisioning.choose import provider_of

TOOL = """#!{python}
import os, psycopg
with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as session:
    session.execute("CREATE TABLE made (by text, what text)")
    for name in ("schema.sql", "seeds/seed.sql"):
        session.execute("INSERT INTO made VALUES (%s, %s)", (name, open(name).read()))
    session.execute("INSERT INTO made VALUES ('tool', '{version}')")
    for name in ("SETTING", "OWN"):
        session.execute("INSERT INTO made VALUES (%s, %s)", (name, os.environ[name]))
"""


def install(folder: Path, version: str) -> None:
    """The migration tool, in this version, as a package manager does it."""
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    program = folder / "bin/schema-tool"
    program.write_text(TOOL.format(python=sys.executable, version=version))
    program.chmod(0o755)
    for old in folder.glob("*.dist-info"):
        old.rmdir()
    (folder / f"schema_tool-{version}.dist-info").mkdir()


def installed(folder: Path) -> str:
    """What the pytest plugin would say is installed there."""
    kept, sys.path[:] = sys.path[:], [str(folder)]
    try:
        return broker._installed()
    finally:
        sys.path[:] = kept


def session(repo: Path, tool: Path, version: str) -> dict[str, str] | None:
    """What a test's database holds; None where there can be none."""
    project = open_project(repo, lambda _: {})
    declared = project.settings.services["postgres"]
    assert declared
    service = msgspec.structs.replace(declared, wanted=version)
    tests = migration.TestEnvironment(tool, installed(tool))  # looked at anew: a session reads it when it begins
    with project.holding("two sessions") as holder, own_folder(project, holder, "two") as context:
        of_session = migration.Migration(context, repo, tests)
        provider = provider_of(context, "postgres", service)
        try:
            provider.find()
            traits = provider.traits()
            assert traits
            fingerprint = of_session.fingerprint("postgres", service, traits)
            wanted = TemplateSpec(fingerprint, partial(of_session.run, service.migrate, "postgres"))
            order = DatabaseRequest("testdb_x", "two", "a test", holder.leases, repo, wanted)
            access = provider.make(order).access
            with psycopg.connect(access.url()) as database:
                found: dict[str, str] = dict(database.execute("SELECT by, what FROM made").fetchall())
                (found["locale"],) = database.execute(
                    "SELECT datcollate FROM pg_database WHERE datname = current_database()"
                ).fetchone() or ("",)
                found["server"] = str(database.info.server_version // 10000)
                return found
        except TestgroveError as error:
            sys.stderr.write(f"{error}\n")
            return None
        finally:
            provider.close()


def leave_out(part: str) -> None:
    """The fingerprint does without one of its parts from now on."""
    whole: Callable[..., str] = made.template_fingerprint

    def blind(**parts: Any) -> str:
        if part == "seeds":
            parts["inputs"] = [each for each in parts["inputs"] if not each[0].startswith("seeds/")]
        elif part:
            parts[part] = {"inputs": (), "env": {}}.get(part, "")
        return whole(**parts)

    made.template_fingerprint = blind


def change(what: str, repo: Path, tool: Path) -> None:
    """Make the one change."""
    if what in {"schema.sql", "seeds/seed.sql"}:
        (repo / what).write_text("new")
    elif what in {"SETTING", "OWN"}:
        file = repo / {"SETTING": "testgrove.toml", "OWN": ".env.test"}[what]
        file.write_text(file.read_text().replace("old", "new"))
    elif what == "tool":
        install(tool, "new")
    elif what == "locale":
        for module in (installation, template_cache, postgres):
            module.LOCALE = "C"  # type: ignore[attr-defined]


def main(repo: Path, tool: Path, what: str, part: str, versions: list[str]) -> None:
    """See the module."""
    leave_out(part)
    install(tool, "old")
    before = session(repo, tool, versions[0])
    change(what, repo, tool)
    print(json.dumps([before, session(repo, tool, versions[-1 if what == "server" else 0])]))  # noqa: T201 - the answer


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5].split(","))
