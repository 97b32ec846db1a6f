"""The digest of parsed code, what it imports, and the closure of a module over files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core.code import SourceTree, parse

CODE = '''
"""A module."""
from __future__ import annotations
from typing import TYPE_CHECKING
import numpy as np
if TYPE_CHECKING:
    from pathlib import Path

def scale(x: float, by: float = 1e-3) -> float:
    """Scale."""
    if by < 0:
        raise ValueError(f"by is negative: {by}")
    return x * by
'''


def digest(text: str) -> str:
    return parse(text, "a.b", is_package=False).digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return x * by", "return (\n        x\n        * by  # scaled\n    )"),
        ('    """Scale."""\n', ""),
        ('"""A module."""', "# A module without a docstring."),
        ("1e-3", "0.001"),
        ('f"by is negative: {by}"', 'f"the factor must not be negative, got {by}"'),
        ("    from pathlib import Path", "    from os import PathLike\n    from re import Match"),
        ("if TYPE_CHECKING:\n    from pathlib import Path\n", ""),
    ],
)
def test_what_cannot_change_a_number_does_not_count(old: str, new: str) -> None:
    assert CODE.count(old) == 1
    assert digest(CODE.replace(old, new)) == digest(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return x * by", "return x / by"),
        ("1e-3", "2e-3"),
        ("by < 0", "by <= 0"),
        ("ValueError", "TypeError"),
        ("{by}", "{x}"),
        ("import numpy as np", "import numpy as np\nnp.seterr(all='ignore')"),
        ("import numpy as np", "import cupy as np"),
        ("    return x * by", ""),
    ],
)
def test_what_may_change_a_number_counts(old: str, new: str) -> None:
    assert digest(CODE.replace(old, new)) != digest(CODE)


def test_help_of_a_setting_is_wording_its_default_is_not() -> None:
    one = digest('lr = param(0.1, help="rate")')
    assert digest('lr = param(0.1, help="the learning rate")') == one
    assert digest('lr = param(0.2, help="rate")') != one
    assert digest('lr = param(0.1, later="rate")') != one


def test_class_methods_left_aside_do_not_count_nor_what_they_import() -> None:
    plain = "class A:\n    x = 1\n"
    peer = (
        "    @classmethod\n    def peer(cls):\n        from b import rival\n        return rival\n"
    )
    whole = parse(plain + peer, "a", False, aside=frozenset({"peer"}))
    assert whole == parse(plain, "a", False)
    assert parse(plain + peer, "a", False).imports == {"b.rival"}
    method = (plain + peer).replace("    @classmethod\n", "")  # of every object: it may be used
    assert parse(method, "a", False, aside=frozenset({"peer"})).imports == {"b.rival"}


def test_none_false_and_missing_differ() -> None:
    texts = "return", "return None", "return False", "return 0", "return ''", "return ()"
    assert len({digest(f"def f():\n    {text}") for text in texts}) == len(texts)


def test_text_that_is_no_python_is_digested_as_it_stands() -> None:
    assert digest("def (") != digest("def  (")
    assert parse("import a (", "a", is_package=False).imports == frozenset()


def test_imports_are_absolute_and_those_for_types_are_left_out() -> None:
    text = """
import a.b, c as d
from e import f
from . import g
from .h import i
from ..j import k
from l import *
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import m
else:
    import n
def late():
    from o import p
"""
    both = {"a.b", "c", "e.f", "l.*", "typing.TYPE_CHECKING", "n", "o.p"}
    module = parse(text, "x.y.z", is_package=False).imports
    assert module == both | {"x.y.g", "x.y.h.i", "x.j.k"}
    package = parse(text, "x.y", is_package=True).imports
    assert package == module


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes modules of a package tree that can be found: write(**{"digpack/a.py": "..."})."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def files(**texts: str) -> Path:
        for name, text in texts.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return tmp_path

    return files


def modules(*roots: str, closed: tuple[str, ...] = ()) -> set[str]:
    return set(SourceTree(["digpack"], closed).closure(roots))


def test_a_closure_follows_imports_inside_the_packages(write: Write) -> None:
    write(
        **{
            "digpack/__init__.py": "import digpack.unused",
            "digpack/unused.py": "",
            "digpack/run.py": (
                "import numpy\nfrom digpack.nn import net\ndef f():\n    import digpack.late"
            ),
            "digpack/nn/__init__.py": "",
            "digpack/nn/net.py": "from .layer import Layer\nfrom digpack import run",
            "digpack/nn/layer.py": "raise RuntimeError('never imported')",
            "digpack/nn/other.py": "",
            "digpack/late.py": "from digpack.nn.layer import Layer",
        }
    )
    assert modules("digpack.run") == {
        "digpack.run",
        "digpack.nn.net",
        "digpack.nn.layer",
        "digpack.late",
    }
    assert modules("digpack.nn.layer") == {"digpack.nn.layer"}
    assert modules("digpack.run", "digpack.nn.other") - modules("digpack.run") == {
        "digpack.nn.other"
    }
    assert modules("digpack.no.such", "no_such_package.a") == set()


def test_a_name_of_a_package_is_the_package_and_a_folder_needs_no_init(write: Write) -> None:
    write(
        **{
            "digpack/a.py": "from digpack.names import X\nfrom digpack.bare.b import y",
            "digpack/names/__init__.py": "from digpack.names.x import X",
            "digpack/names/x.py": "",
            "digpack/bare/b.py": "",
        }
    )
    assert modules("digpack.a") == {
        "digpack.a",
        "digpack.names",
        "digpack.names.x",
        "digpack.bare.b",
    }


def test_every_file_of_a_root_folder_counts(write: Write) -> None:
    tree = write(
        **{
            "digpack/orl/__init__.py": "",
            "digpack/orl/parts.py": "import digpack.shared",
            "digpack/orl/deep/table.json": "[1]",
            "digpack/orl/__pycache__/parts.cpython-311.pyc": "x",
            "digpack/orl/.hidden": "x",
            "digpack/shared.py": "",
        }
    )
    names = {"digpack.orl", "digpack.orl.parts", "digpack.orl/deep/table.json", "digpack.shared"}
    assert modules("digpack.orl") == names
    before = SourceTree(["digpack"]).closure(["digpack.orl"])
    (tree / "digpack/orl/deep/table.json").write_text("[2]")
    after = SourceTree(["digpack"]).closure(["digpack.orl"])
    assert {n for n in names if before[n] != after[n]} == {"digpack.orl/deep/table.json"}


def test_closed_modules_are_not_entered_but_may_be_roots(write: Write) -> None:
    write(
        **{
            "digpack/a.py": "import digpack.log\nimport digpack.show.page",
            "digpack/log.py": "import digpack.deep",
            "digpack/show/page.py": "from digpack.show import look",
            "digpack/show/look.py": "",
            "digpack/deep.py": "",
        }
    )
    closed = "digpack.log", "digpack.show.*"
    assert modules("digpack.a", closed=closed) == {"digpack.a"}
    assert modules("digpack.log", closed=closed) == {"digpack.log", "digpack.deep"}
    # a package that is closed by its name alone still has open parts
    assert modules("digpack.a", closed=("digpack", "digpack.show")) == {
        "digpack.a",
        "digpack.log",
        "digpack.deep",
        "digpack.show.page",
        "digpack.show.look",
    }


def test_one_tree_gives_one_answer_and_the_next_one_sees_the_edit(write: Write) -> None:
    tree = write(**{"digpack/a.py": "x = 1", "digpack/b.py": ""})
    old = SourceTree(["digpack"])
    before = old.closure(["digpack.a"])
    file = tree / "digpack/a.py"
    stat = file.stat()
    file.write_text("import digpack.b\nx = 2")
    assert old.closure(["digpack.a"]) == before
    after = SourceTree(["digpack"]).closure(["digpack.a"])
    assert set(after) == {"digpack.a", "digpack.b"}
    file.write_text("import digpack.b\nx = 3")  # of the same size, at another time
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert SourceTree(["digpack"]).closure(["digpack.a"])["digpack.a"] != after["digpack.a"]
