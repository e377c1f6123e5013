"""What the parts of a running stack may do to each other: each has its own secrets and rights, and no more."""

import re
import ssl
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import blockyard
import httpx2
import psutil
import pytest
from blockyard.certificates import Certificates
from blockyard.client import Client, ExecutionStatus
from blockyard.connection import Connection, find_connection
from blockyard.dev import Stack
from blockyard.dev.services import MIGRATED, service
from blockyard.errors import Unavailable
from blockyard.graphs import Graph

from tests.stack.certificates import Authority
from tests.waiting import until

REFUSED = re.compile(r"does not let this process|Permissions Violation|permission denied for")


def graph() -> Graph:
    """A list that is stepped through."""
    made = Graph("trust")
    each = made.add("StepThroughItemsBlock", items=[1, 2, 3])
    made.output("items", each["item"])
    return made


async def run(client: Client) -> ExecutionStatus:
    created = await client.graphs.create(graph())
    started = await client.executions.start(created.id)
    return (await client.executions.wait(started.id, timeout=60)).status


def refusals(stack: Stack) -> list[str]:
    """What any part was refused, by its own log or by that of NATS and PostgreSQL."""
    return [
        f"{log.name}: {line}"
        for log in sorted(stack.folder.logs.glob("*.log"))
        for line in log.read_text(errors="replace").splitlines()
        if REFUSED.search(line)
    ]


async def test_the_rights_of_each_part_are_enough_for_what_it_does(stack: Stack, client: Client) -> None:
    assert await run(client) is ExecutionStatus.COMPLETED
    assert refusals(stack) == []


def test_a_runner_holds_its_own_secret_and_no_other(stack: Stack) -> None:
    for name, process in stack.services().items():
        assert process.pid is not None
        environment = psutil.Process(process.pid).environ()
        secrets = {
            stack.surroundings.secrets.users,
            stack.surroundings.secrets.services,
            stack.surroundings.nats.users["execution"].password,
            *stack.postgres.access.passwords.values(),
        }
        held = {secret for secret in secrets if any(secret in value for value in environment.values())}
        assert bool(held) is not name.startswith("runner"), name
        if name.startswith("runner"):
            # It was given these and no more, and has put them where no block looks.
            hidden = {name for name, value in environment.items() if value and set(value) == {"-"}}
            assert hidden == {"BLOCKYARD_RUNNER_SECRET", "BLOCKYARD_NATS_URL"}
            assert len(environment["BLOCKYARD_RUNNER_SECRET"]) == len(stack.surroundings.secrets.runners)
        else:
            assert environment["BLOCKYARD_RUNNER_SECRET"] == stack.surroundings.secrets.runners


@pytest.mark.parametrize("role", [*MIGRATED, "blockyard"])
async def test_nobody_comes_to_postgresql_without_the_password_of_a_role(stack: Stack, role: str) -> None:
    good = stack.postgres.url_of(role)
    for bad in (good.replace(f":{urlsplit(good).password}@", "@"), good.replace("@", "x@")):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(bad, timeout=10)
    connection = await asyncpg.connect(good, timeout=10)
    assert await connection.fetchval("SELECT current_user") == role
    await connection.close()


async def test_a_stack_comes_back_with_the_passwords_that_it_made(tmp_path: Path) -> None:
    async with Stack(tmp_path, runners=1) as first:
        secrets, passwords = first.surroundings.secrets, first.postgres.access.passwords
        async with blockyard.connect(home=tmp_path) as client:
            created = await client.graphs.create(graph())
    async with Stack(tmp_path, runners=1) as second:
        assert (second.surroundings.secrets, second.postgres.access.passwords) == (secrets, passwords)
        async with blockyard.connect(home=tmp_path) as client:
            assert (await client.graphs.get(created.id)).id == created.id


async def test_a_stack_with_certificates_runs_a_graph_over_tls_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    pair = authority.sign("stack")
    certificates = Certificates(str(authority.file), str(pair.certificate), str(pair.key))
    home = tmp_path / "home"
    async with Stack(home, runners=1, replicas=2, edge=True, certificates=certificates) as stack:
        found = find_connection(home=home)
        assert found.graph_address.startswith("grpcs://")
        assert stack.nats.url.startswith("tls://")
        async with Client(found) as client:
            assert await run(client) is ExecutionStatus.COMPLETED
        assert refusals(stack) == []
        await nothing_is_to_be_had_in_plain_text(stack, found.token)
        await the_edge_is_called_over_tls_and_calls_so(stack, found)


async def the_edge_is_called_over_tls_and_calls_so(stack: Stack, found: Connection) -> None:
    trusted = ssl.create_default_context(cafile=found.certificates.ca)
    async with httpx2.AsyncClient(base_url=stack.edge.url, verify=trusted) as rest:
        answer = await rest.get("/api/graphs", headers={"authorization": f"Bearer {found.token}"})
        with pytest.raises(httpx2.HTTPError):
            await rest.get(stack.edge.url.replace("https:", "http:"))
    assert answer.status_code == 200, answer.text
    assert answer.headers["strict-transport-security"].startswith("max-age=")
    edge = f"grpcs://{stack.edge.address}"
    async with Client(replace(found, graph_address=edge, execution_address=edge)) as client:
        assert await run(client) is ExecutionStatus.COMPLETED


async def nothing_is_to_be_had_in_plain_text(stack: Stack, token: str) -> None:
    connection = find_connection(home=stack.folder.path.parent)
    for address in (stack.graph_address, stack.execution_address):
        plain = replace(connection, graph_address=address, execution_address=address, token=token)
        async with Client(plain, deadline=1) as client:
            with pytest.raises(Unavailable, match=r"it may demand TLS"):
                await client.graphs.get("any")


async def test_a_runner_without_a_certificate_takes_no_part_in_a_stack_with_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    pair = authority.sign("stack")
    certificates = Certificates(str(authority.file), str(pair.certificate), str(pair.key))
    async with Stack(tmp_path / "home", runners=0, certificates=certificates) as stack:
        stranger = replace(stack.surroundings, certificates=None, overrides={"BLOCKYARD_NATS_CA": str(authority.file)})
        runner = service(stranger, "stranger", "runner")
        runner.process.start()
        try:
            await until(lambda: "NATS is not reachable" in runner.process.last_lines(), "it is not let in", 30)
        finally:
            await runner.kill()
