"""What in a checkout is the user's."""

from __future__ import annotations

import time

import pytest

from testgrove.core.worktrees.ownership import Manifest, ManifestEntry, Ownership, classify


def entry(path: str, size: int = 1, mtime_ns: int = 1000, inode: int = 7) -> ManifestEntry:
    return ManifestEntry(path, size, mtime_ns, inode)


def whose(path: str, **options: object) -> str:
    found = classify([entry(path)], **options)  # type: ignore[arg-type]
    return "ours" if found.ours else "output" if found.outputs else "theirs"


@pytest.mark.parametrize(
    "path",
    [".venv/lib/x.py", "sub/.venv/bin/python", "src/__pycache__/a.cpython-311.pyc", "old.pyc", ".pytest_cache/v/x",
     ".mypy_cache/x", ".ruff_cache/x", ".hypothesis/examples/x", ".tox/py/x", ".nox/x", ".eggs/x",
     "src/shop.egg-info/PKG-INFO",
     ".worktree-metadata.json", ".coverage-journal", ".tox/src/nested/"],
)  # fmt: skip
def test_what_can_be_made_again_is_ours(path: str) -> None:
    assert whose(path) == "ours"


@pytest.mark.parametrize(
    "path",
    [".coverage", ".coverage.host.123.abc", "sub/.coverage", "coverage.xml", "coverage.json", "htmlcov/index.html",
     "junit.xml",
     "reports/junit-unit.xml", "logs/app.log", "logs/a/b.log", "logs",
     "prof/combined.prof", "prof/combined.svg", "slow.prof", "tests/x.py.lprof", "run.pstats", ".benchmarks/1/a.json",
     "memray-x.py.123.bin", "memray-flamegraph-x.html", "mprofile_20260101.dat", "callgrind.out.123", "massif.out.1"],
)  # fmt: skip
def test_recognised_outputs_are_kept(path: str) -> None:
    assert whose(path) == "output"


@pytest.mark.parametrize(
    "path",
    ["notes.txt", ".env.local", ".env.test", ".coveragerc", "src/app/logs/handler.py", "build/x", "dist/x.whl",
     "my_pycache/x",
     "x.pycx", ".venv2/x", "venv/x", "mylogs/x", "src/junit.xml.bak", "nest/", "logs/nested/", "a\n.pyc/b",
     "egg-info/x", "src/prof/x.py", "professor", "x.profile", "memray.py", "src/callgrind.py",
     "sub/.worktree-metadata.json", ".coverage-notes/x"],
)  # fmt: skip
def test_everything_else_is_the_users(path: str) -> None:
    assert whose(path) == "theirs"


@pytest.mark.parametrize(
    ("glob", "path", "expected"),
    [("prof", "prof/a.prof", "output"), ("prof/", "prof/a.prof", "output"), ("./prof", "prof", "output"),
     ("prof", "sub/prof/a", "theirs"), ("prof", "profile.txt", "theirs"), ("*.svg", "a.svg", "output"),
     ("*.svg", "sub/a.svg", "theirs"), ("**/*.svg", "sub/x/a.svg", "output"), ("**/*.svg", "a.svg", "output"),
     ("out/**", "out/a/b", "output"), ("shots/?.png", "shots/1.png", "output"), ("a.b", "axb", "theirs"),
     ("shots/?.png", "shots/12.png", "theirs"), ("", "x", "theirs"), ("/", "x", "theirs")],
)  # fmt: skip
def test_collect_names_more_outputs(glob: str, path: str, expected: str) -> None:
    assert whose(path, collect=[glob]) == expected


def test_what_the_manifest_has_is_ours_until_somebody_touches_it() -> None:
    manifest = Manifest.of([entry("build/x.so"), entry("README"), entry("nest/")])
    found = classify([entry("build/x.so"), entry("nest/")], modified=[entry("README")], manifest=manifest)
    assert found == Ownership(ours=("README", "build/x.so", "nest/"))
    for changed in ({"size": 2}, {"mtime_ns": 1001}, {"inode": 8}):
        found = classify(
            [entry("build/x.so", **changed), entry("nest/", **changed)],
            modified=[entry("README", **changed)],
            manifest=manifest,
        )
        assert not found.ours
        assert dict(found.theirs) == {
            "README": "modified",
            "build/x.so": "changed since a test or set-up wrote it",
            "nest/": "a nested repository",
        }


def test_staged_and_unmerged_files_are_the_users_whatever_the_manifest_says() -> None:
    manifest = Manifest.of([entry("a"), entry("b"), entry("c.pyc")])
    found = classify([], modified=[entry("a"), entry("b")], staged=["a", "c.pyc"], unmerged=["b"], manifest=manifest)
    assert dict(found.theirs) == {"a": "staged", "b": "unmerged", "c.pyc": "staged"}
    assert not found.ours


def test_a_tracked_file_in_a_cache_folder_is_the_users_when_it_is_modified() -> None:
    found = classify([], modified=[entry("pkg.egg-info/PKG-INFO"), entry("coverage.xml")])
    assert len(found.theirs) == 2


def test_a_deleted_file_is_the_users_unless_an_attempt_deleted_it() -> None:
    deleted = entry("README", -1, 0, 0)
    assert classify([], modified=[deleted]).theirs == (("README", "deleted"),)
    assert classify([], modified=[deleted], manifest=Manifest.of([deleted])).ours == ("README",)


def test_a_file_that_went_away_meanwhile_is_nobodys() -> None:
    assert classify([entry("tmp", -1, 0, 0)]) == Ownership()


def test_what_was_the_users_before_an_attempt_stays_theirs() -> None:
    manifest = Manifest.of([entry("notes"), entry("built")], theirs=["notes"])
    assert classify([entry("notes"), entry("built")], manifest=manifest).theirs[0][0] == "notes"


def test_a_manifest_survives_being_written_down() -> None:
    odd = b"\xff\xfe".decode(errors="surrogateescape")
    manifest = Manifest.of([entry(odd), entry("new\nline"), entry("ünï"), entry("x", 2**40, 2**62, 2**63)])
    assert Manifest.load(manifest.dump()) == manifest


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"schema":2,"entries":{}}', '{"schema":1,"entries":{"a":[1]}}', "null"]
)
def test_what_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        Manifest.load(text)


def test_fifty_thousand_files_take_about_a_second() -> None:
    entries = [entry(f"folder{n % 100}/sub/file{n}.py") for n in range(50_000)]
    start = time.process_time()
    manifest = Manifest.load(Manifest.of(entries).dump())
    assert len(classify(entries, manifest=manifest, collect=["prof", "**/*.svg"]).ours) == 50_000
    assert time.process_time() - start < 5
