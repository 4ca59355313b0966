"""Which engines a project uses, by its requirements, its Compose files and its code."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from testgrove.core.discovery.used_variables import is_env_file
from testgrove.core.environments.declared import normal, parse_toml, read_declared

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from testgrove.core.engines.declaration import Engine

OTHER_DATABASES = frozenset(("mysqlclient", "pymysql", "aiosqlite", "mysql-connector-python"))
_DECLARING = ("pyproject.toml", "setup.cfg", "setup.py")
_LISTING = (".txt", ".in", "Pipfile")


def requirements(texts: Mapping[str, str]) -> set[str]:
    """The names of all distributions that the project asks for, in whatever way. Raises PreconditionError
    (``environment-failed``)."""
    declared = read_declared({name: texts[name].encode() for name in _DECLARING if name in texts})
    groups = (*declared.extras.values(), *declared.groups.values())
    lines: list[str] = [*declared.dependencies, *(str(each) for group in groups for each in group)]
    lines += [line for name, text in texts.items() if name.endswith(_LISTING) for line in text.splitlines()]
    poetry = parse_toml(texts.get("pyproject.toml", "").encode()).get("tool", {}).get("poetry", {})
    for part in (poetry, *poetry.get("group", {}).values()):
        lines += [*part.get("dependencies", {}), *part.get("dev-dependencies", {})]
    found = (re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[([^\]]*)\])?", line) for line in lines)
    # An extra often bears the name of what it adds: celery[redis].
    return {normal(name.strip()) for match in found if match for name in (match[1], *(match[2] or "").split(","))}


def runs_in_compose(images: str, texts: Mapping[str, str]) -> bool:
    """Return whether a Compose file has one of an engine's images. images: a regular expression; empty for none."""
    if not images:
        return False
    composed = (text for name, text in texts.items() if _is_yaml(name))
    image = re.compile(rf"^\s*image:\s*[\"']?(?:\S*/)?(?:{images})", re.MULTILINE)
    return any(image.search(text) for text in composed)


def is_used(engine: Engine, texts: Mapping[str, str]) -> bool:
    """Return whether a project's code or env files mention an engine. Without code to read, it may."""
    code = {path: text for path, text in texts.items() if path.endswith(".py") and path not in _DECLARING}
    if engine.migrates or not code:  # a database may be known by a URL alone
        return True
    words = {*engine.hints.packages, *engine.hints.prefixes, *engine.hints.urls, *engine.schemes}
    pattern = "|".join(re.escape(word).replace(r"\-", "[-_]") for word in sorted(words))
    mention = re.compile(rf"(?<![a-z])(?:{pattern})(?![a-z])", re.IGNORECASE)
    url = re.compile(rf"\b(?:{'|'.join(engine.schemes)})://")
    if any(mention.search(text) for path, text in texts.items() if path in code or is_env_file(path)):
        return True
    return any(url.search(text) for path, text in texts.items() if _is_yaml(path))


def _is_yaml(path: str) -> bool:
    """Return whether a file is a Compose file or a workflow, which has images of services as well."""
    return path.endswith(("yml", "yaml"))


def guessed(engines: Iterable[Engine]) -> str:
    """The engine of a project that has migrations, and says nothing else."""
    return next(each.name for each in engines if each.hints.guessed)
