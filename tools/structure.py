"""Prints how the code is built, and fails where it leaves the plan.

`python tools/structure.py` answers four questions, or those that are named; `make structure` asks all of them.

- `imports`: which package imports which; fails on an arrow upwards and on a circle.
- `lines`: lines of code by package, and the length of each system's file.
- `functions`: how long functions are; fails on one that is too long or too branched.
- `names`: where a system is named outside its own files; fails on any.
"""

import argparse
import ast
import collections
import dataclasses
import functools
import graphlib
import io
import itertools
import os
import statistics
import sys
import tokenize
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ORDER: tuple[tuple[str, ...], ...] = (
    ("experiments",),
    ("core",),
    ("twin",),
    ("federated",),
    ("envs",),
    ("baselines",),
    ("agents",),
    ("evaluation",),
    ("studies",),
    ("train", "evaluate"),
)
"""Packages from the ground up; a package imports from those before it. Those of one floor do not import each other."""
FLOORS: Mapping[str, int] = {name: floor for floor, names in enumerate(ORDER) for name in names}
PROJECT = "fedtwin"
LONGEST = 60
"""Lines of the longest function outside the compiled kernels."""
MOST_PATHS = 15
"""Cyclomatic complexity of the most branched function outside the compiled kernels, counted as in `complexity`."""
BRANCHES = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.IfExp,
    ast.ExceptHandler,
    ast.Assert,
    ast.match_case,
    ast.comprehension,
)
OUTSIDE = frozenset({"build", "dist", "results"})
"""Folders that are not in the repository."""
USERS = frozenset({"benchmarks", "compat", "examples", "tests"})
"""Folders that use the package as a reader would; `names` looks into them with `--users`."""
NAMING = frozenset({"id", "attr", "arg", "name", "asname", "module"})
"""Fields of the nodes of a syntax tree that hold a name."""
IMPORTS = (ast.Import, ast.ImportFrom, ast.Call)
"""Nodes that import, or may, as `import_module("...")` does."""
LAYOUT = frozenset(
    {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENCODING,
        tokenize.ENDMARKER,
    }
)
"""Tokens that do not make a line one of code."""


@dataclasses.dataclass(frozen=True)
class Module:
    """A file of Python."""

    path: Path
    """From the root of the repository."""
    text: str

    @functools.cached_property
    def tree(self) -> ast.Module:
        """Its syntax."""
        return ast.parse(self.text)

    @functools.cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node of its syntax that has a place in the text."""
        return tuple(node for node in ast.walk(self.tree) if hasattr(node, "lineno"))

    @property
    def parts(self) -> tuple[str, ...]:
        """Its dotted name in parts, without the project's; that of a package without `__init__`."""
        parts = self.path.with_suffix("").parts
        return parts[:-1] if parts[-1] == "__init__" else parts

    @property
    def name(self) -> str:
        """Its dotted name, without the project's."""
        return ".".join(self.parts)

    @property
    def package(self) -> str:
        """The first part of its name."""
        return self.parts[0]


class Arrow(NamedTuple):
    """An import of a module of the project by another."""

    source: str
    target: str
    line: int
    where: str
    """"" at the top of the file, else "in a function" or "for types only"."""

    @property
    def packages(self) -> tuple[str, str]:
        """The packages at both ends."""
        return self.source.split(".")[0], self.target.split(".")[0]

    def __str__(self) -> str:
        """Return one line for a reader."""
        return f"{self.source} -> {self.target} (line {self.line}{', ' + self.where if self.where else ''})"


def read(root: Path) -> tuple[Module, ...]:
    """Read every Python file of a checkout, hidden folders and what is built left out."""
    paths = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name[0] != "." and name not in OUTSIDE)
        paths += [Path(folder, name) for name in sorted(files) if name.endswith(".py")]
    return tuple(Module(path.relative_to(root), path.read_text(encoding="utf-8")) for path in paths)


def packaged(modules: Iterable[Module]) -> tuple[Module, ...]:
    """Return the modules of the packages, and the command lines in the root."""
    modules = tuple(modules)
    packages = {module.path.parts[0] for module in modules if module.path.parts[1:] == ("__init__.py",)}
    return tuple(module for module in modules if len(module.path.parts) == 1 or module.path.parts[0] in packages)


# Imports


def aside(node: ast.AST) -> str:
    """Return when imports inside `node` are read, if not with their file: "in a function" or "for types only"."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return "in a function"
    test = node.test if isinstance(node, ast.If) else None
    typing = "TYPE_CHECKING" in (getattr(test, "id", ""), getattr(test, "attr", ""))
    return "for types only" if typing else ""


def lines_aside(module: Module) -> list[tuple[range, str]]:
    """Return the lines on which imports are not read with their file, and when they are."""
    when = ((node, aside(node)) for node in module.nodes)
    return [(range(node.lineno, node.end_lineno + 1), word) for node, word in when if word]  # type: ignore[attr-defined]


def absolute(module: Module, level: int, name: str) -> str:
    """Return the dotted name, with the project's, of what a module imports."""
    if not level:
        return name
    is_package = module.path.name == "__init__.py"
    above = (PROJECT, *module.parts)[: len(module.parts) + 1 + is_package - level]
    return ".".join((*above, *filter(None, [name])))


def named(module: Module, node: ast.AST) -> list[str]:
    """Return the dotted names that an import may mean, those of what it takes from a module included."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        start = absolute(module, node.level, node.module or "")
        return [f"{start}.{alias.name}" for alias in node.names]
    function, given = (node.func, node.args[:1]) if isinstance(node, ast.Call) else (None, [])
    if "import_module" not in (getattr(function, "attr", None), getattr(function, "id", None)):
        return []
    texts = [each.value for each in given if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    return [absolute(module, len(text) - len(text.lstrip(".")), text.lstrip(".")) for text in texts]


def arrows(modules: Iterable[Module]) -> list[Arrow]:
    """Return every import inside the project: at the top, in functions and for types only."""
    modules = tuple(modules)
    known = {module.name for module in modules}
    found: set[Arrow] = set()
    for module in modules:
        ranges = lines_aside(module)
        for node in module.nodes:
            if not isinstance(node, IMPORTS):
                continue
            where = next((when for lines, when in ranges if node.lineno in lines), "")
            targets = filter(None, (target_of(name, known) for name in named(module, node)))
            found.update(Arrow(module.name, target, node.lineno, where) for target in targets if target != module.name)
    return sorted(found)


def target_of(name: str, known: Container[str]) -> str | None:
    """Return the module that a dotted name belongs to: itself, or what it is taken from; None outside the project."""
    first, *rest = name.split(".")
    if first != PROJECT:
        return None
    return next((module for end in (len(rest), len(rest) - 1) if (module := ".".join(rest[:end])) in known), None)


def upward(found: Iterable[Arrow]) -> list[Arrow]:
    """Return the arrows that do not lead to a lower floor; a package without a floor counts as one."""
    wrong = []
    for arrow in found:
        source, target = arrow.packages
        if source != target and FLOORS.get(source, -1) <= FLOORS.get(target, len(ORDER)):
            wrong.append(arrow)
    return wrong


def circles(pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Return circles, each from a name back to it: enough of them that without their last arrows none is left."""
    graph: dict[str, set[str]] = collections.defaultdict(set)
    for source, target in pairs:
        if source != target:
            graph[source].add(target)
    found = []
    while True:
        try:
            graphlib.TopologicalSorter({name: sorted(graph[name]) for name in sorted(graph)}).prepare()
        except graphlib.CycleError as error:
            circle = error.args[1][::-1]
            graph[circle[-2]].discard(circle[-1])
            found.append(circle)
        else:
            return found


def print_imports(modules: tuple[Module, ...], options: argparse.Namespace) -> list[str]:
    """Print the graph package by package; return arrows upwards and circles."""
    modules = packaged(modules)
    found = arrows(modules)
    behind: dict[tuple[str, str], list[Arrow]] = collections.defaultdict(list)
    for arrow in found:
        behind[arrow.packages].append(arrow)
    for package in sorted({module.package for module in modules}, key=lambda name: (FLOORS.get(name, -1), name)):
        targets = {target: behind[package, target] for source, target in behind if source == package != target}
        ordered = sorted(targets, key=lambda name: (FLOORS.get(name, -1), name))
        print(f"{package:12}", ", ".join(f"{target} {len(targets[target])}" for target in ordered) or "-")
        for arrow in itertools.chain.from_iterable(targets[target] for target in ordered if options.verbose):
            print(f"{'':12}   {arrow}")
    wrong = [f"upwards: {arrow}" for arrow in upward(found)]
    wrong += [f"packages in a circle: {' -> '.join(circle)}" for circle in circles(a.packages for a in found)]
    return wrong + [f"modules in a circle: {' -> '.join(c)}" for c in circles((a.source, a.target) for a in found)]


# Lines


def code_lines(module: Module) -> int:
    """Count the lines of code: without docstrings (also those below attributes), comments and blank lines."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type not in LAYOUT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in module.nodes:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def print_lines(modules: tuple[Module, ...], options: argparse.Namespace) -> list[str]:
    """Print lines of code by package and in all, and the whole length of each system's file."""
    counts: collections.Counter[str] = collections.Counter()
    for module in packaged(modules):
        counts[module.package] += code_lines(module)
    for package, count in sorted(counts.items()):
        print(f"{package:12}{count:7,}")
    print(f"{'in all':12}{counts.total():7,}")
    lengths = {module.name: len(module.text.splitlines()) for module in modules}
    for stem in stems(modules):
        print(f"envs/{stem}.py: {lengths[f'envs.{stem}']} lines with everything")
    return []


# Functions


class Function(NamedTuple):
    """A function."""

    place: str
    name: str
    length: int
    """Lines from `def` to its last."""
    paths: int
    """Cyclomatic complexity."""
    compiled: bool
    """Whether numba compiles it."""


def complexity(function: ast.AST) -> int:
    """Return the cyclomatic complexity: 1, and 1 for each branch.

    Branches are those of statements, also inside nested functions, conditional expressions, `and` and `or`,
    comprehensions and their conditions. Ruff's C901 counts those of statements alone.
    """
    count = 1
    for node in ast.walk(function):
        if isinstance(node, BRANCHES):
            count += 1
        if isinstance(node, ast.BoolOp):
            count += len(node.values) - 1
        if isinstance(node, ast.comprehension):
            count += len(node.ifs)
    return count


def all_functions(modules: Iterable[Module]) -> list[Function]:
    """Return every function of the packages; one inside another also counts by itself."""
    found = []
    for module in packaged(modules):
        kernel = module.path.stem.endswith("_kernel")
        for node in module.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                compiled = kernel or any("njit" in ast.unparse(each) for each in node.decorator_list)
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                found.append(Function(f"{module.path}:{node.lineno}", node.name, length, complexity(node), compiled))
    return found


def too_long(found: Iterable[Function]) -> list[str]:
    """Say which functions outside the compiled kernels are above `LONGEST` lines or `MOST_PATHS`."""
    wrong = []
    for place, name, length, paths, compiled in found:
        if length > LONGEST and not compiled:
            wrong.append(f"{place} {name}: {length} lines, must be at most {LONGEST}")
        if paths > MOST_PATHS and not compiled:
            wrong.append(f"{place} {name}: complexity {paths}, must be at most {MOST_PATHS}")
    return wrong


def print_functions(modules: tuple[Module, ...], options: argparse.Namespace) -> list[str]:
    """Print how long functions are; say which are too long or too branched."""
    found = all_functions(modules)
    lengths = [each.length for each in found]
    ninth = statistics.quantiles(lengths, n=10, method="inclusive")[-1]
    print(f"{len(found):,} functions, median {statistics.median(lengths):g} lines, 90th percentile {ninth:g}")
    if options.verbose:
        for each in sorted(found, key=lambda function: -function.length)[:20]:
            print(f"{each.length:5} {each.place} {each.name}{' (compiled)' if each.compiled else ''}")
    return too_long(found)


# Names


def table_of(module: Module) -> ast.Dict:
    """Return the table `SYSTEMS` as it is written.

    Raises:
        ValueError: the module has none.
    """
    for node in module.tree.body:
        target = node.target if isinstance(node, ast.AnnAssign) else None
        if isinstance(target, ast.Name) and target.id == "SYSTEMS" and isinstance(node, ast.AnnAssign):
            if isinstance(node.value, ast.Dict):
                return node.value
    raise ValueError(f"{module.path} has no table SYSTEMS")


def table_module(modules: Iterable[Module]) -> Module:
    """Return the module that has the table."""
    return next(module for module in modules if module.path == Path("envs", "__init__.py"))


def stems(modules: Iterable[Module]) -> tuple[str, ...]:
    """Return the stem of every system, in the table's order."""
    keys = table_of(table_module(modules)).keys
    return tuple(key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str))


def in_table(module: Module) -> set[ast.AST]:
    """Return the nodes of the table and of the imports that fill it."""
    table = table_of(module)
    classes = {node.id for node in ast.walk(table) if isinstance(node, ast.Name)}
    imports = [node for node in module.tree.body if isinstance(node, ast.ImportFrom)]
    filling = [node for node in imports if classes & {alias.name for alias in node.names}]
    return {inner for node in (table, *filling) for inner in ast.walk(node)}


def words(node: ast.AST) -> Iterator[str]:
    """Yield what a node says: a string, a name, the parts of an import, also of one that a string names."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield from node.value.split(".") if node.value.startswith((".", f"{PROJECT}.")) else [node.value]
    for field in NAMING & vars(node).keys():
        value = getattr(node, field)
        if isinstance(value, str):
            yield from value.split(".")


def owns(module: Module, stem: str) -> bool:
    """Return whether a file is the system's own."""
    path = module.path
    if path.parts[0] == "experiments" or path.parts[:2] == ("docs", "systems"):
        return True
    return stem in path.stem if path.parts[0] == "tests" else path.stem.startswith(stem)


def namings(modules: tuple[Module, ...], users: bool = False) -> list[tuple[Module, int, str]]:
    """Return where a system is named outside its own files and the table: file, line and stem.

    Args:
        modules: of the repository.
        users: whether to look into `USERS` too.
    """
    found = []
    known = stems(modules)
    for module in modules:
        if module.path.parts[0] in USERS and not users:
            continue
        foreign = {stem for stem in known if not owns(module, stem)}
        left_out = in_table(module) if module is table_module(modules) else set()
        for node in module.nodes:
            said = foreign & set(words(node)) if node not in left_out else set()
            found += [(module, getattr(node, "lineno", 0), stem) for stem in sorted(said)]
    return sorted(found, key=lambda naming: (naming[0].path, *naming[1:]))


def print_names(modules: tuple[Module, ...], options: argparse.Namespace) -> list[str]:
    """Print how often each file names a system that is not its own; return every place."""
    found = namings(modules, options.users)
    for path, count in collections.Counter(module.path for module, _, _ in found).items():
        print(f"{count:5} {path}")
    print(f"{len(found)} namings of {', '.join(stems(modules))} outside their own files")
    return [f"{module.path}:{line} names {stem}" for module, line, stem in found]


QUESTIONS: Mapping[str, Callable[[tuple[Module, ...], argparse.Namespace], list[str]]] = {
    "imports": print_imports,
    "lines": print_lines,
    "functions": print_functions,
    "names": print_names,
}
"""What can be asked: each prints its answer and returns what is wrong."""


def main(arguments: Iterable[str] | None = None) -> None:
    """Run the command line; ends with status 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", nargs="*", choices=[*QUESTIONS, "all"], default="all", help="what is asked")
    parser.add_argument("--root", type=Path, default=Path(__file__).parent.parent, help="the checkout to look at")
    parser.add_argument("--verbose", action="store_true", help="also every import, and the longest functions")
    parser.add_argument("--users", action="store_true", help=f"look for names in {', '.join(sorted(USERS))} too")
    options = parser.parse_args(None if arguments is None else list(arguments))
    modules = read(options.root)
    wrong = []
    for question in QUESTIONS if "all" in options.questions else options.questions:
        print(f"{question}:")
        answer = QUESTIONS[question](modules, options)
        print(*answer, "", sep="\n" if answer else "")
        wrong += answer
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
