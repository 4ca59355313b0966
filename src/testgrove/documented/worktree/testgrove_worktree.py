# Written by testgrove
"""Sets the variables of a worktree's env file, where they are unset, and runs client programs with them.

testgrove writes a copy into the environment of a worktree that worktree_create.py makes: a .pth file imports it
whenever that Python starts, and the client programs beside that Python run through it. Python 3.9 and later; it
imports nothing that a starting Python has not loaded.
"""

import os
import sys

WRITTEN = b"Written by testgrove"  # in the first lines of each file that testgrove writes there
CELL = "TESTGROVE_TREE"  # set in the attempts of runs, which have all their variables


def load(env_file, needed):
    """Set the unset variables of the env file.

    needed: the variables by which client programs find the server. If the env file has none of them, because its user
    has replaced it, they are those that testgrove wrote last.
    """
    prefix = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
    if prefix != sys.prefix or CELL in os.environ:
        return
    tree = os.path.dirname(prefix)
    values = read(tree + "/" + env_file)
    if needed and values.keys().isdisjoint(needed):
        last = read(git_folder(tree) + "/testgrove-env")
        values.update((name, last[name]) for name in needed if name in last)
    for name, value in values.items():
        try:
            os.environ.setdefault(name, value)
        except ValueError:
            continue  # a name or a value that no environment can have


def read(path):
    """The values of an env file, as core.envfile.parse() reads them; none if it cannot be read: Python must start."""
    text, values = text_of(path), {}
    for line in text.split("\n"):
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and not name.startswith("#") and "\0" not in line:
            quoted = len(value) > 1 and value[0] in "'\"" and value[-1] == value[0]
            values[name.strip()] = value[1:-1] if quoted else value
    return values


def text_of(path):
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def git_folder(tree):
    return os.path.join(tree, text_of(tree + "/.git").partition("gitdir:")[2].strip())


def run(program, fallback="", options=(), elsewhere=(), secrets=()):
    """Become a client program: the first one on PATH, else the one at fallback.

    options, secrets: pairs of an option, or a variable, and the variable of the env file with its value. elsewhere:
    options with which the user chooses a server; then the program gets none of ours.
    """
    words = sys.argv[1:]
    if not any(word in elsewhere for word in words):
        known = [(option, os.environ[name]) for option, name in options if name in os.environ]
        words = [word for pair in known for word in pair] + words
        for name, source in secrets:
            if source in os.environ:
                os.environ.setdefault(name, os.environ[source])
    path = find(program) or fallback
    if not path:
        sys.stderr.write(program + ": command not found\n")
        raise SystemExit(127)
    try:
        os.execv(path, [path, *words])
    except OSError as error:
        sys.stderr.write("{}: {}\n".format(path, error.strerror))
        raise SystemExit(126) from None


def find(program):
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(folder or ".", program)
        if os.access(path, os.X_OK) and os.path.isfile(path) and not is_written(path):
            return path
    return ""


def is_written(path):
    """Whether it is such a program itself, of this worktree or of another one."""
    try:
        with open(path, "rb") as file:
            return WRITTEN in file.read(100)
    except OSError:
        return False  # it can be executed, but not read
