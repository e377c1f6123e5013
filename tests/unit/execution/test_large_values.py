"""A large value is on the disk before anybody is told of it (rule 21)."""

import hashlib
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from blockyard.values import encode

from services.common.blobs import BlobStore
from services.common.ids import new_id
from services.execution.engine import RULES, Effects, Machine, Plan, State, Topology
from services.execution.engine.effects import Event, EventKind
from services.execution.large_values import LIMIT, LargeValues
from services.execution.live import Live
from services.execution.records import ExecutionRow, NewExecution, Parent


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which file a descriptor is of")
async def test_a_value_and_the_folders_on_its_way_are_synced_before_its_reference_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        sync(descriptor)
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))

    # The operating system is asked as before; what a power cut would leave cannot be seen in another way.
    monkeypatch.setattr(os, "fsync", note)
    value = encode("x" * LIMIT)
    effects = Effects(events=[Event(EventKind.NODE_OUTPUT, 1, 0, 1, "pin", 0, value)])
    await LargeValues(BlobStore(f"file://{tmp_path}")).shorten_events(execution(), effects)
    (event,) = effects.events
    assert len(event.value) < 1000
    (blob,) = files(tmp_path)
    assert blob.name == hashlib.sha256(value).hexdigest()
    on_its_way = [folder for folder in blob.parents if folder.is_relative_to(tmp_path)]
    assert set(synced) >= {blob, *on_its_way}


async def test_large_values_of_a_child_are_kept_with_the_topmost_execution(tmp_path: Path) -> None:
    effects = Effects(events=[Event(EventKind.NODE_OUTPUT, 1, 0, 1, "pin", 0, encode("x" * LIMIT))])
    root = new_id()
    child = execution(Parent(new_id(), 1, 1, root))
    await LargeValues(BlobStore(f"file://{tmp_path}")).shorten_events(child, effects)
    (blob,) = files(tmp_path)
    assert blob.relative_to(tmp_path).parts[:2] == (str(root), f"{child.execution_id}-1")


def execution(parent: Parent | None = None) -> Live:
    new = NewExecution(new_id(), "anna", "graph", 1, 0, b"", RULES, b"{}", {}, 0, "", None, None, parent)
    machine = Machine(Topology(Plan(RULES, (), ())), State(seed=1))
    return Live.of(ExecutionRow.accepted(new, datetime.now(UTC)), machine)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
