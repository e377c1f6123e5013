"""`blockyard keys`, `users`, `credits`, `audit` and `admin` as a person types them, against services in memory."""

import asyncio
import json
import os
import signal
import sys
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from blockyard.account.v1 import account_pb2
from blockyard.account.v1 import account_service_pb2 as accounts
from blockyard.cli.application import application
from blockyard.credentials.v1 import credentials_service_pb2 as vault
from blockyard.execution.v1 import execution_service_pb2 as executions
from click.testing import CliRunner, Result
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo

from tests.unit.client.memory_accounts import API_KEY_ID
from tests.unit.client.memory_services import Script, status


def blockyard(*arguments: str) -> Result:
    return CliRunner().invoke(application, list(arguments))


def test_a_new_key_is_alone_on_standard_output(offices: Script) -> None:
    done = blockyard("keys", "create", "ci", "--permission", "read_graphs", "--permission", "run_executions")
    assert (done.exit_code, done.stdout) == (0, "by_abcd_topsecret\n")
    assert f"blockyard keys revoke {API_KEY_ID}" in done.stderr
    request = offices.office.request(accounts.CreateApiKeyRequest)
    assert list(request.permissions) == [account_pb2.PERMISSION_READ_GRAPHS, account_pb2.PERMISSION_RUN_EXECUTIONS]
    assert not request.HasField("expire_time")


def test_a_key_ends_when_it_is_told_to(offices: Script) -> None:
    document = json.loads(blockyard("keys", "create", "ci", "--expires", "90d", "--json").stdout)
    assert document["key"] == "by_abcd_topsecret"
    expiry = offices.office.request(accounts.CreateApiKeyRequest).expire_time.ToDatetime(tzinfo=UTC)
    assert abs(expiry - datetime.now(UTC) - timedelta(days=90)) < timedelta(minutes=1)


def test_a_permission_that_there_is_not_is_refused(offices: Script) -> None:
    assert blockyard("keys", "create", "ci", "--permission", "everything").exit_code == 2
    assert not offices.office.requests


def test_keys_are_listed_without_the_keys_and_revoked(offices: Script) -> None:
    blockyard("keys", "create", "ci", "--permission", "read_graphs")
    listed = blockyard("keys", "list").output
    assert listed.splitlines()[1].split() == [API_KEY_ID, "ci", "abcd", "read_graphs"]
    assert "topsecret" not in listed
    assert blockyard("keys", "revoke", API_KEY_ID).output == f"revoked {API_KEY_ID} (ci)\n"
    assert "revoked 20" in blockyard("keys", "list").output


def test_no_keys_say_how_to_make_one(offices: Script) -> None:
    assert "blockyard keys create NAME" in blockyard("keys", "list").output


def test_users_are_added_changed_and_listed(offices: Script) -> None:
    added = blockyard("users", "add", "bob", "--name", "Bob", "--role", "viewer")
    assert added.exit_code == 0, added.output
    assert blockyard("users", "set-role", "bob", "admin").exit_code == 0
    request = offices.office.request(accounts.SetUserAccessRequest)
    assert (request.role, request.state) == (account_pb2.USER_ROLE_ADMIN, account_pb2.USER_STATE_UNSPECIFIED)
    assert "disabled" in blockyard("users", "disable", "bob").output
    assert "bob  admin  disabled  Bob" in blockyard("users", "list").output
    assert "active" in blockyard("users", "enable", "bob").output
    assert blockyard("users", "set-role", "bob", "king").exit_code == 2


def test_without_an_id_one_sees_oneself(offices: Script) -> None:
    assert json.loads(blockyard("users", "show", "--json").output)["id"] == "anna"
    assert json.loads(blockyard("users", "show", "bob", "--json").output)["id"] == "bob"


def test_credits_are_shown_given_and_taken(offices: Script) -> None:
    shown = blockyard("credits", "show").output
    assert "balance  100" in shown
    assert "held     5 of it" in shown
    assert "balance  1,100" in blockyard("credits", "top-up", "anna", "1000", "--note", "May").output
    request = offices.office.request(accounts.TopUpCreditsRequest)
    assert (request.user_id, request.amount, request.note) == ("anna", 1_000, "May")
    assert request.request_id
    assert "balance  1,050" in blockyard("credits", "top-up", "--", "anna", "-50").output
    assert blockyard("credits", "top-up", "anna", "much").exit_code == 2


def test_what_came_and_went_is_listed(offices: Script) -> None:
    offices.office.transactions += [
        account_pb2.CreditTransaction(
            kind=account_pb2.CREDIT_TRANSACTION_KIND_CHARGE, amount=-30, balance=70, execution_id="e1", charges=3
        ),
        account_pb2.CreditTransaction(
            kind=account_pb2.CREDIT_TRANSACTION_KIND_TOP_UP, amount=100, balance=100, note="May", actor="root"
        ),
    ]
    lines = blockyard("credits", "history").output.splitlines()
    assert lines[1].split() == ["charge", "-30", "70", "execution", "e1,", "3", "node", "executions"]
    assert lines[2].split() == ["top_up", "+100", "100", "May", "(by", "root)"]


def test_an_amount_that_no_message_holds_is_wrong_usage(offices: Script) -> None:
    done = blockyard("credits", "top-up", "anna", "99999999999999999999")
    assert (done.exit_code, offices.calls) == (2, [])
    assert "is not in the range" in done.output


def test_spending_names_the_blocks(offices: Script) -> None:
    done = blockyard("credits", "spending", "--since", "7d")
    lines = done.output.splitlines()
    assert lines[1].split() == ["MailBlock", "3", "1,200"]  # the last one in the catalogue with this id
    assert lines[2] == "1,200 credits in all"
    start = offices.office.request(accounts.SummarizeSpendingRequest).start_time.ToDatetime(tzinfo=UTC)
    assert abs(datetime.now(UTC) - start - timedelta(days=7)) < timedelta(minutes=1)


def test_the_audit_log_is_asked_by_what_is_wanted(offices: Script) -> None:
    action = "blockyard.credentials.v1.CredentialsService/DeleteCredential"
    offices.office.entries.append(account_pb2.AuditEntry(actor="anna", action=action, outcome="OK"))
    done = blockyard("audit", "list", "--actor", "anna", "--action", "blockyard.", "--since", "2026-01-31")
    assert done.output.splitlines()[1].split() == ["anna", "DeleteCredential", "OK"]
    request = offices.office.request(accounts.ListAuditEntriesRequest)
    assert (request.actor, request.action, request.HasField("end_time")) == ("anna", "blockyard.", False)


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("DeleteCredential", "blockyard.credentials.v1.CredentialsService/DeleteCredential"),
        ("CredentialsService/Delete", "blockyard.credentials.v1.CredentialsService/Delete"),
        ("AccountService", "blockyard.account.v1.AccountService"),
        ("credential.lease", "credential.lease"),
        ("", ""),
    ],
)
def test_an_action_is_wanted_by_the_name_that_is_shown(offices: Script, given: str, asked: str) -> None:
    assert blockyard("audit", "list", "--action", given).exit_code == 0
    assert offices.office.request(accounts.ListAuditEntriesRequest).action == asked


def test_a_limit_of_calls_is_waited_for_within_the_deadline(offices: Script) -> None:
    limited = ErrorInfo(reason="RATE_LIMITED", domain="blockyard")
    soon, late = (RetryInfo(retry_delay=Duration(nanos=nanos, seconds=s)) for nanos, s in ((10_000_000, 0), (0, 60)))
    offices.faults.append(status(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many calls.", limited, soon))
    assert blockyard("credits", "show").exit_code == 0
    assert offices.calls == ["GetCredits"] * 2
    offices.faults.append(status(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many calls.", limited, late))
    done = blockyard("credits", "show")
    assert (done.exit_code, done.output) == (1, "Error: Too many calls. [RATE_LIMITED]\n")


def test_vault_keys_are_listed(offices: Script) -> None:
    lines = blockyard("admin", "vault-keys").output.splitlines()
    assert lines[1].split() == ["key-1", "active", "1,200", "yes"]
    assert lines[2].split() == ["key-0", "3", "no"]


def rotation(rewrapped: int, remaining: int, *unreadable: str) -> vault.RotateKeysResponse:
    return vault.RotateKeysResponse(
        key_id="key-2", rewrapped=rewrapped, remaining=remaining, unreadable_credential_ids=unreadable
    )


def test_a_rotation_goes_on_until_nothing_remains(offices: Script) -> None:
    offices.office.rotations = [rotation(500, 700), rotation(500, 200), rotation(200, 0)]
    done = blockyard("admin", "rotate-keys", "--new")
    assert done.exit_code == 0, done.output
    asked = [one for one in offices.office.requests if isinstance(one, vault.RotateKeysRequest)]
    assert [(one.create, one.key_id) for one in asked] == [(True, ""), (False, "key-2"), (False, "key-2")]
    assert done.stderr.splitlines()[-1] == "1,200 wrapped by key-2, 0 remain"
    assert done.stdout == "all secrets that can be read are wrapped by key-2: 1,200 by this rotation\n"


def test_a_rotation_that_stands_still_ends(offices: Script) -> None:
    offices.office.rotations = [rotation(0, 7)]
    done = blockyard("admin", "rotate-keys", "--key", "key-2")
    assert done.exit_code == 1
    assert "7 secrets remain, and none of them can be wrapped now" in done.stderr
    assert "blockyard admin rotate-keys --key key-2" in done.stderr
    assert len(offices.office.requests) == 5


def test_secrets_that_cannot_be_read_are_named_at_the_end(offices: Script) -> None:
    offices.office.rotations = [rotation(1, 1, "c1"), rotation(1, 0, "c1", "c2")]
    done = blockyard("admin", "rotate-keys", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["unreadable_credential_ids"] == ["c1", "c2"]
    assert [line for line in done.stderr.splitlines() if line.startswith("  - ")] == ["  - c1", "  - c2"]


def test_a_lost_answer_makes_no_second_key(offices: Script) -> None:
    offices.office.rotations = [rotation(0, 0)]
    offices.faults.append(status(grpc.StatusCode.UNAVAILABLE, "away"))
    done = blockyard("admin", "rotate-keys", "--new")
    assert done.exit_code == 1
    assert "blockyard admin vault-keys" in done.stderr
    assert len(offices.office.requests) == 1


def test_a_new_key_and_a_known_one_exclude_each_other(offices: Script) -> None:
    assert blockyard("admin", "rotate-keys", "--new", "--key", "k").exit_code == 2
    assert not offices.office.requests


async def test_an_interrupted_rotation_says_how_to_go_on(offices: Script) -> None:
    offices.office.rotations = [rotation(1, 7)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from blockyard.cli import main; main()",
        *("admin", "rotate-keys"),
        env=dict(os.environ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    assert b"remain" in await asyncio.wait_for(process.stderr.readline(), 60)
    process.send_signal(signal.SIGINT)
    _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 130
    assert b"blockyard admin rotate-keys --key key-2" in errors
    assert b"Traceback" not in errors


@pytest.mark.parametrize("command", ["credentials", "keys", "credits", "users", "audit", "admin"])
def test_every_group_says_what_it_is_for(command: str) -> None:
    done = blockyard(command, "--help")
    assert done.exit_code == 0
    assert len(done.output.splitlines()) > 5


def repair(made: bool, whole: bool, unpublished: int = 0) -> executions.RepairStreamsResponse:
    kind = executions.STREAM_REPAIR_MADE if made else executions.STREAM_REPAIR_FOUND
    streams = [executions.RepairedStream(name="TASKS", repair=kind, create_time=Timestamp(seconds=1))]
    return executions.RepairStreamsResponse(streams=streams, partitions=4, unpublished_turns=unpublished, whole=whole)


def test_a_repair_waits_until_all_is_whole_and_says_what_was_made(offices: Script) -> None:
    offices.repairs = [repair(True, False, 7), repair(False, True)]
    done = blockyard("admin", "repair", "--wait", "0.05")
    assert (done.exit_code, len(offices.calls)) == (0, 2)
    assert done.stderr.splitlines()[-1] == "7 turns have events to be published"
    assert done.stdout.splitlines() == [
        f"stream TASKS    made {datetime.fromtimestamp(1):%Y-%m-%d %H:%M:%S}  was missing",
        "all is whole: 4 partitions take results, and every event is published",
    ]


def test_a_repair_asks_again_when_an_answer_does_not_come_in_time(offices: Script) -> None:
    offices.repairs = [repair(False, True)]
    offices.faults_of["RepairStreams"] = [status(grpc.StatusCode.DEADLINE_EXCEEDED, "")]
    done = blockyard("admin", "repair", "--wait", "0.05")
    assert (done.exit_code, len(offices.calls)) == (0, 2)
    assert done.stdout.endswith("every event is published\n")


def test_a_repair_that_takes_too_long_says_what_is_missing(offices: Script) -> None:
    offices.repairs = [repair(False, False, 7)]
    done = blockyard("admin", "repair", "--wait", "0", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["whole"] is False
    assert "not whole after 0 s: 7 turns have events to be published; `blockyard doctor` says why" in done.stderr
