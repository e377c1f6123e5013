"""Runs that are given credentials: what the block gets, and what happens when the vault refuses or is away."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack

import jwt
import pytest
from blockyard.common.v1.errors_pb2 import NodeErrorReason
from blockyard.runner.v1.lease_service_pb2 import LeasedCredential
from blockyard.runner.v1.result_pb2 import Outcome

from services.common.errors import BlockyardError, Unavailable, Violation
from services.credentials.errors import CredentialNotFound, CredentialUnusable, LeaseRefused
from tests import signing
from tests.integration.runner.house import House, house
from tests.integration.runner.owner import Recorded
from tests.integration.runner.vault import (
    CREDENTIALS,
    NO_FAILURE,
    REFERENCE,
    SECRET,
    Vaulted,
    api_key,
    serving,
    vaulted,
)

STYLES = ["KeyBlock", "KeyInThreadBlock", "KeyInProcessBlock"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, runner: asyncio.Runner) -> Iterator[Vaulted]:
    stack = AsyncExitStack()
    try:
        built = runner.run(stack.enter_async_context(house(tmp_path_factory.mktemp("runner"))))
        yield runner.run(stack.enter_async_context(vaulted(built)))
    finally:
        runner.run(stack.aclose())


def failure(ended: Recorded) -> tuple[str, str]:
    assert ended.finish is not None
    assert ended.finish.outcome == Outcome.OUTCOME_FAILED
    return NodeErrorReason.Name(ended.finish.reason).removeprefix("NODE_ERROR_REASON_"), ended.finish.error


@pytest.mark.parametrize("style", STYLES)
async def test_a_block_of_each_style_is_given_the_secret(shared: Vaulted, style: str) -> None:
    ended = await shared.run(style)

    assert ended.on("value") == [len(SECRET)]


async def test_the_vault_is_asked_for_this_run_by_a_token_of_the_runner(shared: Vaulted) -> None:
    shared.vault.asked.clear()
    shared.vault.tokens.clear()
    task = shared.task("KeyBlock")
    await shared.house.owner.send(task)
    ended = await shared.house.owner.end_of(task)

    (asked,), (token,) = shared.vault.asked, shared.vault.tokens
    assert (asked.run.execution_id, asked.run.node_execution) == (task.execution_id, task.node_execution)
    assert (asked.run.attempt, asked.run.run_id, list(asked.pins)) == (1, ended.run_id, ["credentials"])
    assert asked.runner_id == shared.house.owner.beats[-1].runner_id
    claims = jwt.decode(
        token.removeprefix("Bearer "), signing.RUNNER_SECRET, algorithms=["HS256"], audience="blockyard-internal"
    )
    assert claims["sub"] == "service:runner"


async def test_the_input_has_the_reference_that_the_start_has_chosen(shared: Vaulted) -> None:
    ended = await shared.run("KeyBlock", how="reference")

    assert ended.on("value")[0] == REFERENCE


async def test_a_reference_of_the_node_stays(shared: Vaulted) -> None:
    own = {**REFERENCE, "title": "mine"}
    shared.house.owner.numbers += 1
    task = shared.task("KeyBlock")
    task.inputs = json.dumps({"credentials": own, "how": "reference"}).encode()
    await shared.house.owner.send(task)

    assert (await shared.house.owner.end_of(task)).on("value")[0] == own


async def test_headers_and_passwords_come_in_parts(broken_house: House) -> None:
    async with vaulted(broken_house) as one:
        headers = {"Authorization": "Bearer abcdefgh", "X-Key": "0123456"}
        one.vault.credentials = {
            "credentials": LeasedCredential(
                credential_id="c-2",
                provider="acme",
                type="host_scoped",
                secret={"host": "*.acme.example", "headers": json.dumps(headers), "api_key": "k"},
                secret_parts=["headers"],
                scopes=["read"],
            )
        }
        ended = await one.run("KeyBlock", how="names")

        names = ["api_key", "headers", "host", "id", "provider", "scopes", "title", "type"]
        assert ended.on("value") == [[names, ["Authorization", "X-Key"], ["read"]]]


async def test_a_pure_block_with_credentials_is_no_run_that_only_computes(shared: Vaulted) -> None:
    ended = await shared.run("PureKeyBlock")

    assert ended.on("value") == [len(SECRET)]


async def test_no_result_is_given_again_to_a_run_with_credentials(shared: Vaulted) -> None:
    with_them = [(await shared.run("CountedBlock")).on("value") for _ in range(2)]
    without = [(await shared.run("CountedBlock", credentials=b"")).on("value") for _ in range(2)]

    assert with_them == [[1], [2]]
    assert without == [[3], [3]]


# -- refusals


async def test_a_run_that_is_refused_is_retracted_and_not_held_any_more(shared: Vaulted) -> None:
    owner = shared.house.owner
    shared.vault.failures.append(LeaseRefused())
    task = shared.task("KeyBlock")
    await owner.send(task)
    await owner.until(lambda: not shared.vault.failures, "the vault refuses")
    after = await shared.run("KeyBlock")

    assert after.on("value") == [len(SECRET)]
    assert task.node_execution not in owner.runs
    beat = await owner.beats_after(lambda _: True, "a heartbeat")
    assert task.node_execution not in {holding.node_execution for holding in beat.holdings}


async def test_a_credential_that_is_gone_fails_the_node_with_its_pin(shared: Vaulted) -> None:
    sentence = "the credential is gone: choose another one"
    shared.vault.failures.append(CredentialNotFound(violations=[Violation("credentials", sentence)]))

    assert failure(await shared.run("KeyBlock")) == ("CREDENTIAL_UNAVAILABLE", f"inputs.credentials: {sentence}")


async def test_a_refusal_that_names_no_pin_is_told_with_the_nodes_own(shared: Vaulted) -> None:
    shared.vault.failures.append(CredentialUnusable())
    reason, message = failure(await shared.run("KeyBlock"))

    assert reason == "CREDENTIAL_UNAVAILABLE"
    assert message.startswith("inputs.credentials: The credential cannot be used: connect it again")


async def test_a_pin_that_the_vault_has_nothing_for_fails_the_node(shared: Vaulted) -> None:
    two = json.dumps({"credentials": REFERENCE, "other_credentials": REFERENCE}).encode()
    reason, message = failure(await shared.run("KeyBlock", credentials=two))

    assert reason == "CREDENTIAL_UNAVAILABLE"
    assert message.startswith("inputs.other_credentials: the vault has nothing for it")


async def test_a_run_that_must_not_be_repeated_fails_once_it_is_granted(shared: Vaulted) -> None:
    owner = shared.house.owner
    owner.claims.clear()
    shared.vault.failures.append(CredentialNotFound())
    ended = await shared.run("KeyOnceBlock")

    assert failure(ended)[0] == "CREDENTIAL_UNAVAILABLE"
    assert [claim.run.run_id for claim in owner.claims] == [ended.run_id]


async def test_without_a_vault_the_node_fails_and_says_what_an_operator_does(shared_house: House) -> None:
    task = shared_house.owner.task(shared_house.block("KeyBlock"), credentials=CREDENTIALS)
    await shared_house.owner.send(task)
    reason, message = failure(await shared_house.owner.end_of(task))

    assert reason == "CREDENTIAL_UNAVAILABLE"
    assert message.endswith("an operator sets BLOCKYARD_CREDENTIALS_ADDRESS")


# -- a vault that is away


async def test_runs_wait_while_the_vault_is_away_and_go_on(broken_house: House) -> None:
    owner = broken_house.owner
    async with vaulted(broken_house, there=False) as one:
        tasks = [one.task(style) for style in (*STYLES, "KeyOnceBlock", "KeyCostsBlock")]
        begun = time.monotonic()
        await owner.send(*tasks)
        await owner.until(lambda: "credentials cannot be leased, trying on" in one.runner.log, "the vault is missed")
        held = {task.node_execution for task in tasks}
        await owner.beats_after(lambda beat: {one.node_execution for one in beat.holdings} == held, "all are held")
        await owner.beats_after(lambda _: time.monotonic() > begun + 1.5, "they wait")
        assert not owner.runs
        assert not owner.claims
        async with serving(one.vault, one.port):
            ended = [await owner.end_of(task) for task in tasks]

    assert [each.on("value") for each in ended] == [[len(SECRET)]] * 5
    # The wait is no part of what the run took or costs.
    assert ended[4].finish is not None
    assert ended[4].finish.duration_us < 1_000_000
    assert json.loads(ended[4].finish.stats)["cost"] < 1_000


async def test_an_answer_that_asks_to_wait_is_waited_for(shared: Vaulted) -> None:
    shared.vault.failures.extend([Unavailable("The key is away."), Unavailable("The key is away.")])
    begun = time.monotonic()
    ended = await shared.run("KeyBlock")

    assert ended.on("value") == [len(SECRET)]
    assert time.monotonic() - begun >= 2


async def test_the_timeout_of_the_node_ends_the_wait(broken_house: House) -> None:
    async with vaulted(broken_house, there=False) as one:
        reason, message = failure(await one.run("KeyBlock", timeout_ms=700))

    assert reason == "CREDENTIAL_UNAVAILABLE"
    assert message.startswith("inputs.credentials: the vault gave nothing within the node's timeout of 0.7 s (UNAVAIL")


async def test_a_run_that_is_dropped_while_it_waits_says_nothing(broken_house: House) -> None:
    owner = broken_house.owner
    async with vaulted(broken_house, there=False) as one:
        task = one.task("KeyBlock")
        await owner.send(task)
        await owner.until(lambda: "cannot be leased" in one.runner.log, "the run waits")
        owner.drop(task)
        await owner.beats_after(lambda beat: not beat.holdings, "nothing is held")

    assert not owner.runs


# -- secrets that change while a run goes on


async def test_a_run_can_ask_again_and_old_and_new_secrets_are_hidden(broken_house: House) -> None:
    async with vaulted(broken_house) as one:
        one.vault.then.append({"credentials": api_key("another-key-0123456789")})
        ended = await one.run("KeyBlock", how="refresh")
        log = one.runner.log

    assert ended.on("value")[:2] == ["***", [len(SECRET), len("another-key-0123456789"), "***", "***"]]
    assert [list(asked.pins) for asked in one.vault.asked] == [["credentials"], ["credentials"]]
    assert len({asked.run.run_id for asked in one.vault.asked}) == 1
    assert "fresh *** before ***" in log


async def test_a_run_waits_for_a_vault_that_is_away_when_it_asks_again(shared: Vaulted) -> None:
    shared.vault.failures.extend([NO_FAILURE, Unavailable("The key is away.")])
    ended = await shared.run("KeyBlock", how="refresh")

    assert ended.on("value")[1][:2] == [len(SECRET), len(SECRET)]


@pytest.mark.parametrize("refusal", [LeaseRefused(), CredentialUnusable()])
async def test_a_credential_that_is_lost_during_the_run_fails_it(shared: Vaulted, refusal: BlockyardError) -> None:
    shared.vault.failures.extend([NO_FAILURE, refusal])

    assert failure(await shared.run("KeyBlock", how="refresh"))[0] == "CREDENTIAL_UNAVAILABLE"


async def test_a_pin_that_the_node_names_nothing_for_cannot_be_refreshed(shared: Vaulted) -> None:
    reason, message = failure(await shared.run("KeyBlock", how="refresh another"))

    assert (reason, message) == (
        "CREDENTIAL_UNAVAILABLE",
        "inputs.other_credentials: the node names no credential for it",
    )


# -- the environment


@pytest.mark.parametrize("style", STYLES)
async def test_blocks_see_no_secret_of_the_runner_in_the_environment(shared: Vaulted, style: str) -> None:
    (names,) = (await shared.run(style, how="environment")).on("value")

    assert "BLOCKYARD_HEARTBEAT_SECONDS" in names
    assert not {"BLOCKYARD_RUNNER_SECRET", "BLOCKYARD_NATS_URL"} & set(names)


async def test_a_process_gets_no_secret_by_its_arguments_or_its_environment(shared: Vaulted) -> None:
    told = (await shared.run("KeyInProcessBlock", how="arguments")).on("value")

    text = json.dumps(told)
    # A copy has the room of its template's arguments, which is a letter shorter with a short process id.
    assert "services.runner.process_work" in told[1][0]
    assert "BLOCKYARD_HEARTBEAT_SECONDS" in told[1][1]
    assert SECRET not in text
    assert "***" not in text
    assert signing.RUNNER_SECRET not in text
