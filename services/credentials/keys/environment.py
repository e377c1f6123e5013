"""Keys from the environment: for a single machine, and for tests. A new one needs a restart."""

from collections.abc import Mapping, Sequence

from services.credentials.keys import NoKeysMade
from services.credentials.keys.local import read_key, unwrap_with, wrap_with


class EnvironmentKeys:
    """The keys of BLOCKYARD_VAULT_KEYS, in the order in which they stand there."""

    remote = False

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._keys = {key_id: read_key(key_id, text) for key_id, text in texts.items()}

    async def key_ids(self) -> Sequence[str]:
        """Ids of the keys."""
        return list(self._keys)

    async def wrap(self, key_id: str, data_key: bytes, context: bytes) -> bytes:
        """A data key, encrypted."""
        return wrap_with(self._keys, key_id, data_key, context)

    async def unwrap(self, key_id: str, wrapped: bytes, context: bytes) -> bytes:
        """The data key."""
        return unwrap_with(self._keys, key_id, wrapped, context)

    async def make(self) -> str:
        """None is made: the others would not have it."""
        raise NoKeysMade("Keys of the environment are not made here: add one to BLOCKYARD_VAULT_KEYS of every replica.")

    async def close(self) -> None:
        """There is nothing to let go."""
