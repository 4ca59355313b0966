"""An environment file that all tools parse in the same way.

`set -a; . ./.env.test`, python-dotenv and `export $(cat .env.test | xargs)` read the same values, or
render() refuses. Experiments show that they differ for: white space (the third splits there) and
control characters; `${…}` (python-dotenv expands it even between single quotes); a backslash before a
backslash or at the end (python-dotenv drops one); both kinds of quote, or a single one together with `$`, a
backtick or a backslash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from testgrove.core.lazy_pattern import lazy_pattern
from testgrove.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = lazy_pattern(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN = lazy_pattern(r"[A-Za-z0-9_./:@%+,=-]+")
_LONGEST = 65536  # bytes; the limit of xargs is 128 KiB in total
# bash sets these itself or does not let them be set.
_SHELLS_OWN = lazy_pattern(
    r"_|UID|EUID|PPID|GROUPS|SHELLOPTS|BASH.*|S?RANDOM|SECONDS|LINENO|EPOCH(?:SECONDS|REALTIME)|FUNCNAME|DIRSTACK"
    r"|PIPESTATUS|HISTCMD|IFS|OPTIND|SHLVL|COMP_WORDBREAKS"
)
_PROBLEMS = (
    (lazy_pattern(r"\s"), "contains white space"),
    (
        lazy_pattern(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]"),
        "contains a control character or a byte that is not UTF-8",
    ),
    (lazy_pattern(r"\$\{"), "contains '${'"),
    (lazy_pattern(r"\\(?:\\|\Z)"), "contains two backslashes in a row or ends with one"),
    (
        lazy_pattern(r"""'.*["$`\\]|["$`\\].*'"""),
        "contains a single quote together with a double quote, '$', '`' or '\\'",
    ),
)


def render(values: Mapping[str, str]) -> str:
    """Return the text of an environment file: one NAME=value a line, in this order, no comments or blank lines.

    Raises UsageError (``env-name``, ``env-value``) with the name of a variable that tools would parse differently.
    """
    return "".join(f"{_checked(name)}={_quoted(name, value)}\n" for name, value in values.items())


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(
            "env-name",
            f"{name!r} is not a valid environment variable name",
            hint="use letters, digits and '_', not starting with a digit",
            variable=name,
        )
    if _SHELLS_OWN.fullmatch(name):
        raise UsageError(
            "env-name",
            f"{name} is reserved by the shell: an environment file cannot set it",
            hint="choose another name",
            variable=name,
        )
    return name


def _quoted(name: str, value: str) -> str:
    problem = _problem(value)
    if problem:
        raise UsageError(
            "env-value",
            f"{name}: the value {problem}, which tools that read environment files parse differently",
            hint="write the value to a file, and set the variable to its path",
            variable=name,
        )
    if not value or not _PLAIN.fullmatch(value):
        return f'"{value}"' if "'" in value else f"'{value}'"
    return value


def _problem(value: str) -> str:
    """Return the problem with a value, to follow "the value", or an empty string."""
    for pattern, problem in _PROBLEMS:
        if pattern.search(value):
            return problem
    return f"is longer than {_LONGEST} bytes" if len(value.encode()) > _LONGEST else ""


def parse(text: str) -> dict[str, str]:
    """Return the values in a file that render() wrote; a user's small edits (comments, `export`) are supported.

    Skips a line that contains NUL, because no environment can contain it."""
    values = {}
    for line in text.split("\n"):
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and not name.startswith("#") and "\0" not in line:
            quoted = len(value) > 1 and value[0] in "'\"" and value[-1] == value[0]
            values[name.strip()] = value[1:-1] if quoted else value
    return values


def revised(text: str, written: Mapping[str, str], values: Mapping[str, str]) -> tuple[str, list[str]]:
    """A file that a person has edited, brought up to date; and the names of values that stay as they were edited.

    written: the values that were last rendered into it; values: those it should have now. What differs from what was
    written is the person's and stays: other values, further variables, comments, missing lines, the order.
    """
    lines, kept, seen = [], [], set()
    for line in text.removesuffix("\n").split("\n") if text else ():
        for name, value in parse(line).items() or [("", "")]:
            seen.add(name)
            if name not in written:
                lines.append(line)
            elif value != written[name]:
                lines.append(line)
                kept += [name] if values.get(name) != written[name] else []
            elif name in values:
                export = "export " if line.strip().startswith("export ") else ""
                lines.append(line if values[name] == value else export + render({name: values[name]}).rstrip("\n"))
    added = {name: value for name, value in values.items() if name not in written and name not in seen}
    return "".join(f"{line}\n" for line in lines) + render(added), kept
