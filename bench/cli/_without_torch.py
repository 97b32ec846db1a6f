"""Planning and listing without PyTorch: stand-ins for the few names of it that files need to be
imported.

Its CUDA build takes over a second and half a gigabyte to import. A method is one file, its
networks beside what planning asks for; so a command of `LIGHT` imports it with a stand-in for
`torch` as long as it computes
nothing: classes to derive from and decorators without effect. Any other use of PyTorch - another
name, an instance, its version, a library built on it - starts the command again with the real one.
"""

from __future__ import annotations

import os
import sys
from abc import ABCMeta
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, NoReturn

LIGHT = {"plan", "list", "run", "matrix", "data list", "table list", "table show", "perf plan"}
# Names that every PyTorch since 2.6 has. Another one that a file asks for costs a second start,
# nothing more.
NAMES: dict[str, tuple[str, ...]] = {
    "torch": ("Tensor", "no_grad", "inference_mode"),
    "torch.autograd": ("Function",),
    "torch.distributed": (),
    "torch.nn": ("Module",),
    "torch.nn.functional": (),
    "torch.utils": (),
    "torch.utils.data": ("DataLoader", "Dataset", "Sampler"),
}
DECORATORS = ("no_grad", "inference_mode")
NEED = "BENCH_NEEDS_TORCH"  # what a process needed PyTorch for, told to the one that it becomes


def stand_in(arguments: Sequence[str]) -> str | None:
    """Have stand-ins imported from now on for a command of `LIGHT`, if PyTorch is installed and
    not imported yet. Returns what the command was started again for, if it was; then nothing
    stands in."""
    need = os.environ.pop(NEED, None)
    words = [word for word in arguments if word != "--debug"]
    light = {" ".join(words[:1]), " ".join(words[:2])} & LIGHT
    if light and need is None and "torch" not in sys.modules and PathFinder.find_spec("torch"):
        sys.meta_path.insert(0, _Finder())
    return need


def standing_in() -> bool:
    """Does this process import stand-ins?"""
    return any(isinstance(finder, _Finder) for finder in sys.meta_path)


def start_again(need: str) -> NoReturn:
    """Become the same command with the real PyTorch. Nothing may have been printed or written yet."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.environ[NEED] = need
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


class _Finder(MetaPathFinder, Loader):
    """Finds the stand-in of every module of `NAMES`."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] != "torch":
            return None
        if name not in NAMES:
            start_again(name)
        return ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        made = _Module(spec.name)
        made.__path__ = []
        return made

    def exec_module(self, module: ModuleType) -> None:
        for name in NAMES[module.__name__]:
            here = {"__module__": module.__name__}
            setattr(module, name, _decorator if name in DECORATORS else _Class(name, (), here))


class _Module(ModuleType):
    def __getattr__(self, name: str) -> Any:
        whole = f"{self.__name__}.{name}"
        return import_module(whole) if whole in NAMES else start_again(whole)


class _Class(ABCMeta):
    """Of a stand-in and of what derives from it; ABCMeta, so that both may have an abstract base
    too."""

    def __call__(cls, *args: Any, **kwargs: Any) -> NoReturn:
        start_again(f"an instance of {cls.__name__}")

    def __getitem__(cls, item: Any) -> Any:
        return cls

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        start_again(f"{cls.__name__}.{name}")


def _decorator(*given: Any) -> Any:
    return start_again("a decorator's setting") if given else _Decorator()


class _Decorator:
    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return function

    def __enter__(self) -> NoReturn:
        start_again("a context")

    def __exit__(self, *error: object) -> None: ...
