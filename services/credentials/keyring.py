"""The keys in use: which one seals, what they open, and whether each is the key that its id stands for.

A key is known by its canary, a known text that was wrapped when the key was used first. A replica whose key of an id is
another one seals nothing with it: nobody else could open that.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

import structlog

from services.credentials import envelope
from services.credentials.envelope import NotOpened
from services.credentials.errors import KeyNotMade, KeyUnavailable, KeyUnknown
from services.credentials.keys import KeyMissing, KeyProvider, NoKeysMade, NotUnwrapped, ProviderAway
from services.credentials.records import Sealed
from services.credentials.repository.keys import KeyRepository, KeyRow

CANARY = b"blockyard: this key is the right"
"""As long as a data key, since providers wrap such."""

PROOF_SECONDS = 60.0
"""How long the key of a remote provider is wrapped with without looking at its canary again."""

log = structlog.stdlib.get_logger(__name__)


class Finding(Enum):
    """What a look at a key's canary tells."""

    RIGHT = auto()
    MISSING = auto()
    ANOTHER = auto()
    AWAY = auto()
    """The provider cannot say for now."""


@dataclass(frozen=True, slots=True)
class Examined:
    """A finding, and why it is that, to be said after the key's id."""

    finding: Finding
    why: str = ""


@dataclass(slots=True, eq=False)
class DataKeys:
    """Data keys that a remote provider has unwrapped, in memory alone, bounded in number and time.

    A fresh one is used without asking. An older one is used when the provider is away, and until it is too old.
    """

    size: int
    seconds: float
    clock: Callable[[], float] = time.monotonic
    _kept: OrderedDict[tuple[str, bytes], tuple[float, bytes]] = field(default_factory=OrderedDict, repr=False)

    def fresh(self, sealed: Sealed) -> bytes | None:
        """The data key, if it was unwrapped in the last half of the time."""
        return self._younger(sealed, self.seconds / 2)

    def kept(self, sealed: Sealed) -> bytes | None:
        """The data key, if it is kept still."""
        return self._younger(sealed, self.seconds)

    def keep(self, sealed: Sealed, data_key: bytes) -> None:
        """Remembers a data key; the one that was unwrapped longest ago goes when there are too many."""
        place = (sealed.key_id, sealed.wrapped_key)
        self._kept[place] = self.clock(), data_key
        self._kept.move_to_end(place)
        while self._kept and (len(self._kept) > self.size or self._oldest() > self.seconds):
            self._kept.popitem(last=False)

    def _oldest(self) -> float:
        return self.clock() - next(iter(self._kept.values()))[0]

    def _younger(self, sealed: Sealed, seconds: float) -> bytes | None:
        known = self._kept.get((sealed.key_id, sealed.wrapped_key))
        return known[1] if known is not None and self.clock() - known[0] <= seconds else None


@dataclass(slots=True, eq=False)
class Keyring:
    """Seals with the active key, and opens with whichever wraps."""

    provider: KeyProvider
    repository: KeyRepository
    data_keys: DataKeys = field(repr=False)
    _proved: dict[str, float] = field(default_factory=dict)
    """When keys were proved to be the right ones, to wrap with."""

    async def begin(self) -> None:
        """Makes a key active where none ever was: the newest that the provider has, or a new one."""
        if await self.repository.active() is not None:
            return
        try:
            key_ids = await self.provider.key_ids()
            key_id = key_ids[-1] if key_ids else await self.provider.make()
        except (ProviderAway, NoKeysMade) as error:
            raise KeyUnavailable(f"The vault has no key yet: {error}") from error
        row = await self.introduce(key_id)
        if await self.repository.activate(row.key_id, None):
            log.info("the vault has its first key", key_id=key_id)

    async def seal(self, data: bytes, context: bytes) -> Sealed:
        """Something encrypted under a fresh data key, which the active key wraps."""
        row = await self.repository.active()
        if row is None:
            raise KeyUnavailable("The vault has no key yet, since the provider of keys has none or is away.")
        data_key = envelope.fresh_key()
        nonce, ciphertext = envelope.encrypt(data_key, data, context)
        return Sealed(row.key_id, await self.wrap(row, data_key, context), nonce, ciphertext)

    async def open(self, sealed: Sealed, context: bytes) -> bytes:
        """What was sealed; raises NotOpened if it was changed, KeyUnavailable if that cannot be told."""
        data_key = await self.unwrap(sealed, context)
        return envelope.decrypt(data_key, sealed.nonce, sealed.ciphertext, context)

    async def wrap(self, row: KeyRow, data_key: bytes, context: bytes) -> bytes:
        """A data key, wrapped with a key that is known to be the right one."""
        # A file can be exchanged at any moment. An engine keeps what it has under an id, so it is not asked each time.
        proved = self._proved.get(row.key_id)
        if not self.provider.remote or proved is None or time.monotonic() - proved > PROOF_SECONDS:
            await self.prove(row)
            self._proved[row.key_id] = time.monotonic()
        try:
            return await self.provider.wrap(row.key_id, data_key, context)
        except (KeyMissing, ProviderAway) as error:
            raise unavailable(row.key_id, str(error)) from error

    async def unwrap(self, sealed: Sealed, context: bytes) -> bytes:
        """The data key of something sealed; raises as `open` does."""
        known = self.data_keys.fresh(sealed)
        if known is not None:
            return known
        try:
            data_key = await self.provider.unwrap(sealed.key_id, sealed.wrapped_key, context)
        except KeyMissing as error:
            raise unavailable(sealed.key_id, str(error)) from error
        except ProviderAway as error:
            known = self.data_keys.kept(sealed)
            if known is None:
                raise unavailable(sealed.key_id, str(error)) from error
            return known
        except NotUnwrapped:
            row = await self.repository.get(sealed.key_id)
            if row is not None:
                await self.prove(row)
            raise NotOpened from None
        if self.provider.remote:
            self.data_keys.keep(sealed, data_key)
        return data_key

    async def examine(self, row: KeyRow) -> Examined:
        """Whether the provider's key of this id is the one that secrets were wrapped with."""
        try:
            right = await self.provider.unwrap(row.key_id, row.canary, _canary_context(row.key_id)) == CANARY
        except KeyMissing:
            return Examined(Finding.MISSING, "this replica's provider of keys does not have it")
        except ProviderAway as error:
            return Examined(Finding.AWAY, str(error))
        except NotUnwrapped:
            right = False
        if right:
            return Examined(Finding.RIGHT)
        self._proved.pop(row.key_id, None)
        return Examined(Finding.ANOTHER, "this replica has another key of that id than secrets were wrapped with")

    async def prove(self, row: KeyRow) -> None:
        """Returns if the key is the right one, else raises KeyUnavailable."""
        examined = await self.examine(row)
        if examined.finding is not Finding.RIGHT:
            raise unavailable(row.key_id, examined.why)

    async def introduce(self, key_id: str) -> KeyRow:
        """The row of a key, with its canary; made now if the key was never used."""
        row = await self.repository.get(key_id)
        if row is None:
            try:
                canary = await self.provider.wrap(key_id, CANARY, _canary_context(key_id))
            except KeyMissing:
                raise KeyUnknown(f'The provider of keys has no key "{key_id}". Add it there first.') from None
            except ProviderAway as error:
                raise unavailable(key_id, str(error)) from error
            row = await self.repository.add(key_id, canary)
        await self.prove(row)
        return row

    async def make(self) -> KeyRow:
        """A new key, which is not active yet."""
        try:
            key_id = await self.provider.make()
        except NoKeysMade as error:
            raise KeyNotMade(f"{error} Then name it by key_id.") from error
        except ProviderAway as error:
            raise KeyUnavailable(f"No key can be made: {error}.") from error
        return await self.introduce(key_id)


def unavailable(key_id: str, why: str) -> KeyUnavailable:
    """The error that names a key which cannot be used."""
    return KeyUnavailable(f'The key "{key_id}" of the vault cannot be used: {why}.', metadata={"key_id": key_id})


def _canary_context(key_id: str) -> bytes:
    return b"blockyard canary 1\0" + key_id.encode()
