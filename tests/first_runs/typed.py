"""A hint, typed: the command that it shows is run, or the setting that it shows is written."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

from grove import Grove

_SETTING = re.compile(r"(?:add|set) (\w+ = .+?) (?:to|in) (?:the top of|\[([\w.]+)\] in) (\S+\.toml)")
_TABLE = re.compile(r"(?:declare|or:) \[([\w.]+)\](?: in (\S+\.toml))?()")
_INI = re.compile(r"add (.+) to (\S+\.ini)$")
_OPTION = re.compile(r"(--[a-z-]+ [\w.]+|--offline)(?=   |$)")
_AGAIN = re.compile(r"(?:^|: )(testgrove test .+?)(?=   |$)")
_LOG = re.compile(r"less (?:\+\d+ )?(\S+)")
_RENAMED = re.compile(r"[Dd]id you mean (\S+?)\?")
_SHELL = Path(sys.prefix) / "bin"


def environ(env: Mapping[str, str]) -> dict[str, str]:
    """Of a shell in which testgrove and uv are on PATH."""
    return {"PATH": f"{_SHELL}{os.pathsep}{os.environ['PATH']}", **env}


def type_hint(project: Grove, hint: str, words: list[str], env: Mapping[str, str], cwd: Path) -> tuple[list[str], Path]:
    """Do what a hint says; the command to run again, and where."""
    if option := _OPTION.match(hint):
        name, *value = option[1].split()
        at = words.index(name) if name in words else len(words)
        return [*words[:at], name, *value, *words[at + 1 + len(value) :]], cwd
    if settings := _SETTING.findall(hint):
        for line, table, file in settings:
            write_setting(project.repo / file, table, line)
    elif table := _TABLE.search(hint):
        write_setting(project.repo / (table[2] or "testgrove.toml"), table[1], "")
    elif ini := _INI.fullmatch(hint):
        with (project.repo / ini[2]).open("a") as file:
            file.write(f"{ini[1]}\n")
    elif hint.startswith("cd "):
        return words, cwd / shlex.split(hint)[1]
    elif again := _AGAIN.search(hint):
        return shlex.split(again[1])[1:], cwd
    elif renamed := _RENAMED.search(hint):
        (wrong,) = difflib.get_close_matches(renamed[1], words, 1)
        return [renamed[1] if word == wrong else word for word in words], cwd
    elif log := _LOG.match(hint):
        assert Path(log[1]).read_text(), hint
    else:
        quoted = re.match(r"run `([^`]+)`", hint)
        run(quoted[1] if quoted else hint.split("   ", maxsplit=1)[0], project.env | environ(env), cwd)
    return words, cwd


def write_setting(path: Path, table: str, line: str) -> None:
    """Write a line into a table of a file, empty for its top. An old value goes."""
    head = f"[{table}]" if table else ""
    lines = path.read_text().splitlines() if path.exists() else []
    name, at = line.partition(" = ")[0], 0
    if head:
        lines += [] if head in lines else ["", head]
        at = lines.index(head) + 1
    end = next((n for n in range(at, len(lines)) if lines[n].startswith("[")), len(lines))
    kept = [each for each in lines[at:end] if not name or not each.startswith(f"{name} = ")]
    text = "\n".join([*lines[:at], *filter(None, [line]), *kept, *lines[end:]]) + "\n"
    tomllib.loads(text)
    path.write_text(text)


def replace_line(path: Path, line: int, text: str) -> None:
    """Write another text in the place of a line."""
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines) + "\n")


def run(command: str, env: Mapping[str, str], cwd: Path) -> None:
    """Run a command as it was typed into a shell; it must succeed."""
    done = subprocess.run(
        ["sh", "-c", command], cwd=cwd, env=dict(env), capture_output=True, text=True, timeout=300, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
