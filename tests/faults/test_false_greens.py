"""A green result from other code, an old build or somebody's database is the worst defect: each way to one, closed.

Every case is a whole `testgrove test`. Cases share runs where they can: one branch or one suite for each.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from grove import TESTGROVE, Grove, said

# With byte code, as everybody has it, and with a pytest on PATH that is not the tested project's.
PROGRAM = ("env", "-u", "PYTHONDONTWRITEBYTECODE", *TESTGROVE)
ELSEWHERE = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "shop"
version = "1"

[tool.hatch.build.targets.wheel]
packages = ["src/shop", "src/acme"]
"""
SHOP = {
    "pyproject.toml": PYPROJECT,
    "src/shop/__init__.py": "VALUE = 1\n",
    "src/acme/one.py": "",
    "src/acme/two.py": "",
    "tests/test_shop.py": "import shop\n\ndef test_value():\n    assert shop.VALUE == 1\n",
}
# Without an installation: pytest finds the code in the tree.
PLAIN = {"pyproject.toml": None, "pytest.ini": "[pytest]\npythonpath = src\n"}
TWO_TESTS = "def test_first():\n    pass\n\ndef test_last():\n    pass\n"


def wheel(pth: str) -> bytes:
    """A distribution that holds nothing but a .pth file."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        info = "linker-1.dist-info"
        archive.writestr("linker.pth", f"{pth}\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: linker\nVersion: 1\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(
            f"{info}/RECORD", "linker.pth,,\n" + "".join(f"{info}/{n},,\n" for n in ("METADATA", "WHEEL", "RECORD"))
        )
    return data.getvalue()


WHEEL = "vendor/linker-1-py3-none-any.whl"


@dataclass(frozen=True)
class Case:
    """status, reason, tests: what must come of it; tests: how many are reported, where that matters.

    files: changes to the tree; None deletes, MAIN stands for the main checkout.
    """

    status: str
    reason: str = ""
    files: Mapping[str, str | bytes | None] = field(default_factory=dict)
    command: str = "pytest"
    env: Mapping[str, str] = field(default_factory=dict)
    tests: int | None = None

    def mistake(self, cell: Mapping[str, Any]) -> str:
        """What was reported, where it is not this; else nothing."""
        right = cell["status"] == self.status and self.reason in cell["reason"]
        if right and self.tests in (None, sum(cell["tests"].values())):
            return ""
        tails = "".join(attempt["tail"] for attempt in cell["attempts"])
        return f"{cell['status']}, {cell['tests']}: {cell['reason']}\n{cell['hint']}\n{tails}"


def edits_sys_path(folder: str, condition: str = "True", imports: str = "shop") -> str:
    return f"import os, sys\nif {condition}:\n    sys.path.insert(0, {folder})\nimport {imports}\n"


TREES = {
    "innocent": Case("passed", tests=1),
    "editable-of-another-checkout": Case("error", "another checkout", {**PLAIN, "requirements.txt": "-e MAIN\n"}),
    "editable-of-this-tree": Case("passed", files={"requirements.txt": "-e .\n"}),
    "pth-to-the-main-checkout": Case(
        "error", "linker.pth", {**PLAIN, "requirements.txt": f"./{WHEEL}\n", WHEEL: wheel("MAIN/src")}
    ),
    "pth-to-nowhere": Case("passed", files={**PLAIN, "requirements.txt": f"./{WHEEL}\n", WHEEL: wheel("/nowhere/src")}),
    "conftest-imports-from-the-main-checkout": Case(
        "error", "ran other code: shop from MAIN", {**PLAIN, "conftest.py": edits_sys_path("'MAIN/src'")}
    ),
    "conftest-imports-from-the-tree": Case(
        "passed", files={**PLAIN, "pytest.ini": "[pytest]\n", "conftest.py": edits_sys_path("os.path.abspath('src')")}
    ),
    "namespace-split-over-two-checkouts": Case(
        "error",
        "ran other code: acme",
        {
            **PLAIN,
            "src/acme/two.py": None,
            "conftest.py": "import sys\nsys.path.append('MAIN/src')\nimport acme.one, acme.two\n",
        },
    ),
    "namespace-of-the-tree": Case("passed", files={"conftest.py": "import acme.one, acme.two\n"}),
    "xdist-worker-imports-from-the-main-checkout": Case(
        "error",
        "ran other code: shop from MAIN",
        {
            **PLAIN,
            "requirements.txt": "pytest-xdist\n",
            "pytest.ini": "[pytest]\npythonpath = src\naddopts = -n2\n",
            "conftest.py": edits_sys_path("'MAIN/src'", "'PYTEST_XDIST_WORKER' in os.environ", "os"),
        },
    ),
    "xdist-imports-from-the-tree": Case(
        "passed",
        files={
            **PLAIN,
            "requirements.txt": "pytest-xdist\n",
            "pytest.ini": "[pytest]\npythonpath = src\naddopts = -n2\n",
        },
        tests=1,
    ),
    "a-test-leaves-the-process": Case(
        "error", "without finishing", {"tests/test_exit.py": "import os\n\ndef test_it():\n    os._exit(0)\n"}
    ),
    "a-test-ends-the-session": Case(
        "error",
        "1 of 3",
        {
            "tests/test_a.py": (
                "import pytest\n\ndef test_a():\n    pass\n\ndef test_b():\n    pytest.exit('enough', returncode=0)\n"
            )
        },
    ),
    "conftest-ends-the-session-before-it-starts": Case(
        "error",
        "pytest did not run",
        {"conftest.py": "import pytest\n\ndef pytest_configure():\n    pytest.exit('no', returncode=0)\n"},
    ),
    "conftest-ends-the-session-as-it-starts": Case(
        "error",
        "no test ran",
        {"conftest.py": "import pytest\n\ndef pytest_sessionstart():\n    pytest.exit('no', returncode=0)\n"},
    ),
    "conftest-says-all-is-well": Case(
        "failed",
        "1 tests failed",
        {
            "conftest.py": "def pytest_sessionfinish(session):\n    session.exitstatus = 0\n",
            "src/shop/__init__.py": "VALUE = 2\n",
        },
    ),
    "conftest-runs-no-test": Case(
        "error", "no test ran", {"conftest.py": "def pytest_runtestloop():\n    return True\n"}
    ),
    "conftest-drops-all-tests": Case(
        "error", "no test ran", {"conftest.py": "def pytest_collection_modifyitems(items):\n    items[:] = []\n"}
    ),
    "no-test-in-the-files": Case("error", "no test ran", {"tests/test_shop.py": "import shop\n"}),
    "everything-skipped": Case(
        "skipped",
        "all 2 tests were skipped",
        {"tests/test_shop.py": "import pytest\npytestmark = pytest.mark.skip('later')\n" + TWO_TESTS},
    ),
    "something-skipped": Case(
        "passed",
        files={"tests/test_skipped.py": "import pytest\npytestmark = pytest.mark.skip('later')\n" + TWO_TESTS},
        tests=3,
    ),
    "a-test-runs-pytest": Case(
        "passed",
        files={
            "inner/inside.py": TWO_TESTS + "\ndef test_bad():\n    assert False\n",
            "tests/test_nested.py": (
                "import subprocess, sys\n\n"
                "def test_nested():\n"
                "    command = [sys.executable, '-m', 'pytest', '-p', 'no:cacheprovider', 'inner/inside.py']\n"
                "    assert subprocess.run(command).returncode == 1\n"
            ),
        },
        tests=2,
    ),
    "a-venv-that-git-tracks": Case("passed", files={".venv": "not an environment\n"}),
}

COMMANDS = {
    "innocent": Case("passed", tests=1),
    "isolated": Case("error", "python -I", command="python -I -m pytest tests"),
    "isolated-with-a-pytest-inside": Case("error", "python -I", command="python -I -m pytest nested"),
    "environment-ignored": Case("error", "python -I", command="python -E -m pytest tests"),
    "plugin-blocked": Case("error", "without testgrove's plugin", command="pytest -p no:pytest_testgrove tests"),
    "other-environment": Case(
        "error", "not in this worktree's environment", command=f"{sys.executable} -m pytest tests"
    ),
    "no-environment": Case("error", "not in this worktree's environment", command="rm -rf .venv && pytest tests"),
    "other-folder": Case("error", "ran other code", command="cd MAIN && pytest tests"),
    "pythonpath": Case("error", "PYTHONPATH", env={"PYTHONPATH": "MAIN/src"}),
    "pythonpath-of-the-tree": Case("passed", env={"PYTHONPATH": "src"}, tests=1),
    "pythonpath-in-the-command": Case("error", "PYTHONPATH", command="PYTHONPATH=MAIN/src pytest tests"),
    "never-started": Case("error", "did not run", command="true || pytest tests"),
    "only-the-version": Case("error", "plugin", command="pytest --version"),
    "only-collected": Case("error", "no test ran", command="pytest --collect-only tests"),
    "nothing-selected": Case("error", "no test ran", command="pytest -k nothing_of_that_name tests"),
    "no-such-folder": Case("error", "invalid pytest arguments", command="pytest tests/missing"),
    "failure-behind-a-pipe": Case("failed", command="pytest failing/test_bad.py | cat", tests=1),
    "failure-forgiven": Case("failed", command="pytest failing/test_bad.py || true", tests=1),
    "second-of-two-leaves": Case("error", "without finishing", command="pytest tests && pytest failing/test_exit.py"),
    "not-pytest": Case("passed", "not verified", command="true", tests=0),
    "variables": Case("passed", command="pytest variables", env={"REDIS_URL": "redis://configured"}, tests=1),
}
VARIABLES = """\
import os
import subprocess

INHERITED = ("GIT_", "PG", "DATABASE", "PYTHONPATH", "PYTHONPYCACHE", "PYTEST_ADDOPTS")

def test_nothing_is_inherited():
    assert [name for name in os.environ if name.startswith(INHERITED)] == []
    assert os.environ["REDIS_URL"] == "redis://configured"
    top = subprocess.run(["git", "rev-parse", "--show-toplevel"], check=True, text=True, capture_output=True)
    assert top.stdout.strip() == os.getcwd()
"""
NESTED = """\
import subprocess, sys

def test_nested():
    assert subprocess.run([sys.executable, "-m", "pytest", "tests"]).returncode == 0
"""


FOR_COMMANDS = {
    "src/shop.py": "VALUE = 1\n",
    "pytest.ini": "[pytest]\npythonpath = src\ntestpaths = tests\n",
    "tests/test_shop.py": SHOP["tests/test_shop.py"],
    "failing/test_bad.py": "def test_bad():\n    assert False\n",
    "failing/test_exit.py": "import os\n\ndef test_it():\n    os._exit(0)\n",
    "variables/test_variables.py": VARIABLES,
    "nested/test_nested.py": NESTED,
}


def apply(grove: Grove, files: Mapping[str, str | bytes | None]) -> None:
    for name, content in files.items():
        path = grove.repo / name
        if content is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else unzipped(content, grove)
        path.write_bytes(data.replace(b"MAIN", str(grove.repo).encode()))


def unzipped(data: bytes, grove: Grove) -> bytes:
    """A wheel made again for this grove: its text is compressed away."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return wheel(archive.read("linker.pth").decode().strip().replace("MAIN", str(grove.repo)))


def test_run(grove: Grove, *words: str, **options: Any) -> dict[str, Any]:
    """`testgrove test`, as its report."""
    done = grove.run("test", *words, "--json", check=False, program=PROGRAM, timeout=200, **options)
    assert done.stdout, said(done)
    report: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == report["exit_status"], said(done)
    return report


test_run.__test__ = False  # type: ignore[attr-defined] # a helper


@pytest.mark.slow
def test_trees_are_judged_by_their_own_code(grove):
    """One run with a cell for each branch in TREES."""
    here = grove(files=SHOP)
    for name, case in TREES.items():
        here.git("switch", "--quiet", "--create", name, "main")
        apply(here, case.files)
        here.git("add", "--all", "--force")
        here.git("commit", "--quiet", "--allow-empty", "--message", name)
    here.git("switch", "--quiet", "main")
    report = test_run(here, *(word for name in TREES for word in ("--ref", name)))

    assert_right(here, TREES, {cell["ref"]: cell for cell in report["cells"]})
    assert report["exit_status"] == 1
    here.auditor().assert_no_leftovers()


@pytest.mark.slow
def test_commands_are_judged_by_what_they_ran(grove):
    """One run with a cell for each suite in COMMANDS, in an environment full of what must not be inherited."""
    here, other = grove(files=FOR_COMMANDS), grove(name="other")
    text = "".join(
        f"[suites.{name}]\ncommand = {json.dumps(case.command)}\nenv = {{ {entries(case.env)} }}\n"
        for name, case in COMMANDS.items()
    )
    config = here.repo / "testgrove.toml"
    here.write({config.name: text.replace("MAIN", str(here.repo)) + config.read_text()}, commit="Suites")
    inherited = {
        "PATH": ELSEWHERE,
        "GIT_DIR": str(other.repo / ".git"),
        "GIT_WORK_TREE": str(other.repo),
        "GIT_INDEX_FILE": str(other.repo / ".git/index"),
        "DATABASE_URL": "postgresql://somebody@db.example/real",
        "PGHOST": "db.example",
        "REDIS_URL": "redis://db.example",
        "PYTHONPATH": str(here.repo / "failing"),
        "PYTHONPYCACHEPREFIX": str(here.base / "compiled"),  # one place for all trees, of the same second and size
        "PYTEST_ADDOPTS": "-k nothing",
        "PYTHONUSERBASE": str(user_site(here.base)),
    }
    questions = (("status", "--porcelain"), ("for-each-ref",), ("worktree", "list"))
    before = [other.git(*words) for words in questions]
    report = test_run(here, env=inherited)

    assert_right(here, COMMANDS, {cell["suite"]: cell for cell in report["cells"]})
    commits = {attempt["commit"] for cell in report["cells"] for attempt in cell["attempts"]}
    assert commits == {here.git("rev-parse", "HEAD").strip()}
    assert [other.git(*words) for words in questions] == before
    here.run("remove", "test-no-environment-tree")  # which its suite has maimed
    here.auditor().assert_no_leftovers()


def assert_right(grove: Grove, cases: Mapping[str, Case], cells: Mapping[str, Any]) -> None:
    """Each cell is what its case says; else all that are not are shown."""
    assert set(cells) == set(cases)
    plain = {name: json.loads(json.dumps(cells[name]).replace(str(grove.repo), "MAIN")) for name in cases}
    wrong = [f"--- {name}\n{shown}" for name, case in cases.items() if (shown := case.mistake(plain[name]))]
    assert not wrong, "\n".join(wrong)


def user_site(base: Path) -> Path:
    """A user's own site folder, in which the project's name means something else."""
    for minor in range(9, 16):
        folder = base / f"user/lib/python3.{minor}/site-packages"
        folder.mkdir(parents=True)
        (folder / "shop.py").write_text("VALUE = 99\n")
        (folder / "usercustomize.py").write_text("import shop\n")
    return base / "user"


def entries(env: Mapping[str, str]) -> str:
    return ", ".join(f"{name} = {json.dumps(value)}" for name, value in env.items())


# What a test does to its worktree, or somebody to the parked one; and what the next run's tests find.
PREFIX = "import os, sys\n\ndef test_environment():\n    assert sys.prefix == os.path.abspath('.venv')\n"
FRESH = PREFIX + "\ndef test_value():\n    import shop\n    assert shop.VALUE == 2\n"
RECYCLED = {
    "byte-code-that-counts-as-fresh": """
import py_compile

def test_it():
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    assert py_compile.compile("src/shop.py", invalidation_mode=mode)
""",
    "a-pth-in-the-environment": """
import sysconfig

def test_it():
    with open(sysconfig.get_path("purelib") + "/shortcut.pth", "w") as file:
        file.write("MAIN/src\\n")
""",
    "a-package-installed-by-a-test": """
import subprocess, sys

def test_it():
    install = [sys.executable, "-m", "pip", "install", "--no-index"]
    subprocess.run([*install, "./vendor/linker-1-py3-none-any.whl"], check=True)
""",
    "the-environment-is-deleted": PREFIX,
    "the-environment-is-another-one": PREFIX,
    "the-environment-is-a-file": PREFIX,
    "nothing": PREFIX,
}
WITHOUT_LINKER = """
import importlib.metadata

def test_what_is_installed():
    assert "linker" not in {found.name for found in importlib.metadata.distributions()}
"""


@pytest.mark.slow
def test_recycling_carries_nothing_over(grove):
    here = grove(
        files={
            "src/shop.py": "VALUE = 1\n",
            "pytest.ini": "[pytest]\npythonpath = src\n",
            **{f"suites/{name}/test_it.py": text for name, text in RECYCLED.items()},
        }
    )
    config = here.repo / "testgrove.toml"
    suites = "".join(f"[suites.{name}]\ncommand = 'pytest suites/{name}'\n" for name in RECYCLED)
    here.write({config.name: suites + config.read_text()})
    apply(here, {f"suites/{name}/test_it.py": text for name, text in RECYCLED.items()})
    apply(here, {WHEEL: wheel("/nowhere")})
    first = test_run(here)
    assert first["status"] == "passed", first

    worktree = {name: here.tree(f"test-{name}-tree") for name in RECYCLED}
    shutil.rmtree(worktree["the-environment-is-deleted"] / ".venv")
    shutil.rmtree(worktree["the-environment-is-another-one"] / ".venv")
    (worktree["the-environment-is-another-one"] / ".venv").symlink_to(worktree["nothing"] / ".venv")
    shutil.rmtree(worktree["the-environment-is-a-file"] / ".venv")
    (worktree["the-environment-is-a-file"] / ".venv").write_text("not an environment\n")
    here.write({"src/shop.py": "VALUE = 2\n"})
    here.write({f"suites/{name}/test_it.py": FRESH + WITHOUT_LINKER for name in RECYCLED})
    second = test_run(here)

    reasons = {cell["suite"]: (cell["status"], cell["reason"], cell["attempts"][0]["tail"]) for cell in second["cells"]}
    assert {name: status for name, (status, *_) in reasons.items()} == dict.fromkeys(RECYCLED, "passed"), reasons
    built = rebuilt("suite", first, second)
    # A link or a file in place of `.venv` is its user's: that worktree is left alone, and another one is made.
    left = {"the-environment-is-another-one", "the-environment-is-a-file"}
    assert built == {*RECYCLED} - {"byte-code-that-counts-as-fresh", "nothing"} - left
    logs = {attempt["log"].partition("/")[0] for cell in second["cells"] for attempt in cell["attempts"]}
    assert logs == {f"test-{name}-tree{'-2' * (name in left)}" for name in RECYCLED}
    assert (worktree["the-environment-is-another-one"] / ".venv").is_symlink()
    assert (worktree["the-environment-is-a-file"] / ".venv").read_text() == "not an environment\n"
    for name in left:
        here.run("remove", f"test-{name}-tree", "--force")
    here.auditor().assert_no_leftovers()


def rebuilt(key: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> set[str]:
    """The cells, by their suite or ref, that tell in a second run why their environment was made anew."""
    before, after = (
        {cell[key]: "".join(span["reason"] for span in cell["phases"] if span["phase"] == "environment")
         for cell in report["cells"]}
        for report in (first, second)
    )  # fmt: skip
    return {name for name, reason in after.items() if reason != before[name]}


# A distribution of the tree's that is installed as a copy, not as a pointer to its code.
BUILD_COPIES = {
    "requirements.txt": "./libs/core\n",
    "libs/core/pyproject.toml": PYPROJECT.replace("shop", "core").replace(', "src/acme"', ""),
    "libs/core/src/core/__init__.py": "VALUE = 1\n",
    "tests/test_core.py": "import core\n\ndef test_value():\n    assert core.VALUE == 1\n",
}
BUILD_GENERATES = {
    "pyproject.toml": '[build-system]\nrequires = ["setuptools>=77"]\nbuild-backend = "setuptools.build_meta"\n',
    ".gitignore": "_built.py\n",
    "setup.py": (
        "from pathlib import Path\nfrom setuptools import setup\n"
        "Path('src/shop/_built.py').write_text(Path('src/shop/value.txt').read_text())\n"
        "setup(name='shop', packages=['shop'], package_dir={'': 'src'})\n"
    ),
    "src/shop/__init__.py": "from shop._built import VALUE\n",
    "src/shop/value.txt": "VALUE = 1\n",
}


@pytest.mark.slow
def test_a_stale_build_is_not_what_a_recycled_worktree_tests(grove):
    here = grove(files=SHOP)
    changed = {
        "copied": "libs/core/src/core/__init__.py",
        "generated": "src/shop/value.txt",
        "editable": "src/shop/__init__.py",
    }
    for name, files in (("copied", BUILD_COPIES), ("generated", BUILD_GENERATES), ("editable", {})):
        here.git("switch", "--quiet", "--create", name, "main")
        here.write({**files, "README.md": name}, commit=name)
    words = [word for name in changed for word in ("--ref", name)]
    first = test_run(here, *words)
    assert statuses(first) == dict.fromkeys(changed, "passed")

    for name, path in changed.items():
        here.git("switch", "--quiet", name)
        here.write({path: "VALUE = 2\n"}, commit="Another value")
    second = test_run(here, *words)
    assert statuses(second) == dict.fromkeys(changed, "failed")
    assert rebuilt("ref", first, second) == {"copied", "generated"}

    for name in changed:
        here.git("switch", "--quiet", name)
        here.git("reset", "--quiet", "--hard", "HEAD~1")
    assert statuses(test_run(here, *words)) == dict.fromkeys(changed, "passed")


def statuses(report: Mapping[str, Any]) -> dict[str, str]:
    """By ref."""
    return {cell["ref"]: cell["status"] for cell in report["cells"]}
