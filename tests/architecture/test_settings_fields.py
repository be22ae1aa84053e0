"""Configuration cannot lie: every settings field is documented, and something reads it.

Reads are found in the syntax tree: `a.b.c` counts for field `c` of the class that annotations give `a.b`.
Names alone would not do, since `steps` of one class being read says nothing about `steps` of another.
"""

import ast
import importlib
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import pytest

from core.settings import Settings

# The tag of a union decides the class while parsing; nothing needs to look at it again.
TAG = "kind"
VALIDATORS = ("model_validator", "field_validator")


def settings_classes(kind: type[Settings] = Settings) -> Iterator[type[Settings]]:
    for child in kind.__subclasses__():
        yield child
        yield from settings_classes(child)


@pytest.fixture(scope="module")
def declared(modules: tuple[str, ...]) -> list[type[Settings]]:
    for name in modules:
        importlib.import_module(name)
    return [kind for kind in settings_classes() if kind.__module__.split(".")[0] == "core"]


def test_every_field_is_documented(declared: list[type[Settings]]) -> None:
    assert len(declared) > 10
    bare = [
        f"{kind.__name__}.{name}"
        for kind in declared
        for name, field in kind.model_fields.items()
        if not (field.description or "").strip() and not is_tag(kind, name)
    ]
    assert not bare, f"these settings have no docstring below them: {', '.join(bare)}"


def test_every_field_is_read(declared: list[type[Settings]], modules: tuple[str, ...]) -> None:
    files = [importlib.import_module(name) for name in modules]
    reads = reads_of(*((Path(str(file.__file__)).read_text(), vars(file)) for file in files))
    unread = unread_fields(declared, reads)
    told = ", ".join(unread)
    assert not unread, f"nothing reads these settings, or no annotation tells whose they are: {told}"


class Kept(Settings):
    """For the tests of the search itself."""

    steps: int = 1
    rate: float = 1.0


class Plan(Settings):
    """Its `steps` is not that of `Kept`."""

    kept: Kept = Kept()
    more: tuple[Kept, ...] = ()
    named: dict[str, Kept] = {}  # noqa: RUF012  (pydantic copies it)
    maybe: Kept | None = None
    steps: int = 2

    def doubled(self) -> int:
        """Reads through self."""
        return 2 * self.steps

    def part(self) -> Kept:
        """What a call gives."""
        return self.kept


class Holder:
    """Stands for a class that keeps its settings; the searched text says where from."""


@pytest.mark.parametrize(
    ("code", "read"),
    [
        ("def f(plan: Plan): return plan.kept.steps", {"Plan.kept", "Kept.steps"}),
        ("def f(plan: 'Plan'): return plan.steps", {"Plan.steps"}),
        ("def f(plan: Plan):\n    for k in plan.more: print(k.rate)", {"Plan.more", "Kept.rate"}),
        ("def f(plan: Plan): return [k.rate for k in plan.more]", {"Plan.more", "Kept.rate"}),
        ("def f(plan: Plan): return [k.rate for _, k in plan.named.items()]", {"Plan.named", "Kept.rate"}),
        ("def f(plan: Plan): return [k.rate for _, k in enumerate(plan.more)]", {"Plan.more", "Kept.rate"}),
        (
            "def f(p: Plan):\n    for k in (*p.more, *p.named.values()): print(k.rate)",
            {"Plan.more", "Plan.named", "Kept.rate"},
        ),
        (
            "def f(p: Plan):\n    for k, n in ((p.kept, 1), (p.maybe, 2)): print(k.rate)",
            {"Plan.kept", "Plan.maybe", "Kept.rate"},
        ),
        ("def f(plan: Plan):\n    k, n = plan.kept, 1\n    return k.rate", {"Plan.kept", "Kept.rate"}),
        ("def f(plan: Plan): return plan.named['a'].rate", {"Plan.named", "Kept.rate"}),
        ("def f(plan: Plan): return plan.maybe and plan.maybe.rate", {"Plan.maybe", "Kept.rate"}),
        ("def f(plan: Plan):\n    part = plan.part()\n    return part.rate", {"Kept.rate"}),
        ("def f():\n    return Plan().steps", {"Plan.steps"}),
        ("def f(either: Kept | Plan): return either.steps", {"Plan.steps", "Kept.steps"}),
        ("class Plan:\n    def g(self): return self.steps", {"Plan.steps"}),
        (
            "class Holder:\n    def f(self): return self.a.rate\n    def __init__(self, k: Kept): self.a = k",
            {"Kept.rate"},
        ),
        ("class Plan:\n    @model_validator(mode='after')\n    def g(self): return self.steps", set()),
        ("def f(plan: Plan): plan.steps = 1", set()),
        ("def f(other: int): return other.steps", set()),
        ("def f(other): return other.steps", set()),
    ],
)
def test_the_search_tells_whose_field_is_read(code: str, read: set[str]) -> None:
    found = reads_of((code, {"Plan": Plan, "Kept": Kept, "Holder": Holder}))
    every = {f"{kind.__name__}.{name}" for kind in (Plan, Kept) for name in kind.model_fields}
    assert every - set(unread_fields([Plan, Kept], found)) == read


@dataclass(frozen=True)
class Read:
    """One attribute read: of a class that is known, by name."""

    kind: type
    name: str


def is_tag(kind: type[Settings], name: str) -> bool:
    return name == TAG and get_origin(kind.model_fields[name].annotation) is typing.Literal


def unread_fields(declared: list[type[Settings]], reads: set[Read]) -> list[str]:
    """The fields nothing reads, as `Class.field`; a read of a base or of a derived class counts."""
    return [
        f"{kind.__name__}.{name}"
        for kind in declared
        for name in kind.model_fields
        if not is_tag(kind, name)
        and not any(read.name == name and related(kind, read.kind) for read in reads)
    ]


def related(one: type, other: type) -> bool:
    """Whether one derives from the other; a protocol is nobody's base here."""
    if getattr(other, "_is_protocol", False):  # `typing.is_protocol` comes with Python 3.13
        return False
    return issubclass(one, other) or issubclass(other, one)


def reads_of(*files: tuple[str, dict[str, Any]]) -> set[Read]:
    """The attribute reads of files, each given with its module-level names."""
    kept: dict[tuple[type, str], Any] = {}
    reads: set[Read] = set()
    for _ in range(2):  # what `__init__` keeps is known from the second time on
        for code, names in files:
            finder = _Finder(names, kept)
            finder.visit(ast.parse(code))
            reads |= finder.reads
    return reads


class _Finder(ast.NodeVisitor):
    """Follows annotations from arguments, `self` and constructors along attributes, calls and loops."""

    def __init__(self, names: dict[str, Any], kept: dict[tuple[type, str], Any]) -> None:
        self.names = names
        self.kept = kept
        self.local: dict[str, Any] = {}
        self.owner: Any = None
        self.reads: set[Read] = set()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        outer, self.owner = self.owner, self.names.get(node.name)
        self.generic_visit(node)
        self.owner = outer

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if any(name in ast.unparse(mark) for mark in node.decorator_list for name in VALIDATORS):
            return
        outer = self.local
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        self.local = outer | {a.arg: self.annotated(a.annotation) for a in arguments}
        if arguments and arguments[0].arg == "self":
            self.local["self"] = self.owner
        for statement in node.body:
            self.visit(statement)
        self.local = outer

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        # Imports inside functions and for annotations only: the names are not in the module.
        for alias in node.names:
            name = alias.asname or alias.name
            if name not in self.names:
                self.names = self.names | {name: _imported(node.module or "", alias.name)}

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            self.bind(target, self.type_of(node.value))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.generic_visit(node)
        self.bind(node.target, self.annotated(node.annotation))

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.generic_visit(node)
        self.bind(node.target, self.type_of(node.value))

    def visit_For(self, node: ast.For) -> None:
        self.bind(node.target, _element(self.type_of(node.iter)))
        self.generic_visit(node)

    def generic_visit(self, node: ast.AST) -> None:
        for generator in getattr(node, "generators", ()):  # comprehensions name their variables last
            self.bind(generator.target, _element(self.type_of(generator.iter)))
        super().generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        if isinstance(node.ctx, ast.Load):
            self.reads |= {Read(kind, node.attr) for kind in _classes(self.type_of(node.value))}

    def bind(self, target: ast.expr, kind: Any) -> None:
        if isinstance(target, ast.Name):
            self.local[target.id] = kind
        elif isinstance(target, ast.Attribute):
            self.kept |= {(owner, target.attr): kind for owner in _classes(self.type_of(target.value))}
        elif isinstance(target, ast.Tuple):
            rows = [get_args(row) for row in _members(kind) if get_origin(row) is tuple]
            for n, item in enumerate(target.elts):
                self.bind(item, _union(row[n] for row in rows if n < len(row)))

    def annotated(self, annotation: ast.expr | None) -> Any:
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            annotation = ast.parse(annotation.value, mode="eval").body
        try:
            return annotation and eval(compile(ast.Expression(annotation), "", "eval"), dict(self.names))
        except Exception:
            return None  # a name that exists only for the type checker

    def type_of(self, node: ast.expr) -> Any:
        """What annotations say about an expression, None where they say nothing."""
        match node:
            case ast.Name(id=name):
                return self.local.get(name)
            case ast.Attribute(value=base, attr=name):
                kinds = _classes(self.type_of(base))
                return _union(_attribute(kind, name) or self.kept.get((kind, name)) for kind in kinds)
            case ast.Subscript(value=base):
                kind = self.type_of(base)
                return get_args(kind)[-1] if get_origin(kind) is dict else _element(kind)
            case ast.Tuple(elts=items) if any(isinstance(item, ast.Starred) for item in items):
                return tuple[
                    _union(_element(self.type_of(i.value)) for i in items if isinstance(i, ast.Starred)), ...
                ]
            case ast.Tuple(elts=items) | ast.List(elts=items):
                return tuple[tuple(self.type_of(item) or object for item in items)]
            case ast.Call(func=ast.Name(id="sorted" | "list" | "tuple" | "reversed"), args=[items, *_]):
                return list[_element(self.type_of(items)) or object]
            case ast.Call(func=ast.Name(id="enumerate"), args=[items, *_]):
                return list[tuple[int, _element(self.type_of(items)) or object]]
            case ast.Call(func=ast.Name(id="zip"), args=items):
                return list[tuple[tuple(_element(self.type_of(item)) or object for item in items)]]
            case ast.Call(func=ast.Name(id=name)):
                return _result(self.names.get(name))
            case ast.Call(func=ast.Attribute(value=base, attr="values")):
                kind = self.type_of(base)
                return list[get_args(kind)[-1]] if get_origin(kind) is dict else None
            case ast.Call(func=ast.Attribute(value=base, attr="items")):
                kind = self.type_of(base)
                return list[tuple[get_args(kind)]] if get_origin(kind) is dict else None
            case ast.Call(func=ast.Attribute(value=base, attr=name)):
                return _union(_result(getattr(kind, name, None)) for kind in _classes(self.type_of(base)))
            case ast.BoolOp(values=values):
                return _union(self.type_of(value) for value in values)
            case ast.IfExp(body=body, orelse=other):
                return _union((self.type_of(body), self.type_of(other)))
        return None


def _imported(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name, None) if module.startswith("core") else None


def _members(kind: Any) -> list[Any]:
    """A union's members, without annotations; another type alone."""
    if get_origin(kind) is Annotated:
        return _members(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return [member for part in get_args(kind) for member in _members(part)]
    return [kind]


def _classes(kind: Any) -> list[type]:
    return [member for member in _members(kind) if isinstance(member, type) and member is not type(None)]


def _attribute(kind: type, name: str) -> Any:
    found = getattr(kind, name, None)
    if isinstance(found, property):
        return _result(found.fget)
    try:
        return typing.get_type_hints(kind).get(name)
    except (NameError, TypeError):
        return None


def _result(function: Any) -> Any:
    if isinstance(function, type):
        return function
    try:
        return typing.get_type_hints(function).get("return") if callable(function) else None
    except (NameError, TypeError):
        return None


def _element(kind: Any) -> Any:
    parts = get_args(kind)
    return _union(part for part in parts if part is not Ellipsis) if parts else None


def _union(kinds: Any) -> Any:
    found = [kind for kind in kinds if kind is not None]
    return Union[tuple(found)] if found else None  # noqa: UP007  (built, not written)
