"""Failures of a first run: what the project is, what is typed, and what the last lines must name."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import needs
from grove import Grove

PASSES = "def test_it(): pass\n"


@dataclass(frozen=True)
class Case:
    """files, config: of the project; prepare: more of it. words: what is typed. cause, hint: patterns of what is in the
    last three lines. after: the exit status of the same command once the hint was typed; None where the hint's command
    shows the failure again, outside of testgrove. env: variables. where: the folder in the project in which it is
    typed. change: the line of the settings in whose place the hint is written.
    """

    cause: str
    hint: str
    files: Mapping[str, str] = field(default_factory=dict)
    config: str = ""
    words: tuple[str, ...] = ("test", "--here")
    after: int | None = 0
    env: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[Grove], None] | None = None
    where: str = ""
    change: int = 0


def test(body: str, **files: str) -> dict[str, str]:
    """The files of a project with one test file."""
    return {"tests/test_a.py": body, **files}


def conftest(body: str) -> dict[str, str]:
    """The files of a project with a conftest, and a test that passes."""
    return {"tests/conftest.py": body, "tests/test_a.py": PASSES}


def _plain(project: Grove) -> None:
    folder = project.base / "plain"
    folder.mkdir()
    (folder / "README.md").write_text("mine\n")


def _empty(project: Grove) -> None:
    _plain(project)
    project.git("init", "--quiet", str(project.base / "plain"))


def _bare(project: Grove) -> None:
    top = project.base / "plain"
    project.git("clone", "--quiet", "--bare", str(project.repo), str(top / ".bare"))
    (top / ".git").write_text("gitdir: ./.bare\n")
    project.git("-C", str(top / ".bare"), "worktree", "add", "--quiet", str(top / "main"), "main")


def _side_by_side(project: Grove) -> None:
    for name in ("main", "feature"):
        project.git("clone", "--quiet", str(project.repo), str(project.base / "plain" / name))


def _worktree(project: Grove) -> None:
    project.create("test-unit", "a")


CREATE = ("create", "--purpose=test-unit", "--identifier=a", "--no-env", "--branch")
TRUE = '[suites.integration]\ncommand = "true"\n'

AT_ONCE = {
    "no repository": Case(
        "is not in a git repository", "git init && git add --all && git commit", words=("list",), prepare=_plain,
        where="../plain",
    ),
    "no commit": Case(
        "HEAD has no commit yet", "git add --all && git commit", words=("list",), prepare=_empty, where="../plain"
    ),
    "the top of a bare layout": Case(
        "is a bare repository", "cd main$", words=("list",), prepare=_bare, where="../plain"
    ),
    "a folder of checkouts": Case(
        "is not in a git repository", "cd main$", words=("list",), prepare=_side_by_side, where="../plain"
    ),
    "in the .git folder": Case("is inside a .git folder", "cd /.*/project$", words=("list",), where=".git"),
    "an unknown command": Case("No such command 'lsit'", r"Did you mean list\?", words=("lsit",)),
    "an unknown suite": Case(
        "suite 'intergation' not found", "testgrove test integration   available: integration", config=TRUE,
        words=("test", "intergation"),
    ),
    "an unknown ref": Case("branch, tag or commit 'mian' not found", r"did you mean main\?", words=(*CREATE, "mian")),
    "an unknown Python": Case(
        r"Python 3\.99 not found \(available: ", r"--python 3\.\d+   or", config=TRUE,
        words=("test", "--python", "3.99"),
    ),
    "an unknown dependency set": Case(
        "dependency set 'lowst' not found", "--deps lowest   available: ", config=TRUE,
        words=("test", "--deps", "lowst"),
    ),
    "a worktree that exists": Case(
        "test-unit-a already exists", "testgrove remove test-unit-a   ", words=(*CREATE, "main"), prepare=_worktree
    ),
    "a worktree that does not": Case("'b' not found in this project", "testgrove list", words=("path", "b"), after=3),
    "a setting with a typo": Case(
        r"testgrove.toml:1: 'colect': unknown key", "did you mean collect", config="colect = []\n", words=("test",),
        after=2, change=1,
    ),
    "a setting of another type": Case(
        r"testgrove.toml:3: 'suites.unit.timeout': expected seconds \(a number\), found \"10 minutes\"",
        "timeout = 600", config='[suites.unit]\ncommand = "true"\ntimeout = "10 minutes"\n', words=("test", "nope"),
        after=2, change=3,
    ),
    "a setting that must be a list": Case(
        r"testgrove.toml:1: 'copy': expected a list, found \".env\"", r'copy = \[".env"\]', config='copy = ".env"\n',
        words=("test", "nope"), after=2, change=1,
    ),
    "settings that are not TOML": Case(
        r"testgrove.toml:1: not valid TOML: ", r"less \+1 /", config="park = \n", words=("test",), after=2
    ),
    "no run yet": Case("no runs yet in ", "testgrove test", config=TRUE, words=("report", "show")),
    "a file where the state folder is": Case(
        "is not a folder", "mv ", words=("list",), prepare=lambda project: project.state.write_text("") and None
    ),
}  # fmt: skip

VARIABLE = "import os\n\nos.environ['SECRET_KEY']\n"
DJANGO = (
    "class ImproperlyConfigured(Exception): pass\nif 'DJANGO_SETTINGS_MODULE' not in os.environ:\n"
    "    raise ImproperlyConfigured('Requested setting DATABASES, but settings are not configured. "
    "You must either define the environment variable DJANGO_SETTINGS_MODULE or call settings.configure()')\n"
)
MANAGE = "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n"
SERVER = "import os\n\n\ndef test_it():\n    if '{}' not in os.environ:\n        raise ConnectionError('{}')\n"
REDIS = SERVER.format("REDIS_URL", "Error 111 connecting to localhost:6379. Connection refused.")
POSTGRES = SERVER.format("DATABASE_URL", "connection to 127.0.0.1, port 5432 failed: Connection refused")

EDITABLE = """\
try:
    import tgnope
except ImportError:
    raise ImportError("re-building the shop meson-python editable wheel package failed with: ...") from None
"""
NO_PYTEST = Case("pytest is not installed in ", "uv pip install --python .* pytest$", test(PASSES))
NO_PYTHON = Case("the environment has no Python: ", "uv venv .*/none   or", test(PASSES), after=1)

IN_PLACE = {
    "no tests": Case(
        "no test suites found", r'add command = "pytest" to \[suites.unit\] in testgrove.toml$',
        {"README.md": "mine\n"}, after=1,
    ),
    "an editable installation that cannot be built again": Case(
        "its editable installation is built when it is imported, and needs tgnope",
        "uv pip install --python .* tgnope$",
        {**conftest(EDITABLE), "pyproject.toml": '[build-system]\nrequires = ["tgnope"]\n'},
    ),
    "a syntax error in a conftest": Case(
        r"SyntaxError: .* \(tests/conftest.py, line 1\)", "less /.*/output.log", conftest("def f(:\n"), after=1
    ),
    "a conftest that imports what is not installed": Case(
        r"No module named 'tgnope' \(tests/conftest.py\)", "uv pip install --python .* tgnope",
        conftest("import tgnope\n"),
    ),
    "a test that imports what is not installed": Case(
        "No module named 'tgnope'", "uv pip install --python .* tgnope", test(f"import tgnope\n\n\n{PASSES}")
    ),
    "a src layout that is not installed": Case(
        "shop is in src/ of the project, which is not installed",
        r'add pythonpath = \["src"\] to \[tool.pytest.ini_options\] in pyproject.toml',
        test(f"import shop\n\n\n{PASSES}", **{"src/shop/__init__.py": ""}),
    ),
    "a module at the top, and a pytest.ini": Case(
        r"shop is in \./ of the project", r"add pythonpath = \. to pytest.ini",
        test(f"import shop\n\n\n{PASSES}", **{"shop.py": "", "pytest.ini": "[pytest]\n"}),
    ),
    "an option of a plugin that is missing": Case(
        "unrecognized arguments: --cov=src; pytest-cov is not installed", "uv pip install --python .* pytest-cov",
        test(PASSES, **{"pytest.ini": "[pytest]\naddopts = --cov=src\n"}),
    ),
    "a fixture of a plugin that is missing": Case(
        "pytest-mock is not installed", "uv pip install --python .* pytest-mock", test("def test_it(mocker): pass\n")
    ),
    "a plugin that fails": Case(
        "RuntimeError: no licence file", "less /.*/output.log",
        {"conftest.py": "def pytest_configure():\n    raise RuntimeError('no licence file')\n", **test(PASSES)},
        after=1,
    ),
    "pytest.exit": Case(
        "start the database first", "less /.*/output.log",
        conftest("import pytest\n\n\ndef pytest_configure():\n    pytest.exit('start the database first', 3)\n"),
        after=1,
    ),
    "an unknown test": Case(
        "not found: tests/test_a.py::test_b", "less /.*/output.log", test(PASSES),
        words=("test", "--here", "tests/test_a.py::test_b"), after=1,
    ),
    "a test file with a typo": Case(
        "'tests/test_aa.py' not found", "testgrove test tests/test_a.py", test(PASSES),
        words=("test", "--here", "tests/test_aa.py"),
    ),
    "an option of pytest": Case(
        "No such option '-x'", "testgrove test --here -- -x", test(PASSES), words=("test", "--here", "-x")
    ),
    "a variable that is not set": Case(
        "the environment variable SECRET_KEY is not set", r'add SECRET_KEY = "test" to \[env\] in testgrove.toml',
        conftest(VARIABLE),
    ),
    "a variable that an example file has": Case(
        "the environment variable SECRET_KEY is not set", r'add SECRET_KEY = "from-example" to \[env\] in',
        test("import os\n\n\ndef test_it():\n    assert os.environ['SECRET_KEY'] == 'from-example'\n",
             **{".env.example": "SECRET_KEY=from-example\n"}),
    ),
    "a setting of pydantic's that is missing": Case(
        "the environment variable SECRET_KEY is not set", r'add SECRET_KEY = .* to \[env\] in',
        test("import os\n\n\ndef test_it():\n    if 'SECRET_KEY' not in os.environ:\n        raise ValueError("
             "'1 validation error for Settings\\nsecret_key\\n  Field required [type=missing]')\n"),
    ),
    "no settings of Django": Case(
        "settings are not configured", r'add DJANGO_SETTINGS_MODULE = "shop.settings" to \[env\]',
        {**conftest(f"import os\n\n\n{DJANGO}"), "manage.py": MANAGE},
    ),
    "no Redis": Case(
        "nothing listens on port 6379", r"^declare \[services.redis\] in testgrove.toml$", test(REDIS)
    ),
    "no PostgreSQL": Case(
        "nothing listens on port 5432", r"^declare \[services.postgres\] in testgrove.toml$", test(POSTGRES)
    ),
    "a test that takes too long": Case(
        "timed out after 1 s", r"set timeout = 2 in \[suites.unit\] in testgrove.toml",
        test("import time; time.sleep(1.3)\n"),
        config='[suites.unit]\ncommand = "python tests/test_a.py"\ntimeout = 1\n',
    ),
}  # fmt: skip


def _env_file(project: Grove) -> None:
    (project.repo / ".env").write_text("SECRET_KEY=x\n")


def _local_file(project: Grove) -> None:
    (project.repo / "local.json").write_text("{}\n")


def _submodule(project: Grove) -> None:
    """A submodule that was never checked out, at a path that git's own default refuses for it."""
    other = project.sibling("vendored", files={"lib.py": "VALUE = 1\n"})
    project.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other.repo), "vendor")
    project.git("commit", "--quiet", "--message", "vendor")
    project.git("submodule", "--quiet", "deinit", "--force", "vendor")
    shutil.rmtree(project.repo / ".git/modules")


def _lfs(project: Grove) -> None:
    if not shutil.which("git-lfs"):
        needs.missing("git-lfs", "git-lfs is not installed")
    project.git("lfs", "install", "--local")
    project.write({"a.bin": "data", ".gitattributes": "*.bin filter=lfs\n"}, commit="data")


LOADS_ENV = """\
import os, pathlib

if pathlib.Path(".env").exists():
    os.environ["SECRET_KEY"] = "x"
os.environ["SECRET_KEY"]
"""
BACKEND = """\
import sys


def build_editable(*_):
    print("shop.c:1:10: fatal error: tgfoo.h: No such file or directory", file=sys.stderr)
    print("compilation terminated.\\n" * 30, file=sys.stderr)
    sys.exit(1)
"""
SIX = f"import tgsix\n\n\n{PASSES}"
TEST = ("test",)

WORKTREES = {
    "a module that another requirement file declares": Case(
        r"requirements-dev.txt declares it and was passed over \(",
        r'add file = "requirements-dev.txt" to \[dependencies.dev\] in .* and add dependencies_default = "dev" to the',
        test(SIX, **{"requirements-test.txt": "pytest\ntgnope==1.0\n", "requirements-dev.txt": "tgsix\ntgnope==2.0\n"}),
        words=TEST,
    ),
    "a module that nothing declares": Case(
        "No module named 'tgsix'", "printf .* >> requirements-test.txt",
        test(SIX, **{"requirements-test.txt": "pytest"}), words=TEST,
    ),
    "a module that a project without requirements lacks": Case(
        "No module named 'tgsix'", "printf .* >> requirements-test.txt", test(SIX), words=TEST
    ),
    "a variable that an ignored file sets": Case(
        r"SECRET_KEY is not set; \.env of the main checkout sets it and is not copied",
        r'add copy = \["\.env"\] to the top',
        {**conftest(LOADS_ENV), ".gitignore": ".env\n"}, words=TEST, prepare=_env_file,
    ),
    "a file that git ignores": Case(
        "local.json is in the main checkout, is not in git and is not copied",
        r'add copy = \["local.json"\] to the top',
        {**test("def test_it(): open('local.json')\n"), ".gitignore": "local.json\n"}, words=TEST, prepare=_local_file,
    ),
    "a submodule that is not checked out": Case(
        "cannot check out the submodules of .*transport 'file' not allowed", "git -C /.* submodule update --init",
        config='[suites.unit]\ncommand = "true"\n', words=TEST, prepare=_submodule,
        env={"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "protocol.file.allow", "GIT_CONFIG_VALUE_0": "always"},
    ),
    "a pointer of Git LFS": Case(
        "a.bin is a pointer of Git LFS", "add lfs = true to the top of testgrove.toml",
        test("def test_it():\n    with open('a.bin') as file:\n        assert file.read() == 'data', 'a.bin'\n"),
        words=TEST, prepare=_lfs,
    ),
    "pins that contradict one another": Case(
        "Because you require tgnope==1.0 and tgnope==2.0", "change the requirements that conflict; to check: E=",
        test(PASSES, **{"requirements.txt": "tgnope==1.0\ntgnope==2.0\n"}), words=TEST, after=None,
    ),
    "an index that does not answer": Case(
        "Failed to fetch: .*127.0.0.1:9/", "^--offline   with a warm cache",
        test(PASSES, **{"requirements.txt": "tgnope\n"}), words=TEST, after=1,  # nothing of this index is cached
        env={"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple", "UV_HTTP_RETRIES": "0", "UV_NO_INDEX": ""},
    ),
    "a package that the cache lacks": Case(
        "tgother.*not found in the cache", "run it once without --offline",
        test(PASSES, **{"requirements.txt": "tgother\n"}), words=("test", "--offline"), after=None,
        env={"UV_NO_INDEX": ""},
    ),
    "a project that cannot be built": Case(
        "fatal error: tgfoo.h: No such file or directory", "^E=.* pip install --python .* -e .$",
        test(PASSES, **{
            "requirements-test.txt": "pytest\n",
            "pyproject.toml": '[project]\nname = "shop"\nversion = "1"\n'
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
            "backend.py": BACKEND,
        }),
        words=TEST, after=None,
    ),
    "a Python that does not fit": Case(
        "Python 3.* does not match requires-python '>=3.11'", r"^--python 3\.\d+$",
        test(PASSES, **{"pyproject.toml": '[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.11"\n'}),
        words=("test", "--python", "3.9"),
    ),
    "a pinned Python that is not there": Case(
        r"Python 3\.99 \(named by \.python-version\) not found", r"^--python 3\.\d+   or, to install it",
        test(PASSES, **{".python-version": "3.99\n"}), words=TEST,
    ),
}  # fmt: skip
