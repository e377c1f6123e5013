"""`python -m services.runner.doctor`: what is wrong where a runner is to run."""

from services.common.doctor.findings import Check
from services.common.doctor.peers import Peers, signed_by_runner
from services.common.doctor.program import Patient, main
from services.common.doctor.stores import blob_store, disk
from services.common.grpc_client import ServiceCredentials
from services.runner.config import RunnerSettings

LISTENED = ("blockyard.runner.*",)


def checks(settings: RunnerSettings, patient: Patient) -> list[Check]:
    """What only a runner needs. Its user of NATS may not look at streams."""
    own = ServiceCredentials(settings.runner_secret.get_secret_value(), "runner", settings.tls())
    peers = Peers(settings, own, signed_by_runner(own))
    return [
        *patient.messaging.checks([], LISTENED),
        *peers.checks("graph", "execution", "credentials"),
        *blob_store(settings.blob_url),
        *disk("spill folder", settings.spill_folder),
    ]


if __name__ == "__main__":
    main(RunnerSettings, checks)
