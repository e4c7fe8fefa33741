"""What imports what, read from the code with `ast`: the rooms, the arrows between them, and the figures.

`python -m tests.project.house` prints them. tests/project/test_house.py holds them.
"""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TypedDict

ROOT = Path(__file__).parents[2]
PACKAGE = "nnunet_mcp"
DOOR = "door"  # nnunet_mcp/__init__.py and __main__.py: they open every room and anyone may ask for the version
GROUND = "ground"  # the other real files of nnunet_mcp/
FOLDERS = ("schemas", "nnunet", "runs", "tools", "server", "worker")

# Arrows go one way: server → tools → runs → nnunet → ground → schemas, and worker → runs.
MAY_IMPORT = {
    "schemas": (),
    GROUND: ("schemas",),
    "nnunet": (GROUND, "schemas"),
    "runs": ("nnunet", GROUND, "schemas"),
    "tools": ("runs", "nnunet", GROUND, "schemas"),
    "worker": ("runs", "nnunet", GROUND, "schemas"),
    "server": ("tools", GROUND, "schemas"),
}
LIBRARIES = {
    "mcp": ("nnunet_mcp.server",),
    "torch": ("nnunet_mcp.worker",),
    "nnunetv2": ("nnunet_mcp.worker",),
}
ENGINES = ("local", "slurm")
LARGEST_FOLDER = 20
Statement = ast.Import | ast.ImportFrom
MODULE = re.compile(rf"{PACKAGE}\.(?:{'|'.join(FOLDERS)})(?:\.\w+)*")


@dataclass(frozen=True, order=True)
class Import:
    """One imported module of one import statement."""

    importer: str
    target: str
    line: int
    listed: bool = False  # by an __init__, which imports it when somebody asks for the name: see House.circles

    def __str__(self) -> str:
        return f"{short(self.importer)}:{self.line} imports {short(self.target)}"


@dataclass(frozen=True)
class Module:
    """A file and the names that it has for others' modules."""

    name: str
    path: Path
    tree: ast.Module = field(repr=False)

    @property
    def package(self) -> str:
        """What a single dot means in this file."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]


@dataclass(frozen=True)
class House:
    """The modules below a root folder."""

    root: Path = ROOT

    @cached_property
    def modules(self) -> Mapping[str, Module]:
        found = {}
        for name, path in self._files():
            found[name] = Module(name, path, _parsed(path.read_text(encoding="utf-8")))
        return found

    def _files(self) -> Iterator[tuple[str, Path]]:
        for path in sorted((self.root / PACKAGE).glob("*.py")):
            yield _name(path.relative_to(self.root)), path
        for folder in FOLDERS:  # not through the links in nnunet_mcp/, which not every checkout has
            for path in sorted((self.root / folder).rglob("*.py")):
                yield f"{PACKAGE}.{_name(path.relative_to(self.root))}", path

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """Every import of a module of ours, those inside functions and for type checkers included."""
        found = [found for module in self.modules.values() for found in self._imports_of(module)]
        return tuple(dict.fromkeys(found))

    def _imports_of(self, module: Module) -> Iterator[Import]:
        is_init = module.name == module.package
        for statement, postponed in _import_statements(module.tree):
            for base, name in _asked(statement, module.package):
                target = self._resolve(base, name)
                if target and target != module.name:
                    yield Import(module.name, target, statement.lineno, is_init and postponed)
        for node, package in self._uses_of_packages(module):
            yield Import(module.name, self._listed[package][node.attr], node.lineno)

    def _uses_of_packages(self, module: Module) -> Iterator[tuple[ast.Attribute, str]]:
        """Each `tools.progress` where `tools` is a package that lists `progress`."""
        asked = [pair for statement, _ in _import_statements(module.tree) for pair in _asked(statement, module.package)]
        packages = {name: f"{base}.{name}" for base, name in asked if f"{base}.{name}" in self._listed}
        for node in _nodes(module.tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                package = packages.get(node.value.id)
                if package and node.attr in self._listed[package]:
                    yield node, package

    def _resolve(self, base: str, name: str | None) -> str | None:
        """The module of ours that `from base import name` or `import base` leads to; None: another project's."""
        if base.partition(".")[0] != PACKAGE:
            return None
        if name is not None and f"{base}.{name}" in self.modules:
            return f"{base}.{name}"
        if name is not None and base in self._listed and name in self._listed[base]:
            return self._listed[base][name]
        while base not in self.modules:
            base = base.rpartition(".")[0]
        return base

    @cached_property
    def _listed(self) -> Mapping[str, Mapping[str, str]]:
        """Per package, the names that its __init__ imports and the modules that they are or come from."""
        return {name: self._listed_in(module) for name, module in self.modules.items() if name == module.package}

    def _listed_in(self, package: Module) -> Mapping[str, str]:
        pairs = [pair for statement, _ in _import_statements(package.tree) for pair in _asked(statement, package.name)]
        places = {name: (f"{base}.{name}", base) for base, name in pairs if name}
        found = {name: [place for place in both if place in self.modules] for name, both in places.items()}
        return {name: there[0] for name, there in found.items() if there}

    def uphill(self) -> list[Import]:
        """Imports against the arrows."""
        return [found for found in self.imports if not _allowed(room(found.importer), room(found.target))]

    def borrowed(self) -> list[str]:
        """Imports of a library outside the rooms that may have it."""
        found = []
        for module in self.modules.values():
            for statement, _ in _import_statements(module.tree):
                for library in {base.partition(".")[0] for base, _ in _asked(statement, module.package)}:
                    homes = LIBRARIES.get(library)
                    if homes and not any(f"{module.name}.".startswith(f"{home}.") for home in homes):
                        found.append(f"{short(module.name)}:{statement.lineno} imports {library}")
        return found

    def circles(self) -> list[tuple[str, ...]]:
        """Modules that reach each other by imports.

        What an __init__ lists for type checkers or imports in its __getattr__ is not its own: whoever asks for the
        name imports the module, and is counted so.
        """
        edges: dict[str, set[str]] = {name: set() for name in self.modules}
        for found in self.imports:
            if not found.listed:
                edges[found.importer].add(found.target)
        reached = {name: _reached(name, edges) for name in edges}
        groups = {tuple(sorted(m for m in reached[n] if n in reached[m])) for n in edges if n in reached[n]}
        return sorted(tuple(map(short, group)) for group in groups)

    def between(self, importer: str, target: str) -> list[Import]:
        """Every import of a module in one room from another room."""
        return [i for i in self.imports if room(i.importer) == importer and room(i.target) == target]

    def imports_per_file(self) -> float:
        """Distinct modules of ours that a file imports, on average."""
        return len({(found.importer, found.target) for found in self.imports}) / len(self.modules)

    def engine_comparisons(self) -> list[tuple[str, int]]:
        """Where code asks for the engine's name: file and line."""
        return [
            (module.path.relative_to(self.root).as_posix(), node.lineno)
            for module in self.modules.values()
            for node in _nodes(module.tree)
            if isinstance(node, ast.Compare | ast.Match) and _asks_for_an_engine(node)
        ]

    def lost_names(self) -> list[str]:
        """Modules that are named in a string, to be started with `python -m`, and do not exist."""
        return [
            f"{module.path.relative_to(self.root).as_posix()}:{node.lineno} names {node.value}"
            for module in self.modules.values()
            for node in _nodes(module.tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and MODULE.fullmatch(node.value)
            if node.value not in self.modules
        ]

    def folder_sizes(self) -> Mapping[str, int]:
        """Python files per folder, largest first; the tests' folders too."""
        sizes: dict[str, int] = {}
        for top in (PACKAGE, *FOLDERS, "tests"):
            for path in (self.root / top).rglob("*.py"):
                folder = path.parent.relative_to(self.root).as_posix()
                sizes[folder] = sizes.get(folder, 0) + 1
        return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def short(name: str) -> str:
    """The name without that of the package."""
    return name.removeprefix(f"{PACKAGE}.")


def room(module: str) -> str:
    """The room that a module lies in."""
    if module in (PACKAGE, f"{PACKAGE}.__main__"):
        return DOOR
    first = short(module).partition(".")[0]
    return first if first in FOLDERS else GROUND


def _allowed(importer: str, target: str) -> bool:
    return importer == target or DOOR in (importer, target) or target in MAY_IMPORT[importer]


def _name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


@cache
def _nodes(tree: ast.Module) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree))


@cache
def _import_statements(tree: ast.Module) -> tuple[tuple[Statement, bool], ...]:
    """Every import statement at any depth, and whether it is for type checkers or in a __getattr__."""
    return tuple(_imports_in(tree, False))


def _imports_in(tree: ast.AST, postponed: bool) -> Iterator[tuple[Statement, bool]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Statement):
            yield node, postponed
        elif isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case):
            typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            lazy = isinstance(node, ast.FunctionDef) and node.name == "__getattr__"
            yield from _imports_in(node, postponed or typing or lazy)


def _asked(statement: Statement, package: str) -> Iterator[tuple[str, str | None]]:
    """The module and the name in it that a statement asks for, dots resolved."""
    if isinstance(statement, ast.Import):
        yield from ((alias.name, None) for alias in statement.names)
        return
    base = statement.module or ""
    if statement.level:
        above = package.split(".")[: len(package.split(".")) - (statement.level - 1)]
        base = ".".join([*above, base] if base else above)
    yield from ((base, alias.name) for alias in statement.names)


def _reached(start: str, edges: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = edges[waiting.pop()] - found
        found |= new
        waiting.extend(new)
    return found


def _asks_for_an_engine(node: ast.Compare | ast.Match) -> bool:
    if isinstance(node, ast.Match):
        patterns = [value for case in node.cases for value in ast.walk(case.pattern)]
        return _is_engine(node.subject) or any(isinstance(p, ast.MatchValue) and _names_one(p.value) for p in patterns)
    sides = [node.left, *node.comparators]
    if any(isinstance(side, ast.Constant) and side.value is None for side in sides):
        return False
    return any(_is_engine(side) or _names_one(side) for side in sides)


def _is_engine(node: ast.AST) -> bool:
    return getattr(node, "id", None) == "engine" or getattr(node, "attr", None) == "engine"


def _names_one(node: ast.AST) -> bool:
    members = node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else [node]
    return any(isinstance(member, ast.Constant) and member.value in ENGINES for member in members)


class Traffic(TypedDict):
    """What traffic.py measures."""

    crossed: dict[str, list[str]]
    reads: dict[str, dict[str, int]]


def traffic() -> Traffic:
    """The files of ours that one call of a tool crosses, and how often it opens each file of a run of five folds."""
    command = [sys.executable, "-m", "tests.project.traffic"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found: Traffic = json.loads(done.stdout)
    return found


def main() -> None:
    house = House()
    from_worker = house.between("worker", "runs")
    statements = {(found.importer, found.line) for found in from_worker}
    (folder, most), *_ = house.folder_sizes().items()
    print(f"own modules imported per file    {house.imports_per_file():.2f} of {len(house.modules)} files")
    print(
        f"imports worker → runs            {len(statements)}, of {len({found.target for found in from_worker})} modules"
    )
    print(f"comparisons with an engine       {len(house.engine_comparisons())}")
    print(f"files in the largest folder      {most} ({folder})")
    for title, found in (("uphill", house.uphill()), ("libraries", house.borrowed())):
        print(f"{title:<32} {len(found)}", *(f"\n    {line}" for line in found), sep="")
    circles = house.circles()
    print(f"{'circles':<32} {len(circles)}", *(f"\n    {' – '.join(circle)}" for circle in circles), sep="")
    moved = traffic()
    for tool, crossed in moved["crossed"].items():
        print(f"files crossed: {tool:<23}  {len(crossed)}")
    for answer, counts in moved["reads"].items():
        print(f"reads: {answer:<31}  {sum(counts.values())} of {len(counts)} files, one {max(counts.values())} times")


if __name__ == "__main__":
    main()
