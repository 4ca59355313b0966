"""What lets programs of an environment reach its worktree's servers without exported variables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import needs
from testgrove.core.engines.declaration import Clients
from testgrove.core.envfile import parse
from testgrove.system.environment.record import seal
from testgrove.system.environment.worktree_programs import ClientProgram, missing, write

POSTGRES = Clients(("psql", "createdb"), ("PGHOST", "PGPORT"))
REDIS = Clients(
    ("redis-cli",), ("REDIS_HOST",), (("-h", "REDIS_HOST"), ("-n", "REDIS_DB")), (("REDISCLI_AUTH", "SECRET"),), ("-h",)
)
PROGRAMS = [ClientProgram(name, None, POSTGRES) for name in POSTGRES.programs]
ENV_FILE = "PGHOST=127.0.0.1\nPGPORT=15001\nQUOTED='a b'\nexport TEST_MODE=true\n# no\nURL=x=y\nUNICODE=\u00e9\n"


@pytest.fixture
def tree(tmp_path) -> Path:
    """A worktree with an environment of Python 3.9, and its git folder."""
    found = tmp_path / "a worktree's"
    (tmp_path / "git").mkdir()
    found.mkdir()
    (found / ".git").write_text("gitdir: ../git\n")
    (found / ".env.test").write_text(ENV_FILE)
    venv(found)
    return found


@pytest.fixture
def machine(tmp_path) -> Path:
    """A folder of the machine's own programs, which show what they get."""
    folder = tmp_path / "machine"
    folder.mkdir()
    for name in ("psql", "redis-cli"):
        (folder / name).write_text('#!/bin/sh\necho "$PGHOST:$PGPORT:$REDISCLI_AUTH $*"\n')
        (folder / name).chmod(0o755)
    return folder


def venv(tree: Path, python: Path | None = None) -> None:
    words = [python or needs.interpreter("3.9"), "-m", "venv", "--without-pip", ".venv"]
    subprocess.run(words, cwd=tree, check=True)


def output(*argv: str | Path, **env: str) -> str:
    asked = {"PATH": "/usr/bin:/bin", **env}
    done = subprocess.run(argv, env=asked, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def variables(tree: Path, *options: str, **env: str) -> dict[str, str]:
    text = output(tree / ".venv/bin/python", *options, "-c", "import os; print(repr(dict(os.environ)))", **env)
    return dict(eval(text))


def test_its_python_has_the_variables_that_are_unset(tree):
    before = seal(tree)
    assert set(write(tree, ".env.test", PROGRAMS)) >= {"testgrove_worktree.pth", "psql", "createdb"}
    assert seal(tree) == before, "what testgrove adds is no change of the packages"
    assert write(tree, ".env.test", PROGRAMS) == missing(tree, ".env.test", PROGRAMS) == []
    found = variables(tree, PGPORT="1")
    assert {name: found[name] for name in parse(ENV_FILE)} == {**parse(ENV_FILE), "PGPORT": "1"}
    assert variables(tree, "-I")["TEST_MODE"] == "true"
    inherited = output(tree / ".venv/bin/python", "-c", "import subprocess; subprocess.call(['printenv', 'PGPORT'])")
    assert inherited == "15001\n"


def test_nothing_leaks(tree):
    write(tree, ".env.test", PROGRAMS)
    assert "PGPORT" not in variables(tree, TESTGROVE_TREE=str(tree)), "an attempt of a run has its own"
    site = next(tree.glob(".venv/lib/*/site-packages"))
    code = f"import site, os; site.addsitedir({str(site)!r}); print(os.environ.get('PGPORT'))"
    assert output(sys.executable, "-c", code) == "None\n", "another interpreter that reads its packages"
    (tree / ".env.test").unlink()
    assert "PGPORT" not in variables(tree)
    (tree / ".env.test").write_bytes(b"A=\xff\nB=\0\nC=1\n")
    assert variables(tree)["C"] == "1"


def test_client_programs(tree, machine, tmp_path):
    write(tree, ".env.test", [*PROGRAMS, ClientProgram("redis-cli", None, REDIS)])
    path = f"{tree}/.venv/bin:{machine}:/usr/bin:/bin"
    assert output("psql", "-c", "a  b", PATH=path) == "127.0.0.1:15001: -c a  b\n"
    assert output("psql", PATH=path, PGHOST="mine") == "mine:15001: \n"
    with (tree / ".env.test").open("a") as file:
        file.write("REDIS_HOST=there\nREDIS_DB=3\nSECRET=s\n")
    assert output("redis-cli", "PING", PATH=path) == "127.0.0.1:15001:s -h there -n 3 PING\n"
    assert output("redis-cli", "-h", "other", PATH=path) == "127.0.0.1:15001: -h other\n"
    link = tmp_path / "psql"
    link.symlink_to(tree / ".venv/bin/psql")
    assert output(link, PATH=path).startswith("127.0.0.1:15001")


def test_one_that_only_the_engine_has_and_one_that_nothing_has(tree, machine):
    own = machine / "psql"
    (tree / ".venv/bin/psql").symlink_to(own)  # as worktrees have it that testgrove makes for runs
    write(tree, ".env.test", [ClientProgram("psql", own, POSTGRES), ClientProgram("createdb", None, POSTGRES)])
    assert output(tree / ".venv/bin/psql", PATH="/nowhere") == "127.0.0.1:15001: \n"
    done = subprocess.run(
        [tree / ".venv/bin/createdb"], env={"PATH": f"{tree}/.venv/bin"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (127, "createdb: command not found\n")


def test_the_programs_of_two_worktrees_do_not_run_one_another(tree, machine, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / ".env.test").write_text("PGHOST=other\nPGPORT=2\n")
    venv(other)
    for each in (tree, other):
        write(each, ".env.test", PROGRAMS)
    path = f"{other}/.venv/bin:{tree}/.venv/bin:{machine}:/bin"
    assert output("psql", PATH=path) == "other:2: \n"


def test_what_the_user_has_there_stays(tree, tmp_path):
    real = tree / ".venv/bin/psql"
    real.write_text("#!/bin/sh\necho real\n")
    (tree / ".venv/bin/createdb").symlink_to("/bin/true")
    write(tree, ".env.test", PROGRAMS)
    assert real.read_text() == "#!/bin/sh\necho real\n"
    assert (tree / ".venv/bin/createdb").readlink() == Path("/bin/true")
    assert missing(tree, ".env.test", PROGRAMS) == []
    elsewhere = tmp_path / "elsewhere"
    (tree / ".venv").rename(elsewhere)
    (tree / ".venv").symlink_to(elsewhere)
    next(elsewhere.glob("lib/*/site-packages/*.pth")).unlink()
    assert write(tree, ".env.test", PROGRAMS) == [], "nothing is written through a link"


def test_an_environment_made_over_it_leaves_them(tree, machine):
    write(tree, ".env.test", PROGRAMS)
    (tree / ".venv/bin/activate").write_text("# another\n")
    venv(tree)
    assert "VIRTUAL_ENV" in (tree / ".venv/bin/activate").read_text()
    assert missing(tree, ".env.test", PROGRAMS) == []
    assert variables(tree)["PGPORT"] == "15001"
    venv(tree, Path(sys.executable))  # over it, another Python, which leaves the old one
    assert output(tree / ".venv/bin/psql", PATH=f"{machine}:/bin") == "127.0.0.1:15001: \n"


def test_an_env_file_that_its_user_replaced_leads_to_the_same_server(tree):
    """`echo "DATABASE_URL=postgresql://localhost/testdb_x" > .env.test`, as the documents have it."""
    write(tree, ".env.test", PROGRAMS)
    (tree.parent / "git/testgrove-env").write_text("PGHOST=127.0.0.1\nPGPORT=15001\nOTHER=1\n")
    (tree / ".env.test").write_text("DATABASE_URL=postgresql://localhost/x\n")
    found = variables(tree)
    assert (found["DATABASE_URL"], found["PGPORT"], "OTHER" in found) == ("postgresql://localhost/x", "15001", False)
    (tree / ".env.test").write_text("PGHOST=mine\n")
    assert "PGPORT" not in variables(tree), "its user has chosen the server"


def test_the_start_of_python_takes_no_longer_than_it_must(tree):
    """In time that the import itself measures, which the load of the machine disturbs least; and what it imports."""
    code = "import sys; print(*sorted(sys.modules))"
    python = tree / ".venv/bin/python"
    before = output(python, "-c", code).split()
    write(tree, ".env.test", PROGRAMS)
    of_any_pth_file = {"_locale", "_bootlocale"}
    assert set(output(python, "-c", code).split()) - {*before} - of_any_pth_file == {"testgrove_worktree"}
    took = []
    for _ in range(5):
        done = subprocess.run([python, "-X", "importtime", "-c", ""], capture_output=True, text=True, check=True)
        line = next(line for line in done.stderr.splitlines() if line.endswith("testgrove_worktree"))
        took.append(int(line.split("|")[1]))
    assert min(took) < 2000, f"microseconds: {took}"
