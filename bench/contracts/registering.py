"""Components that are defined in a notebook or a script instead of a file of their own."""

from __future__ import annotations

import ast
import hashlib
import inspect
import linecache
import re
import warnings
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, TypeVar

from bench.contracts import registry
from bench.contracts.component import Component
from bench.core.code import parse
from bench.core.errors import BadInput

C = TypeVar("C", bound=type[Component])
DIGITS = 40  # hex digits of a digest
CONSTANTS = (bool, int, float, complex, str, bytes, tuple, frozenset, list, dict, set, type(None))


def register(cls: C, name: str = "") -> C:
    """Make a component that is defined here usable by its name in this process; also a decorator.

    cls: a Crop, Method, Task, Data or Proposals class that defines what its kind must. name: by
    default the class's name in lower case with underscores.

    Other processes do not know it, so that every key it enters records the digest of its source:
    of the class and of the functions, classes and constants of the same module that it uses. An
    edit makes another key; formatting and comments do not. What it imports from other packages is
    not part of the digest. Registering a name again replaces what had it.

    Examples:
        >>> from bench.contracts.crop import Crop
        >>> @bench.register
        ... class Half(Crop):
        ...     'The left half of every image.'
        ...     style = "pseudo"
        ...     def sampler(self, images, inputs):
        ...         return LeftHalves(images.sizes)  # a bench.contracts.views.Sampler
        >>> bench.plan(method="byol", crop="half", task="knn").cells[0].cell.crop
        'half'

    Raises BadInput where a component's file has the name, something is missing, or the source
    cannot be read. Warns that the component is recorded by digest.
    """
    kind = getattr(cls, "kind", "")
    if not (isinstance(cls, type) and issubclass(cls, Component)) or kind not in registry.PLURAL:
        raise BadInput(
            f"{cls!r} is no component; derive it from bench.contracts.crop.Crop, or from Method, "
            "Task, Data or Proposals beside it"
        )
    name = name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise BadInput(f"a component's name has small letters, digits and _, got {name!r}")
    marker = (kind, name)
    if marker in registry.entries() and marker not in registry.REGISTERED:
        file = registry.entries()[marker].file
        raise BadInput(f"there is a {kind} {name!r} in {file}; try another name")
    if missing := registry.find_missing(cls):
        raise BadInput(f"{cls.__name__} must define {', '.join(missing)}")
    cls.name, cls.source = name, digest_class(cls)
    if kind == "data":
        _mark_stages(cls)
    file = Path(next(iter(_code_objects(cls))).co_filename)
    about = " ".join((inspect.getdoc(cls) or "").partition("\n\n")[0].split())
    entry = registry.Entry(kind, name, cls.__module__, file, about or cls.__name__)
    registry.add(entry, cls)
    warnings.warn(
        f"{kind} {name!r} is known to this process alone; its results record it by the digest of "
        f"its source, {cls.source[:12]}",
        stacklevel=2,
    )
    return cls


def digest_class(cls: type) -> str:
    """40 hex digits over the source of a class and of all that it uses of its module."""
    seen: dict[str, str] = {}
    _collect(cls, seen)
    lines = "\n".join(f"{name} {digest}" for name, digest in sorted(seen.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:DIGITS]


def _collect(thing: type | FunctionType, seen: dict[str, str]) -> None:
    """The digests of a class or function, and of what its code names in its module."""
    if thing.__qualname__ in seen:
        return
    tree = _find_definition(thing)
    text = ast.unparse(tree)
    seen[thing.__qualname__] = parse(text, "notebook", False).digest
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for name in sorted(names & _globals_of(thing).keys()):
        value = _globals_of(thing)[name]
        if isinstance(value, (type, FunctionType)):
            if value.__module__ == thing.__module__:
                _collect(value, seen)
        elif isinstance(value, CONSTANTS):
            seen[f"{name} ="] = hashlib.sha256(repr(value).encode()).hexdigest()


def _globals_of(thing: type | FunctionType) -> dict[str, Any]:
    if isinstance(thing, FunctionType):
        return thing.__globals__
    functions = (v for v in map(_unwrap, vars(thing).values()) if isinstance(v, FunctionType))
    first = next(functions, None)
    return first.__globals__ if first else {}


def _unwrap(value: object) -> object:
    """The function of a class method, static method or property."""
    value = getattr(value, "__func__", value)
    return getattr(value, "fget", value)


def _code_objects(thing: type | FunctionType) -> list[CodeType]:
    if isinstance(thing, FunctionType):
        return [thing.__code__]
    values = (_unwrap(value) for value in vars(thing).values())
    return [v.__code__ for v in values if isinstance(v, FunctionType)]


def _find_definition(thing: type | FunctionType) -> ast.AST:
    """The syntax tree of a definition. A notebook's cell is a file of its own, which `inspect`
    does not find for a class; the code of its methods names it."""
    kinds = (ast.ClassDef,) if isinstance(thing, type) else (ast.FunctionDef, ast.AsyncFunctionDef)
    for code in _code_objects(thing):
        text = "".join(linecache.getlines(code.co_filename))
        hits = _definitions(text, thing.__name__, kinds, code)
        if hits:
            return hits[-1]
    try:
        return ast.parse(inspect.cleandoc(inspect.getsource(thing)))
    except (OSError, TypeError, SyntaxError):
        raise BadInput(
            f"the source of {thing.__qualname__} cannot be read; write it to a file: bench new"
        ) from None


def _definitions(
    text: str, name: str, kinds: tuple[type[ast.AST], ...], code: CodeType
) -> list[ast.AST]:
    """The definitions of that name whose lines hold the code's first line."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return []
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, kinds)
        and getattr(node, "name", "") == name
        and _first_line(node) <= code.co_firstlineno <= (getattr(node, "end_lineno", 0) or 0)
    ]


def _first_line(node: ast.AST) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    lines: list[int] = [getattr(node, "lineno", 0), *(d.lineno for d in decorators)]
    return min(lines)


def _mark_stages(cls: Any) -> None:
    """Let the key of a set's stage record the digest of its class."""
    if "marked" in vars(cls):
        return
    make = cls.make_stage

    def make_stage(self: Any, root: Path, runtime: Any, **content: str) -> Any:
        return make(self, root, runtime, **{**content, "source": type(self).source})

    cls.make_stage, cls.marked = make_stage, True
