"""A recycled worktree keeps what was built in its tree, as long as nothing that can change it has changed."""

from __future__ import annotations

import json
import shutil
import sysconfig
from pathlib import Path

import pytest

import needs
from grove import Grove, said

SOURCE = """#include <Python.h>
static PyObject *answer(PyObject *self, PyObject *none) { return PyLong_FromLong(%s); }
static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, ""}, {NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_fast", "", -1, methods};
PyMODINIT_FUNC PyInit__fast(void) { return PyModule_Create(&module); }
"""
FILES = {
    ".gitignore": "*.so\nbuild/\n*.egg-info\n__pycache__\n.pytest_cache\n",
    "pyproject.toml": '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
    '[project]\nname = "fast"\nversion = "1"\n[dependency-groups]\ndev = ["pytest"]\n'
    '[tool.setuptools]\npackages = ["fast"]\n',
    "setup.py": "from setuptools import Extension, setup\n"
    "setup(ext_modules=[Extension('fast._fast', ['fast/_fast.c'])])\n",
    "fast/__init__.py": "from fast._fast import answer\n",
    "fast/_fast.c": SOURCE % 42,
    "tests/test_fast.py": "import fast\n\n\ndef test_it(): assert fast.answer() == 42\n",
}


def run(project: Grove) -> tuple[str, tuple[int, int]]:
    """Run the tests; why the environment was made, and which file the extension is."""
    done = project.run("test", "--json", timeout=300, check=False)
    assert done.returncode == 0, said(done)
    (cell,) = json.loads(done.stdout)["cells"]
    (library,) = project.root.glob("*/fast/*.so")
    reasons = [phase["reason"] for phase in cell["phases"] if phase["phase"] == "environment"]
    return reasons[-1].partition(" · ")[2], (library.stat().st_ino, library.stat().st_mtime_ns)


@pytest.mark.slow
def test_an_extension_is_built_again_only_where_it_can_have_changed(grove, monkeypatch):
    if not (shutil.which("gcc") and Path(sysconfig.get_paths()["include"], "Python.h").exists()):
        needs.missing("gcc", "there is no C compiler, or no header of Python")
    project = grove(files=FILES)
    built = run(project)[1]
    assert run(project) == ("", built)
    project.write({"fast/more.py": "X = 1\n", "tests/test_more.py": "import fast.more\n\n\ndef test_it(): pass\n"})
    assert run(project) == ("", built), "Python code is read from the tree"
    project.write({"fast/_fast.c": SOURCE % 43, "tests/test_fast.py": FILES["tests/test_fast.py"].replace("42", "43")})
    reason, newer = run(project)
    assert (reason, newer != built) == ("files that were built in the tree are missing", True)
    monkeypatch.setenv("CFLAGS", "-O1")
    assert run(project)[1] != newer, "another compiler, or other flags"
