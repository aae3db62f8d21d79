"""torch, for files that must be readable without it.

A pool's file holds its spec and its module. Every command reads specs, and torch takes two seconds to import: so pools
and what they are made of take torch from here, and it is imported when the first head is built.
"""

from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn
    from torch.nn import Module
else:

    class _LazyModule(ModuleType):
        """A module that is imported when something of it is asked for."""

        def __getattr__(self, name: str) -> Any:
            return getattr(import_module(self.__name__), name)

    torch, nn, F = _LazyModule("torch"), _LazyModule("torch.nn"), _LazyModule("torch.nn.functional")
    Tensor = "torch.Tensor"  # for annotations, which nobody reads at run time

    class Module:
        """The base of a module whose class exists before torch does: its instances are `torch.nn.Module`s too."""

        def __new__(cls, *_: Any, **__: Any) -> "Module":
            return super().__new__(_with_torch(cls))

    @cache
    def _with_torch(cls: type) -> type:
        base = import_module("torch.nn").Module
        return cls if issubclass(cls, base) else type(cls.__name__, (cls, base), {"__module__": cls.__module__})


__all__ = ["F", "Module", "Tensor", "nn", "torch"]
