"""The databases that a project's files name: Alembic's, Django's, those of ``.env`` files. Runs nothing.

A value that can only be found by running the project is skipped: in that case the migration's connections are watched,
and its own database must not be empty afterwards.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

from testgrove.core.connections.addresses import ENGINES, Address, resolve_postgres, resolve_url
from testgrove.core.frozen import frozen

_DJANGO_ENGINES = {
    name: ENGINES[name.partition("_")[0]] for name in ("postgresql", "postgresql_psycopg2", "postgis", "mysql")
}
# What env.py does that uses another URL than alembic.ini's.
_ENVIRONMENT = frozenset({"environ", "getenv", "environb", "get_x_argument"})
_SETTERS = frozenset({"set_main_option", "set_section_option"})
_ASK_THE_FILE = frozenset({
    "engine_from_config", "async_engine_from_config", "get_main_option", "get_section", "get_section_option",
})  # fmt: skip
_URL_KEYS = frozenset({"sqlalchemy.url", "url"})
_READERS = frozenset({"get", "getenv", "config", "env", "str"})  # os.environ.get, os.getenv, decouple, django-environ


@frozen
class NamedDatabase:
    """A database that a file names. line: from 1. key: of the setting. leads_to: as the command would resolve it."""

    file: str
    line: int
    key: str
    leads_to: tuple[Address, ...]


def in_alembic_ini(file: str, text: str, here: str, environ: Mapping[str, str]) -> Iterator[NamedDatabase]:
    """Return the ``sqlalchemy.url`` of each section. here: the file's folder, ``%(here)s``."""
    import configparser  # noqa: PLC0415 - few projects have such a file

    parser = configparser.ConfigParser({"here": here}, strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return
    for section in parser.sections():
        try:
            url = parser.get(section, "sqlalchemy.url", fallback="")
        except configparser.Error:  # it refers to what env.py adds
            continue
        if leads_to := _leads_to(url, environ):
            yield NamedDatabase(file, _line_of(text, "sqlalchemy.url", section), "sqlalchemy.url", leads_to)


def script_location(text: str, here: str) -> str:
    """The folder of env.py that an alembic.ini names, relative to the current folder. here: the file's folder."""
    found = re.search(r"^\s*script_location\s*[=:]\s*(\S+)", text, re.MULTILINE)
    return found[1].replace(":", "/").replace("%(here)s", here) if found else "."


def overrides_url(env_py: str) -> bool:
    """Return whether an env.py takes its URL, or its engine, from elsewhere than alembic.ini, as far as it can be read.

    It does where it reads the environment, sets the URL, or never asks the file for it to connect.
    """
    try:
        module = ast.parse(env_py)
    except (SyntaxError, ValueError):
        return False
    nodes = list(ast.walk(module))
    if any(_name_of(node) in _ENVIRONMENT or _sets_url(node) for node in nodes):
        return True
    offline = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.name == "run_migrations_offline"]
    unconnected = {id(inner) for node in offline for inner in ast.walk(node)}
    return not any(_name_of(node) in _ASK_THE_FILE for node in nodes if id(node) not in unconnected)


def _name_of(node: ast.AST) -> str:
    return str(getattr(node, "attr", getattr(node, "id", "")))


def _sets_url(node: ast.AST) -> bool:
    if isinstance(node, ast.Dict):
        return any(_literal(key) == "sqlalchemy.url" for key in node.keys)
    if isinstance(node, ast.Assign):
        keys = (target.slice for target in node.targets if isinstance(target, ast.Subscript))
        return any(_literal(key) in _URL_KEYS for key in keys)
    if not isinstance(node, ast.Call):
        return False
    name = _name_of(node.func)
    if name in _SETTERS:
        return any(_literal(argument) == "sqlalchemy.url" for argument in node.args)
    return name.endswith("engine_from_config") and any(keyword.arg == "url" for keyword in node.keywords)


def read_env(text: str) -> dict[str, tuple[str, int]]:
    """The variables of a ``.env`` file, with their lines."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = re.fullmatch(
            r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^#]*?))\s*(?:\s#.*)?", line
        )
        if match:
            found[match[1]] = (next((part for part in match.groups()[1:] if part is not None), ""), number)
    return found


def in_env_file(file: str, text: str, environ: Mapping[str, str], *, comes_first: bool) -> Iterator[NamedDatabase]:
    """Yield the databases that the variables of a ``.env`` file name, except those for tests.

    The command's own variables take precedence over the file's, unless comes_first says otherwise.
    """
    for key, (value, line) in read_env(text).items():
        if (key in environ and not comes_first) or "TEST" in key.upper().split("_"):
            continue
        leads_to = tuple(one for one in _leads_to(value, environ) if one.engine in _DJANGO_ENGINES.values())
        if leads_to and "://" in value:
            yield NamedDatabase(file, line, key, leads_to)


def in_django_settings(file: str, text: str, alias: str, environ: Mapping[str, str]) -> list[NamedDatabase] | None:
    """Return the databases that ``DATABASES[alias]`` names. environ: with the variables of ``.env``.

    Empty if this cannot be determined for each assignment; None if the setting does not exist.
    """
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError):
        return None
    assigned = [value for node in ast.walk(module) if (value := _databases(node, alias)) is not None]
    if not assigned:
        return None
    found = [NamedDatabase(file, value.lineno, f"DATABASES['{alias}']", _django(value, environ)) for value in assigned]
    return found if all(one.leads_to for one in found) else []


def star_imports(text: str) -> list[str]:
    """The modules from which a module takes all names, as they are written, such as ``.base``."""
    try:
        nodes = ast.parse(text).body
    except (SyntaxError, ValueError):
        return []
    return [
        "." * node.level + (node.module or "")
        for node in nodes
        if isinstance(node, ast.ImportFrom) and any(name.name == "*" for name in node.names)
    ]


def _databases(node: ast.AST, alias: str) -> ast.expr | None:
    """Return what an assignment gives ``DATABASES[alias]``."""
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return None
    for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
        if isinstance(target, ast.Name) and target.id == "DATABASES":
            return _item(node.value, alias) if isinstance(node.value, ast.Dict) else node.value
        inner = target.value if isinstance(target, ast.Subscript) else None
        names = [each.id for each in ast.walk(target) if isinstance(each, ast.Name)]
        if inner is not None and "DATABASES" in names:
            return node.value
    return None


def _leads_to(url: str, environ: Mapping[str, str]) -> tuple[Address, ...]:
    """Return where a URL leads; empty if it is invalid, or refers to what is filled in later (``${HOST}``, ``{{ host
    }}``)."""
    return () if "${" in url or "{{" in url else resolve_url(url, environ)


def _django(value: ast.expr, environ: Mapping[str, str]) -> tuple[Address, ...]:
    """Return the addresses of one entry of DATABASES; empty if they cannot be determined."""
    if isinstance(value, ast.Call):  # dj_database_url.parse("postgresql://…")
        name = _name_of(value.func)
        text = _literal(value.args[0]) if name == "parse" and value.args else None
        return _leads_to(text, environ) if isinstance(text, str) else ()
    if not isinstance(value, ast.Dict):
        return ()
    engine = _DJANGO_ENGINES.get(str(_value(_item(value, "ENGINE"), environ)).rpartition(".")[2], "")
    host, port, name = (_value(_item(value, key), environ) for key in ("HOST", "PORT", "NAME"))
    if not engine or not isinstance(host, str):
        return ()
    given = {"host": host, "port": str(port or ""), "dbname": name if isinstance(name, str) else ""}
    if engine == ENGINES["postgresql"]:
        return resolve_postgres(given, environ)
    return resolve_url(f"mysql://{host}:{given['port']}/{given['dbname']}", environ) if host and host[0] != "/" else ()


def _item(node: ast.expr, key: str) -> ast.expr | None:
    if not isinstance(node, ast.Dict):
        return None
    return next((value for name, value in zip(node.keys, node.values, strict=True) if _literal(name) == key), None)


def _value(node: ast.expr | None, environ: Mapping[str, str]) -> Any:
    """A literal, or a variable of the environment with its default; "" where there is none, None where unknown."""
    if node is None:
        return ""
    if isinstance(node, ast.Subscript) and "environ" in ast.dump(node.value):
        return environ.get(str(_literal(node.slice)))
    if not isinstance(node, ast.Call):
        return _literal(node)
    name = _name_of(node.func)
    variable = _literal(node.args[0]) if node.args else None
    if name not in _READERS or not isinstance(variable, str):
        return None
    defaults = [*node.args[1:2], *(keyword.value for keyword in node.keywords if keyword.arg == "default")]
    return environ.get(variable, _literal(defaults[0]) if defaults else None)


def _literal(node: ast.expr | None) -> Any:
    return node.value if isinstance(node, ast.Constant) else None


def _line_of(text: str, key: str, section: str) -> int:
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        inside = line.strip() == f"[{section}]" or (inside and not line.startswith("["))
        if inside and re.match(rf"\s*{re.escape(key)}\s*[=:]", line):
            return number
    return 1


def lets_env_file_win(text: str) -> bool:
    """Return whether Python code loads a ``.env`` file over the environment: python-dotenv's and django-environ's
    ways."""
    return re.search(r"\b(?:load_dotenv|read_env)\([^)]*\b(?:override|overwrite)\s*=\s*True", text) is not None


def settings_module(command: str, manage_py: str, environ: Mapping[str, str]) -> str:
    """The module of Django's settings that a command uses; empty where that is not known."""
    if found := re.search(r"--settings[= ]([\w.]+)", command):
        return found[1]
    default = re.search(r"DJANGO_SETTINGS_MODULE[\"']\]?\s*[,=]\s*[\"']([\w.]+)", manage_py)
    return environ.get("DJANGO_SETTINGS_MODULE") or (default[1] if default else "")
