"""`python -m services.account.doctor`: what is wrong where the account service is to run."""

from services.account.config import AccountSettings
from services.common.bus import NOTICES_CONFIGURATION
from services.common.doctor.findings import Check
from services.common.doctor.program import Patient, main
from services.common.doctor.tokens import identity_provider


def checks(settings: AccountSettings, patient: Patient) -> list[Check]:
    """What only the account service needs."""
    return [*patient.messaging.checks([NOTICES_CONFIGURATION]), *identity_provider(settings)]


if __name__ == "__main__":
    main(AccountSettings, checks)
