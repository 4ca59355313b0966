"""Each false green is an error, and its innocent twin passes. The projects, environments and builds are real."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import needs
from testgrove.errors import PreconditionError
from testgrove.system.preflight.check import InstalledRecord, PreflightResult, check, top_level_names

UV = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
CURRENT = InstalledRecord("a", "a")
STALE = InstalledRecord("a", "b")
SETUPTOOLS = '[build-system]\nrequires = ["setuptools>=68"]\nbuild-backend = "setuptools.build_meta"\n'
HATCHLING = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
backends = pytest.mark.parametrize(
    "backend",
    [pytest.param(HATCHLING, id="hatchling"), pytest.param(SETUPTOOLS, id="setuptools", marks=pytest.mark.slow)],
)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def project(root: Path, *, layout: str = "src/shop", backend: str = HATCHLING, name: str = "shop") -> Path:
    table = f'[project]\nname = "{name}"\nversion = "1.0"\n'
    return write(root, {"pyproject.toml": backend + table, f"{layout}/__init__.py": "raise SystemExit('imported')\n"})


def run(argv: list[str], *, cwd: Path, env: dict[str, str], timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=cwd, env=env, timeout=timeout, capture_output=True, text=True, check=False)


def uv(*arguments: str | Path) -> None:
    done = subprocess.run([UV, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@dataclass
class World:
    """A main checkout, a worktree of it with an environment of its own, and a suite's environment."""

    main: Path
    tree: Path
    env: dict[str, str] = field(default_factory=lambda: {"PATH": os.environ["PATH"], "LANG": "C"})

    @property
    def python(self) -> Path:
        return self.tree / ".venv/bin/python"

    @property
    def site(self) -> Path:
        return next(self.tree.glob(".venv/lib/python3*/site-packages"))

    def install(self, *what: str | Path) -> None:
        uv("pip", "install", "--python", self.python, *what)

    def check(self, **changes: object) -> PreflightResult:
        given = {"tree": self.tree, "python": self.python, "env": self.env, "foreign": [self.main], "run": run,
                 "installed": None}  # fmt: skip
        return check(**{**given, **changes})  # type: ignore[arg-type]

    def refusal(self, **changes: object) -> PreconditionError:
        with pytest.raises(PreconditionError) as caught:
            self.check(**changes)
        assert caught.value.hint
        return caught.value


def venv(tree: Path, python: str = sys.executable) -> None:
    uv("venv", "--python", python, tree / ".venv")


@pytest.fixture
def world(tmp_path: Path) -> World:
    found = World(project(tmp_path / "main"), project(tmp_path / "trees/unit"))
    venv(found.tree)
    return found


def at_start(world: World, code: str) -> None:
    """Have the environment's interpreter run a line when it starts (a distribution's Python may have a sitecustomize of
    its own, which hides the environment's)."""
    assert code.startswith("import ")
    write(world.site, {"at_start.pth": f"{code}\n"})


def by_name(result: PreflightResult) -> dict[str, tuple[str, str]]:
    return {found.name: (found.how, found.location) for found in result.names}


# --- the environment itself


def test_a_missing_environment_is_refused(world: World) -> None:
    shutil.rmtree(world.tree / ".venv")
    assert world.refusal().code == "no-environment"


def test_an_interpreter_from_outside_the_environment_is_refused(world: World) -> None:
    error = world.refusal(python=Path(sys.executable))
    assert error.code == "no-environment"
    assert sys.executable in error.message


def test_an_environment_that_is_linked_from_another_checkout_is_refused(world: World) -> None:
    (world.tree / ".venv").rename(world.main / ".venv")
    (world.tree / ".venv").symlink_to(world.main / ".venv")
    error = world.refusal()
    assert error.code == "no-environment"
    assert str(world.main / ".venv") in error.message


def test_an_interpreter_whose_environment_lost_its_settings_is_refused(world: World) -> None:
    (world.tree / ".venv/pyvenv.cfg").unlink()
    assert world.refusal().code == "no-environment"


def test_another_interpreter_than_recorded_is_refused(world: World) -> None:
    here = ".".join(map(str, sys.version_info[:3]))
    assert world.check(recorded_python=here).python == here
    assert world.check(recorded_python=here.rpartition(".")[0]).python == here
    error = world.refusal(recorded_python="3.4.1")
    assert error.code == "other-interpreter"
    assert "3.4.1" in error.message
    assert here in error.message


def test_an_interpreter_that_crashes_at_start_is_said_so(world: World) -> None:
    at_start(world, "import os; os.write(2, b'no such luck'); os._exit(3)")
    error = world.refusal()
    assert error.code == "preflight-failed"
    assert "no such luck" in error.message


def test_what_is_printed_at_the_start_and_the_end_does_no_harm(world: World) -> None:
    at_start(world, "import atexit; print('hello'); atexit.register(print, 'bye')")
    assert by_name(world.check())["shop"][0] == "pytest"


# --- nothing installed


def test_a_tree_that_only_pytest_adds_to_the_path_passes(world: World) -> None:
    assert by_name(world.check()) == {"shop": ("pytest", str(world.tree / "src/shop/__init__.py"))}


def test_a_name_that_nothing_would_find_in_the_tree_is_refused(tmp_path: Path, world: World) -> None:
    write(world.tree, {"lib/store/__init__.py": "", "pyproject.toml": '[tool.setuptools]\npackage-dir = {"" = "lib"}'})
    error = world.refusal()
    assert error.code == "other-code"
    assert "'store'" in error.message
    write(world.tree, {"pytest.ini": "[pytest]\npythonpath = lib\n"})
    assert by_name(world.check())["store"] == ("pytest", str(world.tree / "lib/store/__init__.py"))


def test_a_project_without_code_of_its_own_passes(world: World) -> None:
    shutil.rmtree(world.tree / "src")
    assert world.check().names == ()


def test_a_pytest_setting_that_leads_to_another_checkout_is_refused(world: World) -> None:
    write(world.tree, {"pytest.ini": f"[pytest]\npythonpath = {world.main}/src\n"})
    assert f"another checkout of this repository ({world.main})" in world.refusal().message


# --- .pth files


def test_a_pth_to_the_main_checkout_is_refused(world: World) -> None:
    write(world.site, {"shop.pth": f"{world.main}/src\n"})
    error = world.refusal()
    assert error.code == "other-code"
    assert "'shop'" in error.message
    assert f"another checkout of this repository ({world.main})" in error.message
    assert str(world.site / "shop.pth") in error.message
    assert error.details["location"] == str(world.main / "src/shop/__init__.py")


def test_a_pth_to_this_tree_passes(world: World) -> None:
    write(world.site, {"shop.pth": f"{world.tree}/src\n"})
    assert by_name(world.check()) == {"shop": ("tree", str(world.tree / "src/shop/__init__.py"))}


def test_a_pth_to_the_tree_through_a_link_passes(tmp_path: Path, world: World) -> None:
    (tmp_path / "link").symlink_to(world.tree)
    write(world.site, {"shop.pth": f"{tmp_path}/link/src\n"})
    assert by_name(world.check())["shop"][0] == "tree"


def test_a_linked_package_of_another_checkout_is_refused(world: World) -> None:
    (world.site / "shop").symlink_to(world.main / "src/shop")
    assert str(world.main) in world.refusal().message


def test_a_worktree_inside_the_main_checkout_is_told_from_it(world: World) -> None:
    inside = project(world.main / "worktrees/unit")
    venv(inside)
    world.tree = inside
    assert by_name(world.check())["shop"][0] == "pytest"
    write(world.site, {"shop.pth": f"{world.main}/src\n"})
    assert world.refusal().code == "other-code"


def test_a_main_checkout_is_told_from_a_worktree_inside_it(world: World) -> None:
    inside = project(world.main / "worktrees/unit")
    venv(world.main)
    world.tree = world.main
    write(world.site, {"shop.pth": f"{inside}/src\n"})
    assert str(inside) in world.refusal(foreign=[inside]).message
    write(world.site, {"shop.pth": f"{world.main}/src\n"})
    assert by_name(world.check(foreign=[inside]))["shop"][0] == "tree"


# --- PYTHONPATH


def test_a_pythonpath_to_another_checkout_is_refused(world: World) -> None:
    world.env["PYTHONPATH"] = f"/nowhere:{world.main}/src"
    error = world.refusal()
    assert error.code == "other-code"
    assert "PYTHONPATH" in error.message
    assert f"{world.main}/src" in error.hint


@pytest.mark.parametrize("value", ["src", "{tree}/src"])
def test_a_pythonpath_to_this_tree_passes(world: World, value: str) -> None:
    world.env["PYTHONPATH"] = value.format(tree=world.tree)
    assert by_name(world.check())["shop"][0] == "tree"


def test_a_pythonpath_to_anywhere_else_is_refused(tmp_path: Path, world: World) -> None:
    world.env["PYTHONPATH"] = str(write(tmp_path / "copy", {"shop/__init__.py": ""}))
    assert "outside the tree" in world.refusal().message


def test_a_pythonpath_to_an_old_build_in_the_tree_is_refused(world: World) -> None:
    write(world.tree, {"build/lib/shop/__init__.py": ""})
    world.env["PYTHONPATH"] = "build/lib"
    assert "old build" in world.refusal().message


def test_code_run_at_the_start_that_adds_another_checkout_is_refused(world: World) -> None:
    at_start(world, f"import sys; sys.path.insert(0, {str(world.main / 'src')!r})")
    assert world.refusal().code == "other-code"


# --- installations


@backends
def test_an_editable_installation_of_another_checkout_is_refused(world: World, backend: str) -> None:
    project(world.main, backend=backend)
    world.install("--editable", world.main)
    error = world.refusal(installed=CURRENT)
    assert error.code == "other-code"
    assert f"another checkout of this repository ({world.main})" in error.message
    assert "editable installation of shop 1.0" in error.message


@backends
@pytest.mark.parametrize("layout", ["src/shop", "shop"])
def test_an_editable_installation_of_this_tree_passes(tmp_path: Path, backend: str, layout: str) -> None:
    tree = project(tmp_path / "tree", backend=backend, layout=layout)
    venv(tree)
    world = World(tmp_path / "main", tree)
    world.install("--editable", tree)
    assert by_name(world.check(installed=STALE)) == {"shop": ("tree", str(tree / layout / "__init__.py"))}


def test_a_build_of_this_tree_passes_while_it_is_current(world: World) -> None:
    world.install(world.tree)
    how, location = by_name(world.check(installed=CURRENT))["shop"]
    assert how == "installed"
    assert location.startswith(str(world.site))


@pytest.mark.parametrize("installed", [STALE, None], ids=["stale", "unknown"])
def test_a_stale_build_of_this_tree_is_refused(world: World, installed: InstalledRecord | None) -> None:
    world.install(world.tree)
    error = world.refusal(installed=installed)
    assert error.code == "other-code"
    assert "build of this tree" in error.message
    assert "--reinstall" in error.hint


def test_a_build_of_another_checkout_is_refused(world: World) -> None:
    world.install(world.main)
    error = world.refusal(installed=CURRENT)
    assert f"made from another checkout of this repository, {world.main}" in error.message


def release(site: Path, distribution: str, package: str) -> None:
    """A distribution as an index gives it, without a download."""
    info = f"{distribution}-9.0.dist-info"
    write(site, {f"{package}/__init__.py": "", f"{info}/METADATA": f"Name: {distribution}\nVersion: 9.0\n",
                 f"{info}/RECORD": f"{info}/METADATA,,\n{package}/__init__.py,,\n"})  # fmt: skip


@pytest.mark.parametrize("distribution", ["shop", "shop_binary"])
def test_a_release_of_the_project_is_refused(world: World, distribution: str) -> None:
    release(world.site, distribution, "shop")
    assert f"the release {distribution} 9.0" in world.refusal(installed=CURRENT).message


def test_a_folder_that_happens_to_bear_a_tools_name_passes(tmp_path: Path) -> None:
    tree = project(tmp_path / "tree", layout="shop")
    write(tree, {"alembic/__init__.py": ""})
    venv(tree)
    world = World(tmp_path / "main", tree)
    release(world.site, "alembic", "alembic")
    assert set(by_name(world.check())) == {"shop"}
    release(world.site, "shop", "shop")
    assert world.refusal().code == "other-code"


def test_files_of_no_known_installation_are_refused(world: World) -> None:
    write(world.site, {"shop/__init__.py": ""})
    assert "from an unknown installation" in world.refusal(installed=CURRENT).message


def test_what_an_uninstallation_left_behind_does_no_harm(world: World) -> None:
    write(world.site, {"shop/data.txt": "", "shop.pth": f"{world.tree}/src\n"})
    assert by_name(world.check())["shop"][0] == "tree"


# --- namespace packages


@pytest.fixture
def namespaced(tmp_path: Path) -> World:
    made = []
    for root in (tmp_path / "main", tmp_path / "tree"):
        made.append(project(root, layout="acme/shop", name="acme.shop", backend=SETUPTOOLS))
        write(root, {"acme/shop/cart.py": "", "pyproject.toml": (root / "pyproject.toml").read_text()
                     + '[tool.setuptools.packages.find]\ninclude = ["acme*"]\n'})  # fmt: skip
    venv(made[1])
    return World(*made)


@pytest.mark.slow
def test_a_namespace_package_of_this_tree_passes(namespaced: World) -> None:
    assert by_name(namespaced.check())["acme.shop"][0] == "pytest"
    namespaced.install("--editable", namespaced.tree)
    assert by_name(namespaced.check())["acme.shop"] == ("tree", str(namespaced.tree / "acme/shop/__init__.py"))


def test_a_portion_that_another_distribution_installed_passes(namespaced: World) -> None:
    write(namespaced.site, {"acme.pth": f"{namespaced.tree}\n", "acme/billing/__init__.py": ""})
    assert by_name(namespaced.check())["acme.shop"][0] == "tree"
    (namespaced.site / "acme.pth").unlink()
    assert by_name(namespaced.check())["acme.shop"][0] == "pytest"


def test_a_namespace_package_split_over_two_checkouts_is_refused(namespaced: World) -> None:
    write(namespaced.site, {"acme.pth": f"{namespaced.tree}\n{namespaced.main}\n"})
    error = namespaced.refusal()
    assert error.code == "other-code"
    assert str(namespaced.main / "acme") in error.message


def test_a_namespace_portion_outside_tree_and_environment_is_refused(tmp_path: Path, namespaced: World) -> None:
    elsewhere = write(tmp_path / "elsewhere", {"acme/billing/__init__.py": ""})
    namespaced.env["PYTHONPATH"] = f"{namespaced.tree}:{elsewhere}"
    assert str(elsewhere / "acme") in namespaced.refusal().message


@pytest.mark.slow
def test_a_stale_build_in_a_namespace_package_is_refused(namespaced: World) -> None:
    namespaced.install(namespaced.tree)
    assert by_name(namespaced.check(installed=CURRENT))["acme.shop"][0] == "installed"
    assert namespaced.refusal(installed=STALE).code == "other-code"


# --- names


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"src/shop/__init__.py": "", "src/one.py": "", "tests/__init__.py": "", "other.py": ""}, ("one", "shop")),
        ({"src/shop/__init__.py": "", "src/shop.egg-info/x.py": "", "src/__pycache__/y.py": ""}, ("shop",)),
        ({"src/lib.rs": "", "shop/__init__.py": ""}, ("shop",)),
        ({"src/assets/logo.svg": "", "shop/__init__.py": ""}, ("shop",)),
        ({"src/__init__.py": "", "src/a.py": ""}, ("src",)),
        ({"shop/__init__.py": "", "tests/__init__.py": "", "docs/conf.py": "", "setup.py": "", "conftest.py": "",
          "noxfile.py": "", "tool.py": "", "my-scripts/a.py": "", ".hidden/__init__.py": ""}, ("shop", "tool")),
        ({"acme/shop/__init__.py": "", "data/x.py": "", "deep/a/b/__init__.py": ""}, ("acme", "deep")),
        ({"code/__init__.py": "", "test/__init__.py": "", "shop/__init__.py": "", "types.py": ""}, ("shop",)),
        ({"venv/pyvenv.cfg": "", "venv/lib/a/__init__.py": "", "shop.py": ""}, ("shop",)),
        ({"worktrees/unit/.git": "", "worktrees/unit/shop/__init__.py": "", "shop.py": ""}, ("shop",)),
        ({"README.md": ""}, ()),
        ({"pyproject.toml": "not [ toml", "shop.py": ""}, ("shop",)),
        ({"pyproject.toml": '[tool.setuptools]\npackages = ["shop", "shop.web", "acme.x"]\npy-modules = ["one"]',
          "ignored.py": ""}, ("acme", "one", "shop")),
        ({"pyproject.toml": '[tool.setuptools.packages.find]\nwhere = ["lib"]\nexclude = ["no*"]',
          "lib/shop/__init__.py": "", "lib/not_this/__init__.py": "", "ignored.py": ""}, ("shop",)),
        ({"pyproject.toml": '[tool.setuptools.packages.find]\ninclude = ["shop*"]', "shop/__init__.py": "",
          "ignored/__init__.py": ""}, ("shop",)),
        ({"pyproject.toml": '[tool.setuptools.package-dir]\n"" = "lib"', "lib/shop/__init__.py": ""}, ("shop",)),
        ({"pyproject.toml": '[tool.hatch.build.targets.wheel]\npackages = ["python/shop"]', "a.py": ""}, ("shop",)),
        ({"pyproject.toml": '[tool.poetry]\npackages = [{include = "shop", from = "lib"}, {include = "one.py"}]'},
         ("one", "shop")),
        ({"pyproject.toml": '[tool.flit.module]\nname = "code"', "code.py": "", "a.py": ""}, ("code",)),
        ({"pyproject.toml": '[tool.uv.build-backend]\nmodule-name = ["shop", "acme.x"]'}, ("acme", "shop")),
    ],
)  # fmt: skip
def test_top_level_names(tmp_path: Path, files: dict[str, str], expected: tuple[str, ...]) -> None:
    assert top_level_names(write(tmp_path, files)) == expected


# --- the price


def test_nothing_of_the_project_is_imported_and_little_else(world: World) -> None:
    write(world.site, {"shop.pth": f"{world.tree}/src\n"})
    probe = Path(sys.modules["testgrove.system.preflight.probe"].__file__ or "")
    done = run([str(world.python), "-X", "importtime", str(probe), "1", "shop", str(world.tree)],
               cwd=world.tree, env=world.env)  # fmt: skip
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "shop" not in imported
    assert not imported & {"json", "pathlib", "typing", "importlib.util", "importlib.metadata"}


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.9", "3.13"])
def test_the_probe_runs_on_other_interpreters(tmp_path: Path, namespaced: World, version: str) -> None:
    other = needs.interpreter(version)
    shutil.rmtree(namespaced.tree / ".venv")
    venv(namespaced.tree, str(other))
    namespaced.install("--editable", namespaced.tree)
    result = namespaced.check(recorded_python=version)
    assert by_name(result)["acme.shop"][0] == "tree"
    namespaced.install("--editable", namespaced.main)
    assert namespaced.refusal().code == "other-code"
