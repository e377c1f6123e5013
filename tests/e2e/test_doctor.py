"""`blockyard doctor` on a stack that is well, and what it says of a dozen that are not.

The broken ones are the stack's own processes with one thing in their environment that is not as it should be. With
`pytest -s` it prints what is said of each.
"""

import datetime
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from blockyard.cli.application import application
from blockyard.dev import Stack
from blockyard.dev.nats import start_nats
from blockyard.dev.ports import free_port
from click.testing import CliRunner

from services.common.doctor.findings import Finding, Verdict
from services.common.doctor.program import findings
from services.credentials import doctor as of_vault
from services.credentials.config import CredentialsSettings
from services.execution import doctor as of_execution
from services.execution.config import ExecutionSettings
from services.graph import doctor as of_graph
from services.graph.config import GraphSettings
from tests.e2e.commands import Shell
from tests.stack.certificates import HOUR, Authority

PROGRAMS: dict[str, Any] = {
    "execution-1": (ExecutionSettings, of_execution.checks),
    "graph": (GraphSettings, of_graph.checks),
    "credentials-1": (CredentialsSettings, of_vault.checks),
}


OF_OTHERS = frozenset({"executions", "tasks", "runners"})
"""Checks of what other tests may have left on the stack."""


class Patients:
    """Looks at a process of the stack with another environment than its own."""

    def __init__(self, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
        self._stack = stack
        self._monkeypatch = monkeypatch

    async def __call__(
        self,
        process: str,
        settings: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
        wanted: str = "",
    ) -> dict[str, list[Finding]]:
        """What is found, by check, and nothing that is well or of others."""
        environment = self._stack.services()[process].process.environment or {}
        other = {f"BLOCKYARD_{name}": value for name, value in (settings or {}).items()}
        with self._monkeypatch.context() as changed:
            for name, value in {**environment, **other}.items():
                changed.setenv(name, value)
            settings_class, checks = PROGRAMS[process]
            found: dict[str, list[Finding]] = {}
            async for finding in findings(settings_class, checks, clock):
                if finding.verdict is not Verdict.OK and (finding.check not in OF_OTHERS or finding.check == wanted):
                    print(f"{process}: {finding.check}: {finding.verdict.value}: {finding.said} {finding.advice}")
                    found.setdefault(finding.check, []).append(finding)
        return found

    def database_url(self, process: str) -> str:
        return (self._stack.services()[process].process.environment or {})["BLOCKYARD_DATABASE_URL"]


@pytest.fixture
def look(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Patients:
    return Patients(stack, monkeypatch)


def only(found: dict[str, list[Finding]], check: str, verdict: Verdict = Verdict.WRONG) -> Finding:
    """The one thing that was found, beside what could not be checked since it is wrong."""
    (finding,) = [one for each in found.values() for one in each if one.verdict is not Verdict.NOT_CHECKED]
    assert (finding.check, finding.verdict) == (check, verdict), finding
    assert finding.advice
    return finding


async def test_a_healthy_stack_is_called_healthy(stack: Stack, home: Path) -> None:
    done = await Shell(home)("doctor", "--json")
    told = json.loads(done.output)
    assert told["healthy"] is (done.code == 0)
    by_process = {one["process"]: {each["check"]: each for each in one["findings"]} for one in told["processes"]}
    assert set(by_process) == {*stack.services(), "edge"}
    assert {"schema", "stream TASKS", "graph service", "blob store", "partitions"} <= set(by_process["execution-1"])
    findings = [each for checks in by_process.values() for each in checks.values() if each["check"] not in OF_OTHERS]
    assert [each for each in findings if each["verdict"] != "ok"] == []


def test_without_a_stack_it_says_where_it_looked(tmp_path: Path) -> None:
    done = CliRunner().invoke(application, ["doctor", "--home", str(tmp_path)])
    assert done.exit_code == 2
    assert f"no stack runs on {tmp_path}" in done.stderr


async def test_in_a_pod_it_looks_at_what_the_pod_is(stack: Stack, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (stack.services()["account"].process.environment or {}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BLOCKYARD_SERVICE", "account")
    monkeypatch.setenv("BLOCKYARD_NATS_URL", f"nats://account:wrong-password@{stack.nats.address}")
    done = await Shell(home)("doctor")
    assert done.code == 1
    assert f"wrong        nats                  {stack.nats.address} refuses the user account" in done.output
    assert "not checked                        since nats is wrong: jetstream, stream NOTICES" in done.output
    assert "wrong-password" not in done.output


async def test_the_database_is_away(look: Patients) -> None:
    port = free_port()
    found = await look("execution-1", {"DATABASE_URL": f"postgresql://execution:a-password@127.0.0.1:{port}/blockyard"})
    finding = only(found, "postgresql")
    assert finding.said.startswith(f"127.0.0.1:{port} cannot be reached")
    assert found["partitions"][0].said == "since postgresql is wrong"


async def test_the_password_is_wrong(stack: Stack, look: Patients) -> None:
    url = f"postgresql://execution:a-wrong-one@{stack.postgres.address}/blockyard"
    finding = only(await look("execution-1", {"DATABASE_URL": url}), "postgresql")
    assert "refuses the login" in finding.said
    assert "BLOCKYARD_EXECUTION_DB_PASSWORD" in finding.advice
    assert "a-wrong-one" not in finding.said


async def test_the_schema_is_too_old(look: Patients) -> None:
    connection = await asyncpg.connect(look.database_url("graph"))
    try:
        await connection.execute("DELETE FROM graph.migration_history WHERE revision = '0005'")
        finding = only(await look("graph"), "schema")
    finally:
        await connection.execute("INSERT INTO graph.migration_history (revision) VALUES ('0005')")
        await connection.close()
    assert finding.said == "the schema graph is older than this program: migration 0005 has not been applied"
    assert "services.common.migrate graph" in finding.advice


async def test_the_schema_is_newer(look: Patients) -> None:
    connection = await asyncpg.connect(look.database_url("graph"))
    try:
        await connection.execute("INSERT INTO graph.migration_history (revision) VALUES ('0999')")
        finding = only(await look("graph"), "schema", Verdict.WARNING)
    finally:
        await connection.execute("DELETE FROM graph.migration_history WHERE revision = '0999'")
        await connection.close()
    assert "it does not know 0999" in finding.said
    assert "roll the images forward" in finding.advice


async def test_nats_is_away(look: Patients) -> None:
    finding = only(await look("execution-1", {"NATS_URL": f"nats://127.0.0.1:{free_port()}"}), "nats")
    assert "cannot be reached" in finding.said


async def test_urls_are_none(look: Patients) -> None:
    urls = {"NATS_URL": "nats://anna:pass-word@127.0.0.1:none", "DATABASE_URL": "postgresql://anna:pass-word@[::1/x"}
    found = await look("execution-1", urls)
    assert [found[check][0].verdict for check in ("postgresql", "nats")] == [Verdict.WRONG] * 2
    assert found["postgresql"][0].advice == "Correct BLOCKYARD_DATABASE_URL."
    assert "pass-word" not in str(found)


async def test_jetstream_was_wiped(look: Patients, tmp_path: Path) -> None:
    nats = await start_nats(tmp_path / "nats")
    try:
        found = await look("execution-1", {"NATS_URL": nats.url})
    finally:
        await nats.kill()
    assert [found[f"stream {name}"][0].said for name in ("RESULTS", "TASKS", "EVENTS")] == [
        f"there is no stream {name}" for name in ("RESULTS", "TASKS", "EVENTS")
    ]


async def test_a_stream_has_another_size_than_the_settings_say(look: Patients) -> None:
    finding = only(await look("execution-1", {"EVENTS_STREAM_BYTES": "1048576"}), "stream EVENTS")
    assert "max_bytes is 4294967296 and not 1048576" in finding.said


async def test_the_user_of_nats_has_no_rights(stack: Stack, look: Patients) -> None:
    found = await look("execution-1", {"NATS_URL": stack.nats.url_of("account")})
    assert "permissions violation" in found["rights in nats"][0].said
    assert "permissions violation" in found["stream TASKS"][0].said
    assert "nats_users.yaml" in found["stream TASKS"][0].advice
    assert "stream NOTICES" not in found


async def test_a_key_of_the_vault_is_missing(look: Patients, tmp_path: Path) -> None:
    finding = only(await look("credentials-1", {"VAULT_KEYS_URL": tmp_path.as_uri()}), "vault keys")
    assert "does not have it" in finding.said
    assert "from its backup" in finding.advice


@pytest.mark.parametrize("name", ["SERVICE", "RUNNER", "JWT"])
async def test_a_secret_is_another_than_that_of_the_peers(look: Patients, name: str) -> None:
    found = await look("graph", {f"{name}_SECRET": "another-secret-of-at-least-32-characters"})
    finding = only(found, "account service")
    assert finding.said.endswith(f"does not take what is signed here with BLOCKYARD_{name}_SECRET")


async def test_the_clock_is_off(look: Patients) -> None:
    finding = only(await look("graph", clock=lambda: time.time() - 45), "clock")
    assert finding.said == "the clock here is 45.0 s behind PostgreSQL's"
    assert "NTP" in finding.advice


async def test_the_blob_store_cannot_be_written(look: Patients, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    finding = only(await look("execution-1", {"BLOB_URL": (tmp_path / "file" / "blobs").as_uri()}), "blob store")
    assert "BLOCKYARD_BLOB_URL" in finding.advice


async def test_a_certificate_has_expired_or_is_of_another_authority(look: Patients, tmp_path: Path) -> None:
    ours, others = Authority(tmp_path, "ours"), Authority(tmp_path, "others")
    old = ours.sign("old", begins=-2 * HOUR, ends=-HOUR)
    strange = others.sign("strange")
    expired = await look("graph", {"TLS_CERTIFICATE": str(old.certificate), "TLS_KEY": str(old.key)})
    assert "old.crt has expired at" in only(expired, "certificates").said
    found = await look(
        "graph", {"TLS_CERTIFICATE": str(strange.certificate), "TLS_KEY": str(strange.key), "TLS_CA": str(ours.file)}
    )
    assert "is not of the authority in" in found["certificates"][0].said
    # The stack speaks no TLS.
    assert "the other side speaks no TLS" in found["account service"][0].said


async def test_a_certificate_expires_soon(look: Patients, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.sign("soon", begins=-datetime.timedelta(days=300), ends=datetime.timedelta(days=3))
    found = await look("graph", {"TLS_CERTIFICATE": str(pair.certificate), "TLS_KEY": str(pair.key)})
    assert "soon.crt expires at" in only(found, "certificates", Verdict.WARNING).said


async def test_a_pool_has_no_runners(look: Patients) -> None:
    found = await look("graph", {"REGISTRATION_INTERVAL": "0.000001"}, wanted="runners")
    assert any(one.said.startswith("the pool default has no living runner: ") for one in found["runners"])


async def test_the_port_of_a_peer_is_wrong(stack: Stack, look: Patients) -> None:
    port = free_port()
    found = await look(
        "execution-1", {"GRAPH_ADDRESS": stack.credentials_address, "CREDENTIALS_ADDRESS": f"127.0.0.1:{port}"}
    )
    assert found["graph service"][0].said == f"{stack.credentials_address} is another service than graph"
    assert found["credentials service"][0].said.startswith(f"127.0.0.1:{port} cannot be reached")
    too_long = f"{'a' * 64}:1"  # no name server need be asked
    found = await look("execution-1", {"GRAPH_ADDRESS": too_long})
    assert found["graph service"][0].said == f"{too_long}: there is no such host"


async def test_the_name_of_a_setting_has_a_slip(look: Patients) -> None:
    finding = only(await look("execution-1", {"LEASE_SECOND": "30"}), "settings", Verdict.WARNING)
    assert finding.said == "nothing reads BLOCKYARD_LEASE_SECOND"
    assert "BLOCKYARD_LEASE_SECONDS" in finding.advice


async def test_settings_are_wrong_in_several_places(look: Patients) -> None:
    found = await look("execution-1", {"LEASE_SECONDS": "soon", "PARTITIONS": "0"})
    assert [one.said.partition(":")[0] for one in found["settings"]] == [
        "BLOCKYARD_LEASE_SECONDS",
        "BLOCKYARD_PARTITIONS",
    ]
    assert found["everything else"][0].verdict is Verdict.NOT_CHECKED
