"""`python -m services.credentials.doctor`: what is wrong where a replica of the vault is to run."""

from collections.abc import AsyncIterator
from functools import partial

from services.common.bus import NOTICES_CONFIGURATION
from services.common.doctor.findings import Check, Told, ok, warning, wrong
from services.common.doctor.peers import peers_of
from services.common.doctor.program import Patient, main
from services.common.doctor.tokens import identity_provider
from services.common.errors import StartRefused
from services.credentials.config import CredentialsSettings
from services.credentials.keyring import DataKeys, Finding, Keyring
from services.credentials.keys.opening import open_keys
from services.credentials.repository.keys import KeyRepository


def checks(settings: CredentialsSettings, patient: Patient) -> list[Check]:
    """What only the vault needs."""
    return [
        Check("vault keys", partial(_keys, settings, patient), ["schema"], seconds=15),
        *patient.messaging.checks([NOTICES_CONFIGURATION]),
        *peers_of(settings, "credentials").checks("graph", "execution", "account"),
        *identity_provider(settings),
    ]


async def _keys(settings: CredentialsSettings, patient: Patient) -> AsyncIterator[Told]:
    try:
        provider = open_keys(settings)
    except StartRefused as error:
        yield wrong(str(error).rstrip("."), "Correct BLOCKYARD_VAULT_KEYS_URL and what it leads to.")
        return
    patient.resources.push_async_callback(provider.close)
    keyring = Keyring(provider, KeyRepository(patient.pool), DataKeys(0, 0.0))
    rows = await keyring.repository.needed()
    bad = False
    for row in rows:
        examined = await keyring.examine(row)
        if examined.finding is Finding.RIGHT:
            continue
        bad = True
        said = f'the key "{row.key_id}" cannot be used: {examined.why}'
        if examined.finding is Finding.AWAY:
            yield wrong(said, "The provider of keys must be reached from here: BLOCKYARD_VAULT_KEYS_URL, its token.")
        else:
            yield wrong(
                said,
                "Put back the key of that id from its backup (to where BLOCKYARD_VAULT_KEYS_URL leads). Nothing else "
                "opens what it wraps; without a backup, owners have to enter those secrets again.",
            )
    if not rows:
        yield warning("there is none yet", "The vault makes or takes its first key when it starts.")
    elif not bad:
        yield ok(f"{len(rows)} in use, each opens what it has wrapped")


if __name__ == "__main__":
    main(CredentialsSettings, checks)
