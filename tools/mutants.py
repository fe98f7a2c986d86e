"""Break the core in one place at a time, and see whether a test in `tests/runtime` notices.

python tools/mutants.py                 what runs items: hours
python tools/mutants.py channel tasks   some of its modules
python tools/mutants.py --every 20      a sample of one mutant in 20
python tools/mutants.py --write         puts the score into docs/guarantees.md

A mutant is one change inside a function: a comparison, condition, sign, number or result turned into another, or a
statement dropped. It is killed by a test that fails, or by a suite that does not end.
"""

import argparse
import ast
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from time import perf_counter
from typing import Any, NamedTuple

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "guarantees.md"
SECONDS = 3600  # For the suite without a fault, which takes about three minutes.
SLOWER = 4  # So much longer a mutant may take, as the machine may be busier then.
CORE = ROOT / "{{cookiecutter.project_slug}}" / "src" / "{{cookiecutter.package_name}}" / "pipeline_core"
WITHOUT_ITEMS = {"checks", "errors", "machine", "observer", "plan", "report", "stacks"}
MODULES = sorted({file.stem for file in CORE.glob("[a-z]*.py")} - WITHOUT_ITEMS)
FIRST = (  # These find the most.
    "order",
    "accounting",
    "queue",
    "policies",
    "corners",
    "report",
    "errors",
    "stop",
    "bursts",
    "workers",
    "sub_task_pool",
    "source",
    "sharing_a_place",
    "service_times",
    "model",
)
LIMITS = {"STRESS_EXAMPLES": "40", "TEST_SECONDS": "60"}  # A mutant that hangs costs the time of one test.
LEFT_OUT = {"command_corners", "free_threaded", "interrupt"}  # Slow, or of other modules.
OF_OBSERVERS = "from diagnosis_helpers import"  # Whoever has this line is left out, too, unless it is among the first.
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
}


class Mutant(NamedTuple):
    module: str
    line: int
    change: str
    text: str


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as folder:
        bakes: SimpleQueue[Path] = SimpleQueue()
        for number in range(options.jobs):
            bakes.put(Path(cookiecutter(str(ROOT), no_input=True, output_dir=f"{folder}/{number}")))
        bake = bakes.get()
        start = perf_counter()
        if not passes(bake, SECONDS):
            raise SystemExit("the tests fail on the core as it is")
        limit = SLOWER * (perf_counter() - start)
        of_each = [list(mutants(module, source(bake, module).read_text())) for module in options.modules]
        found = [mutant for of_one in of_each for mutant in of_one[:: options.every]]
        bakes.put(bake)

        def survives(mutant: Mutant) -> bool:
            bake = bakes.get()
            file = source(bake, mutant.module)
            unbroken = file.read_text()
            try:
                file.write_text(mutant.text)
                return passes(bake, limit)
            finally:
                file.write_text(unbroken)
                bakes.put(bake)

        survivors = []
        with ThreadPoolExecutor(options.jobs) as pool:
            for mutant, survived in zip(found, pool.map(survives, found), strict=True):
                if survived:
                    survivors.append(mutant)
                    print(f"survived: {mutant.module}.py:{mutant.line}: {mutant.change}", flush=True)
    lines = score(found, survivors)
    print(*lines, sep="\n")
    if options.write:
        begin, end = "<!-- mutants -->\n", "<!-- end of mutants -->"
        page = re.sub(f"(?s){begin}.*{end}", lambda _: begin + "\n".join([*lines, end]), PAGE.read_text())
        PAGE.write_text(page)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=" ".join(MODULES))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="one in N mutants of each module")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    unknown = set(options.modules) - set(MODULES)
    if unknown:
        parser.error(f"no module of the core: {', '.join(sorted(unknown))}")
    options.modules = options.modules or MODULES
    return options


def source(bake: Path, module: str) -> Path:
    return next(bake.glob(f"src/*/pipeline_core/{module}.py"))


def tests() -> list[str]:
    files = (ROOT / "tests" / "runtime").glob("test_*.py")
    names = {file.stem.removeprefix("test_") for file in files if OF_OBSERVERS not in file.read_text(encoding="utf-8")}
    rest = sorted(names - LEFT_OUT - set(FIRST))
    return [f"tests/runtime/test_{name}.py" for name in [*FIRST, *rest]]


def passes(bake: Path, seconds: float) -> bool:
    package = next(bake.glob("src/*/pipeline_core")).parent
    suite = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-x", "-q", "--confcutdir=tests/runtime", *tests()],
        cwd=ROOT,
        env=os.environ | {"RUNTIME": str(package), "PYTHONDONTWRITEBYTECODE": "1"} | LIMITS,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return suite.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:  # With the children that its tests have left.
        with suppress(ProcessLookupError):
            os.killpg(suite.pid, signal.SIGKILL)
        suite.wait()


def mutants(module: str, text: str) -> Iterator[Mutant]:
    tree = ast.parse(text)
    seen = {ast.unparse(tree)}
    for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
        nodes = [function, *(node for statement in function.body for node in ast.walk(statement))]
        for node in nodes:
            for place, key, value in changes(node, inside=node is not function):
                before = exchange(place, key, value)
                broken = ast.unparse(ast.fix_missing_locations(tree))
                exchange(place, key, before)
                if broken not in seen:
                    seen.add(broken)
                    line = getattr(before, "lineno", getattr(node, "lineno", 0))
                    yield Mutant(module, line, f"{show(before)} -> {show(value)}", broken)


def changes(node: ast.AST, *, inside: bool) -> Iterator[tuple[Any, Any, Any]]:
    """What can be another: where it stands, under which name or number, and the other."""
    for body in ("body", "orelse", "finalbody"):
        statements = getattr(node, body, None)
        for number, statement in enumerate(statements if isinstance(statements, list) else []):
            if can_go(statement):
                yield statements, number, ast.Pass()
    if not inside:
        return
    match node:
        case ast.Compare(ops=[op, *_]) if type(op) in SWAPS:
            yield node.ops, 0, SWAPS[type(op)]()
        case ast.BoolOp(op=op) | ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in SWAPS:
            yield node, "op", SWAPS[type(op)]()
        case ast.Constant(value=bool(value)):
            yield node, "value", not value
        case ast.Constant(value=int(value) | float(value)):
            yield node, "value", value + 1
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield node, "operand", ast.UnaryOp(ast.Not(), operand)
        case ast.If(test=test):
            yield node, "test", ast.UnaryOp(ast.Not(), test)
        case ast.Return(value=ast.expr()):
            yield node, "value", ast.Constant(None)


def can_go(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return not isinstance(statement.value, ast.Constant | ast.Yield | ast.YieldFrom)
    return isinstance(statement, ast.Assign | ast.AugAssign | ast.Raise | ast.Break | ast.Delete)


def exchange(place: Any, key: Any, value: Any) -> Any:
    """Put it there. Returns what stood there."""
    if isinstance(place, list):
        place[key], value = value, place[key]
        return value
    before = getattr(place, key)
    setattr(place, key, value)
    return before


def show(part: Any) -> str:
    if isinstance(part, ast.stmt | ast.expr):
        return ast.unparse(part)
    return type(part).__name__ if isinstance(part, ast.AST) else repr(part)


def score(found: list[Mutant], survivors: list[Mutant]) -> list[str]:
    made, left = (Counter(mutant.module for mutant in some) for some in (found, survivors))
    rows = [(f"`{module}.py`", made[module], left[module]) for module in made] + [("all", len(found), len(survivors))]
    return [
        "| | mutants | killed | survived |",
        "|---|---|---|---|",
        *(f"| {name} | {number} | {number - alive} | {alive} |" for name, number, alive in rows),
    ]


if __name__ == "__main__":
    main()
