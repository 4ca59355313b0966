"""The examples of the documentation are typed, in order, and must do what the pages say.

Each ``console`` block of a page goes to one bash, which starts in a copy of the example project. A command is a line
that begins with ``$`` and must succeed; the lines after it must be in its output, in any order, up to numbers, hashes
and the folder; ``...`` stands for others. Comments above a block: ``<!-- not run: why -->``, ``<!-- exit status 3 -->``
(of its last command), ``<!-- needs python3.12 curl -->``; ``the-projects-pytest`` is one in an environment that the
example project is installed into, with our plugin.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from uv import find_uv_bin

import needs
from grove import Grove
from testgrove.core.settings.parse import parse

HERE = Path(__file__).resolve().parents[2]
PAGES = [HERE / "README.md", *sorted((HERE / "docs").rglob("*.md"))]
BLOCK = re.compile(r"((?:^<!--[^\n]*-->\n)*)^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = "\036"


@dataclass(frozen=True)
class Block:
    """comments: those above it. line: where it stands."""

    kind: str
    text: str
    comments: str
    line: int

    @property
    def status(self) -> int:
        """The exit status of its last command."""
        found = re.search(r"exit status (\d+)", self.comments)
        return int(found[1]) if found else 0


@dataclass(frozen=True)
class Command:
    """One line that is typed, its exit status, and lines of its output."""

    text: str
    status: int
    output: tuple[str, ...]
    line: int


def blocks(page: Path, kind: str) -> list[Block]:
    text = page.read_text()
    return [
        Block(found[2], found[3], found[1], text[: found.start(3)].count("\n"))
        for found in BLOCK.finditer(text)
        if found[2] == kind
    ]


def commands(page: Path) -> list[Command]:
    found = []
    for block in blocks(page, "console"):
        if "not run" in block.comments:
            continue
        typed = re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]
        for number, each in enumerate(typed, 1):
            text, *output = each.splitlines()
            status = block.status if number == len(typed) else 0
            found.append(Command(text, status, tuple(line for line in output if line.strip() != "..."), block.line))
    return found


def ids(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(HERE)) for page in pages]


WITH_COMMANDS = [page for page in PAGES if commands(page)]


SHOP = HERE / "examples/shop"
PROJECTS = "the-projects-pytest"


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """One cache for all pages: what is shown is not how templates are built."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def project(grove) -> Grove:
    """The example project, with ports of its own: so its settings stand in a testgrove.toml here."""
    names = subprocess.run(("git", "ls-files"), cwd=SHOP, check=True, capture_output=True, text=True).stdout.split()
    files = {name: (SHOP / name).read_text() for name in names}
    start = files["pyproject.toml"].index("[tool.testgrove")
    end = files["pyproject.toml"].index("[tool.pytest")
    config = files["pyproject.toml"][start:end].replace("[tool.testgrove.", "[")
    files["pyproject.toml"] = files["pyproject.toml"][:start] + files["pyproject.toml"][end:]
    return grove(name="shop", files=files, config=config)


def type_all(page: Path, project: Grove, cwd: Path, env: dict[str, str]) -> list[tuple[Command, str]]:
    """Type a page's commands into one bash, up to the first that ends otherwise than expected. What each one wrote."""
    typed = commands(page)
    lines = ["set -o pipefail"]
    for command in typed:
        lines.append(command.text)
        lines.append(f'__status=$?; printf "{MARK}%s{MARK}" $__status; [ $__status = {command.status} ] || exit 99')
    script = project.base / "script.sh"
    script.write_text("\n".join(lines))
    done = subprocess.run(
        ["bash", script],
        cwd=cwd, env=env, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=900, check=False,
    )  # fmt: skip
    parts = done.stdout.split(MARK)
    for command, output, status in zip(typed, parts[::2], parts[1::2], strict=False):
        where = f"{page.name}:{command.line}: $ {command.text}"
        assert int(status) == command.status, f"{where}\nexit status {status}, not {command.status}:\n{output}"
    assert len(parts) // 2 == len(typed), f"{page.name}: bash ended early:\n{parts[-1]}"
    return list(zip(typed, parts[::2], strict=False))


def plain(text: str, base: str) -> str:
    """Text without what differs from run to run: the folder, hashes, numbers, the width of columns."""
    text = text.replace(base, "/home/me")
    text = re.sub(r"\d{8}-\d{6}-[0-9a-f]{4}", "RUN", text)
    text = re.sub(r"\b[0-9a-f]{10,40}\b", "HASH", text)
    text = re.sub(r"-[0-9a-f]{4}\b", "-ID", text)
    text = re.sub(r"\b\d+ min \d+ s\b|\b\d+(\.\d+)? s\b", "TIME", text)
    return " ".join(re.sub(r"\d+", "N", text).split())


def install(project: Grove, env: dict[str, str]) -> Path:
    """Make an environment of a project's, as its user does: what is in its lock file, and our plugin."""
    folder = project.base / "environment"
    env = env | {"UV_PROJECT_ENVIRONMENT": str(folder), "VIRTUAL_ENV": str(folder)}
    for words in (
        ("sync", "--quiet", "--frozen", "--python", sys.executable),
        ("pip", "install", "--quiet", str(HERE / "packages/pytest-testgrove")),
    ):
        done = subprocess.run(
            (find_uv_bin(), *words), cwd=project.repo, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    return folder / "bin"


def require(page: Path) -> None:
    """Skip a page whose blocks need what this machine does not have."""
    for block in blocks(page, "console"):
        for word in re.findall(r"needs (.*?) -->", block.comments):
            for what in word.split():
                if what == PROJECTS:
                    continue
                if what.startswith("python"):
                    needs.interpreter(what.removeprefix("python"))
                elif not shutil.which(what):
                    needs.missing(what, f"there is no {what}")


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.redis
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=ids(WITH_COMMANDS))
def test_the_commands_of_a_page(page, project, cache, tmp_path, require_postgres, require_redis):
    require(page)
    cwd = project.repo
    if page.name == "tutorial.md":  # it starts in a clone of testgrove
        cwd = project.base / "testgrove"
        shutil.rmtree(project.repo / ".git")
        (cwd / "examples").mkdir(parents=True)
        project.repo.rename(cwd / "examples/shop")
    (tmp_path / "testgrove").symlink_to(Path(sys.executable).with_name("testgrove"))
    identity = {
        f"GIT_{who}_{what}": "me@example.invalid" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    path = os.pathsep.join([str(tmp_path), "/usr/local/bin:/usr/bin:/bin"])
    env = project.env | identity | {"PATH": path, "TESTGROVE_CACHE_DIR": str(cache), "BROWSER": "true"}
    env.pop("VIRTUAL_ENV", None)
    if any(PROJECTS in block.comments for block in blocks(page, "console")):
        env["PATH"] = os.pathsep.join([str(install(project, env)), env["PATH"]])
    for command, output in type_all(page, project, cwd, env):
        there = [plain(line, str(project.base)) for line in output.splitlines()]
        for line in command.output:
            expected = plain(line, str(project.base))
            assert expected in there, (
                f"{page.name}:{command.line}: $ {command.text}\nnot in its output: {line}\n{output}"
            )


@pytest.mark.parametrize("page", PAGES, ids=ids(PAGES))
def test_every_table_of_settings_is_accepted(page):
    for block in blocks(page, "toml"):
        parse(block.text, Path(f"{page.name}:{block.line}"), table="[tool.testgrove" in block.text)


@pytest.mark.parametrize("page", PAGES, ids=ids(PAGES))
def test_every_block_of_python_and_json_can_be_read(page):
    for block in blocks(page, "python"):
        compile(block.text, f"{page.name}:{block.line}", "exec")
    for block in blocks(page, "json"):
        json.loads(block.text)
