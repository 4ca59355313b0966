"""What the scripts beside this file share: they hand over to testgrove. Written by `testgrove init --scripts`.

Python 3.9 or later, the standard library alone. testgrove is $TESTGROVE, else the one on PATH, else `uvx testgrove`.
"""

import os
import shlex
import shutil
import subprocess
import sys

# What would lead testgrove's own interpreter, or git, somewhere else.
DROPPED = ("PYTHONPATH", "PYTHONHOME", "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX")
# git sets these for a hook; without the variables above, testgrove could not tell them from what CI sets on purpose.
IDENTITY = ("GIT_AUTHOR_", "GIT_COMMITTER_")


def main_checkout():
    """The folder of the main checkout, whichever checkout this file stands in: git's common directory lies in it."""
    here = os.path.dirname(os.path.abspath(__file__))
    words = ["git", "-C", here, "rev-parse", "--path-format=absolute", "--git-common-dir"]
    asked = subprocess.run(words, check=False, env=environment(), stdout=subprocess.PIPE, universal_newlines=True)
    if asked.returncode != 0:
        raise SystemExit(f"{here} is not in a git repository")
    folder, name = os.path.split(asked.stdout.rstrip("\n"))
    return folder if name == ".git" else here


def environment():
    in_a_hook = "GIT_INDEX_FILE" in os.environ or "GIT_DIR" in os.environ
    dropped = [name for name in os.environ if name in DROPPED or (in_a_hook and name.startswith(IDENTITY))]
    return {name: value for name, value in os.environ.items() if name not in dropped}


def testgrove():
    """The command that testgrove is, as a list of words."""
    named = os.environ.get("TESTGROVE")
    if named:
        return [named] if os.path.isfile(named) else shlex.split(named)
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    # Not one in a worktree's own environment: it may be that worktree that goes.
    metadata = "../../.worktree-metadata.json"
    outside = [folder for folder in folders if not os.path.isfile(os.path.join(folder, metadata))]
    for path in (outside, folders):
        found = shutil.which("testgrove", path=os.pathsep.join(path))
        if found:
            return [found]
    uvx = shutil.which("uvx")
    if uvx:
        return [uvx, "testgrove"]
    raise SystemExit("testgrove was not found: install it, put it on PATH, or set TESTGROVE to its path")


def call(*words):
    """Run a testgrove command to its end; whether it succeeded. What it says goes where our output goes."""
    sys.stdout.flush()
    with subprocess.Popen([*testgrove(), *words], cwd=main_checkout(), env=environment()) as process:
        while True:
            try:
                return process.wait() == 0
            except KeyboardInterrupt:
                continue  # testgrove has heard it, too: it undoes what it began, and ends


def hand_over(*words):
    """Become a testgrove command. It runs in the main checkout, so the folder we stand in may go."""
    command = [*testgrove(), *words]
    os.chdir(main_checkout())
    sys.stdout.flush()
    try:
        os.execvpe(command[0], command, environment())
    except OSError as error:
        raise SystemExit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    hand_over(*sys.argv[1:])
