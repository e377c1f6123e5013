"""Finds blocks in packages and entry points, and refuses those that break a rule.

Modules come from third parties: whatever one raises is reported and the others are loaded all the same.
"""

import importlib
import importlib.metadata
import pkgutil
import re
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType

from pydantic import PydanticUserError

from blockyard.block.block import Block
from blockyard.block.rules import block_complaints, class_complaints

ENTRY_POINT_GROUP = "blockyard.blocks"
EXAMPLES = "examples"
# How pydantic names the attribute, in its messages of either code.
_UNANNOTATED = re.compile(r"(?:`|Field ')(\w+)")
_UNANNOTATED_CODES = ("model-field-missing-annotation", "model-field-overridden")


@dataclass(frozen=True, slots=True)
class LoadError:
    """Why a block, or a module with all its blocks, was not loaded."""

    module: str
    message: str
    # Empty if the module failed before a block of it could be told.
    block: str = ""

    def __str__(self) -> str:
        return f"{self.module}: {self.message}"


@dataclass(slots=True)
class Catalogue:
    """The blocks that keep all rules, and what was refused."""

    blocks: dict[str, Block] = field(default_factory=dict)
    by_name: dict[str, Block] = field(default_factory=dict)
    errors: list[LoadError] = field(default_factory=list)


def load_blocks(packages: Sequence[str] = (), entry_points: bool = True, examples: bool = False) -> Catalogue:
    """Loads the blocks of the packages (or single modules) and of the installed entry points `blockyard.blocks`.

    Where two blocks have one id or one name, the first one stays. Modules called `examples`, and what is in them, are
    loaded only with `examples=True`.
    """
    catalogue = Catalogue()
    roots = list(packages)
    if entry_points:
        roots += sorted(point.module for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP))
    seen: set[str] = set()
    for root in roots:
        for module in _modules(root, examples, catalogue.errors, seen):
            for block_class in _block_classes(module):
                _add(catalogue, module.__name__, block_class)
    return catalogue


def _modules(name: str, examples: bool, errors: list[LoadError], seen: set[str]) -> Iterator[ModuleType]:
    """The module and, if it is a package, all below it, each imported by itself."""
    if name in seen or (not examples and EXAMPLES in name.split(".")):
        return
    seen.add(name)
    try:
        module = importlib.import_module(name)
    # A module may raise anything as it is imported, SystemExit included.
    except (Exception, SystemExit) as error:  # noqa: BLE001 - reported; see the top of the module
        block = _block_being_defined(error)
        errors.append(LoadError(name, _import_failure(name, block, error), block))
        return
    yield module
    for child in sorted(found.name for found in pkgutil.iter_modules(getattr(module, "__path__", []))):
        # A package's __main__ is a program; to import it is to start it.
        if child != "__main__":
            yield from _modules(f"{name}.{child}", examples, errors, seen)


def _import_failure(module: str, block: str, error: BaseException) -> str:
    if block and isinstance(error, PydanticUserError) and error.code in _UNANNOTATED_CODES:
        field = _UNANNOTATED.search(str(error))
        name = field.group(1) if field else "a field"
        return f"{block}: {name}: must have an annotation, such as `{name}: str = SchemaField(...)`"
    # Pydantic adds a link to its errors, on a line of its own.
    reason = str(error).split("\n", 1)[0] or type(error).__name__
    return f"{block or module}: cannot be imported: {type(error).__name__}: {reason}"


def _block_being_defined(error: BaseException) -> str:
    """Name of the block whose class body raised: a field without annotation, for instance, fails there."""
    names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    return next((name for name in reversed(names) if name.endswith("Block") and name[:1].isupper()), "")


def _block_classes(module: ModuleType) -> list[type[Block]]:
    """The blocks that the module defines itself. Abstract ones, whose names end in Base, are no blocks."""
    return [
        value
        for value in vars(module).values()
        # Not issubclass(): of an abstract class that asks all of its subclasses, for each class that is none of them.
        if isinstance(value, type)
        and Block in value.__mro__
        and value.__module__ == module.__name__
        and not value.__name__.endswith("Base")
    ]


def _add(catalogue: Catalogue, module: str, block_class: type[Block]) -> None:
    name = block_class.__name__
    messages = list(class_complaints(block_class))
    block = None
    if not messages:
        try:
            # An author's class takes no arguments: it passes them to Block itself.
            block = block_class()  # type: ignore[call-arg]
        except (Exception, SystemExit) as error:  # noqa: BLE001 - reported; see the top of the module
            messages.append(f"{name}: cannot be made: {type(error).__name__}: {error}")
    if block is not None:
        messages += [*block_complaints(block), *_clashes(catalogue, block)]
    if block is None or messages:
        catalogue.errors += [LoadError(module, message, name) for message in messages]
        return
    catalogue.blocks[block.id] = block
    catalogue.by_name[block.name] = block


def _clashes(catalogue: Catalogue, block: Block) -> Iterator[str]:
    if block.id in catalogue.blocks:
        yield f"{block.name}: its id {block.id} is taken by {catalogue.blocks[block.id].name}"
    elif block.name in catalogue.by_name:
        yield f"{block.name}: its name is taken by the block {catalogue.by_name[block.name].id}"
