"""A large value is on the disk before anybody is told of it (rule 21)."""

import hashlib
import os
import sys
from pathlib import Path

import pytest
from blockyard.values import encode

from services.common.blobs import BlobStore
from services.execution.engine import Effects
from services.execution.engine.effects import Event, EventKind
from services.execution.large_values import LIMIT, LargeValues
from services.execution.starting import new_id


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
    execution_id = new_id()
    await LargeValues(BlobStore(f"file://{tmp_path}")).shorten_events(execution_id, effects)
    (event,) = effects.events
    assert len(event.value) < 1000
    (blob,) = files(tmp_path)
    assert blob.name == hashlib.sha256(value).hexdigest()
    on_its_way = [folder for folder in blob.parents if folder.is_relative_to(tmp_path)]
    assert set(synced) >= {blob, *on_its_way}


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
