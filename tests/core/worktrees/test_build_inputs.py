"""Which changes of a tree make what was built in it stale."""

from __future__ import annotations

import pytest

from testgrove.core.worktrees.build_inputs import build_inputs

FILES = {
    "setup.py": "1", "src/fast/__init__.py": "1", "src/fast/code.py": "1", "src/fast/_c.c": "1", "README.md": "1",
    "tests/test_it.py": "1", "tests/data.json": "1", "tools/gen.py": "1", "src/fast/table.txt": "1", "top.py": "1",
}  # fmt: skip
BUILT = ("src/fast/_c.cpython-311-x86_64-linux-gnu.so", "build/temp/_c.o")


def changes(path: str, *, setup: str = "", built: tuple[str, ...] = BUILT) -> bool:
    """Whether a change of a file, or a new one, changes the build."""
    texts = {"setup.py": setup}
    return build_inputs(FILES, texts, built) != build_inputs({**FILES, path: "2"}, texts, built)


@pytest.mark.parametrize(
    "path", ["src/fast/code.py", "src/fast/new.py", "tests/test_it.py", "tests/data.json", "README.md"]
)
def test_python_code_tests_and_texts_do_not_count(path):
    assert not changes(path)


@pytest.mark.parametrize(
    "path",
    [
        "setup.py",
        "src/fast/_c.c",
        "src/fast/new.pyx",
        "src/fast/table.txt",
        "tools/gen.py",
        "top.py",
        "tests/x.c",
        "meson.build",
    ],
)
def test_sources_build_files_and_what_is_unknown_count(path):
    assert changes(path)


def test_python_code_counts_where_the_build_reads_it():
    assert changes("src/fast/code.py", setup="from fast.code import VERSION")
    assert changes("src/fast/code.py", setup="run('src/fast/code.py')")
    assert changes("src/fast/__init__.py", built=("src/fast/code.cpython-311-x86_64-linux-gnu.so",)), "as mypyc does"


def test_python_code_counts_where_the_build_runs_code_that_no_file_names():
    before, after = FILES, {**FILES, "src/fast/code.py": "2"}
    for setting in ('backend-path = ["."]', "[tool.hatch.build.targets.wheel.hooks.custom]", "[tool.poetry.build]"):
        texts = {"pyproject.toml": setting}
        assert build_inputs(before, texts, BUILT) != build_inputs(after, texts, BUILT), setting


def test_a_compiled_module_is_found_below_a_folder_with_a_dot():
    files = {"v1.2/fast/__init__.py": "1", "v1.2/fast/code.py": "1"}
    built = ("v1.2/fast/code.cpython-311-x86_64-linux-gnu.so",)
    assert build_inputs(files, {}, built) != build_inputs({**files, "v1.2/fast/code.py": "2"}, {}, built)


def test_names_that_are_not_utf_8_are_hashed():
    assert build_inputs({"data\udcff.bin": "1"}, {}, ()) != build_inputs({"data\udcfe.bin": "1"}, {}, ())
