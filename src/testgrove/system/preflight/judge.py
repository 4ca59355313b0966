"""Judgement on the interpreter's answer, name by name: this tree's code, or other code and how it got there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from testgrove.core.frozen import frozen
from testgrove.errors import PreconditionError
from testgrove.system.environment.uv import uv_as_typed
from testgrove.system.preflight.import_locations import (
    ImportLocation,
    ImportLocations,
    Installation,
    normalised,
    pth_file,
    pythonpath_entry,
    read_installations,
)
from testgrove.system.preflight.names import project_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from testgrove.system.preflight.names import Name


@frozen
class InstalledRecord:
    """The hash of the tree that the environment was made from, and the tree's hash now."""

    tree_hash: str
    current_tree_hash: str

    @property
    def is_current(self) -> bool:
        """Whether what was installed is what the tree holds."""
        return self.tree_hash == self.current_tree_hash


@frozen
class ResolvedName:
    """A name and the file it will be imported from. how: ``tree``, ``installed`` or ``pytest`` (by paths)."""

    name: str
    location: str
    how: str


class Judge:
    """Says of each name whether it is this tree's, from what the interpreter answered."""

    def __init__(
        self,
        *,
        tree: Path,
        project: Path,
        python: Path,
        env: Mapping[str, str],
        foreign: Sequence[Path],
        installed: InstalledRecord | None,
        answer: Mapping[str, Any],
        environment: Path,
    ) -> None:
        self._tree = project
        self._python = python
        self._env = env
        self._installed = installed
        self._answer = answer
        self._locations = ImportLocations(tree, environment, foreign, start=project)
        self._installations = read_installations(answer["distributions"])
        self._project = normalised(project_name(project))
        self._own_name_is_fine = False

    def in_order(self, names: Sequence[Name]) -> list[Name]:
        """The name of the project itself first: what the others mean depends on it."""
        return sorted(names, key=lambda name: (normalised(name.name) != self._project, name.name))

    def resolve(self, name: Name) -> Iterator[ResolvedName]:
        """The name's leaves and where they come from. Raises PreconditionError (``other-code``)."""
        if name.name in self._answer["stdlib"] and not name.explicit:
            return
        for namespace, portions in self._answer["namespaces"].items():
            if any(f"{leaf}.".startswith(f"{namespace}.") for leaf in name.leaves):
                for portion in portions:
                    self._judge_portion(namespace, portion)
        for leaf in name.leaves:
            location = self._answer["origins"][leaf]
            if location is None:
                yield self._by_pytest(leaf)
            elif how := self._judge(name, leaf, location):
                yield ResolvedName(leaf, location, how)
        self._own_name_is_fine |= normalised(name.name) == self._project

    def _by_pytest(self, leaf: str) -> ResolvedName:
        location = self._answer["added"][leaf]
        if location is None:
            raise PreconditionError(
                "other-code",
                f"'{leaf}' is in {self._tree}, but tests cannot import it from there",
                hint=self._reinstall(),
                tree=str(self._tree),
                name=leaf,
            )
        if self._locations.of(location).kind != "tree":
            raise self._other_code(leaf, location)
        return ResolvedName(leaf, location, "pytest")

    def _judge_portion(self, namespace: str, portion: str) -> None:
        if self._locations.of(portion).kind not in ("tree", "environment"):
            raise self._other_code(namespace, portion)

    def _judge(self, name: Name, leaf: str, location: str) -> str:
        """Return how a name that resolves is this tree's; an empty string for one that is another distribution's."""
        kind = self._locations.of(location).kind
        if kind == "tree":
            return "tree"
        if kind != "environment":
            raise self._other_code(leaf, location)
        owners = [made for made in self._installations if name.name in made.owns]
        if any(self._is_this_tree(made) for made in owners):
            return "installed"
        if owners and not name.explicit and self._own_name_is_fine and all(map(self._is_unrelated, owners)):
            return ""  # for example a folder `alembic` with migrations, named like the tool
        raise self._other_installation(leaf, location, owners)

    def _is_this_tree(self, made: Installation) -> bool:
        if not self._is_from_tree(made):
            return False
        return made.editable or (self._installed is not None and self._installed.is_current)

    def _is_from_tree(self, made: Installation) -> bool:
        return bool(made.source) and self._locations.of(made.source or "").kind == "tree"

    def _is_unrelated(self, made: Installation) -> bool:
        return made.source is None and normalised(made.name) != self._project

    def _other_installation(self, leaf: str, location: str, owners: Sequence[Installation]) -> PreconditionError:
        if any(self._is_from_tree(made) for made in owners):
            what = "a stale build of this tree"
            if self._installed is None:
                what = "a build of this tree in an unknown state"
        elif made := next((made for made in owners if made.source), None):
            origin = self._locations.of(made.source or "")
            where = "another checkout of this repository, " if origin.kind == "foreign" else ""
            what = f"an installation of {made.name} {made.version} made from {where}{made.source}"
        elif owners:
            what = f"the release {owners[0].name} {owners[0].version}"
        else:
            what = "in the environment, from an unknown installation"
        return self._error(leaf, location, what, self._reinstall())

    def _other_code(self, leaf: str, location: str) -> PreconditionError:
        entry = pythonpath_entry(location, self._tree, self._env)
        what = self._describe(self._locations.of(location))
        if entry:
            hint = f"remove {entry} from PYTHONPATH in the suite's `env`"
            return self._error(leaf, location, f"{what}, through PYTHONPATH={self._env['PYTHONPATH']}", hint)
        editable = next((made for made in self._installations if self._leads_to(made, location)), None)
        pth = pth_file(location, self._tree, self._answer["path"])
        if editable is not None:
            what += f", through the editable installation of {editable.name} {editable.version}"
        elif pth:
            what += f", through {pth}"
        return self._error(leaf, location, what, self._reinstall(pth if editable is None else ""))

    def _describe(self, location: ImportLocation) -> str:
        if location.kind == "foreign":
            return f"in another checkout of this repository ({location.root})"
        if location.kind == "build":
            return "an old build in the tree"
        if self._answer["base_prefix"] in map(str, location.root.parents):
            return f"installed in the system's Python ({self._answer['base_prefix']})"
        return "outside the tree and its environment"

    def _leads_to(self, made: Installation, location: str) -> bool:
        source = self._tree / (made.source or "")
        return made.editable and source.resolve() in (self._tree / location).resolve().parents

    def _reinstall(self, pth: str = "") -> str:
        first = f"rm {pth}; " if pth else ""
        return f"{first}{uv_as_typed()} pip install --python {self._python} --reinstall --editable {self._tree}"

    def _error(self, leaf: str, location: str, what: str, hint: str) -> PreconditionError:
        return PreconditionError(
            "other-code", f"the tests would not run this tree: '{leaf}' would come from {location}, {what}",
            hint=hint, tree=str(self._tree), name=leaf, location=location,
        )  # fmt: skip
