"""`blockyard credentials` as a person types it, against a vault in memory."""

import json
from pathlib import Path

import grpc
import pytest
from blockyard.cli.application import application
from blockyard.credentials.v1 import credential_pb2
from blockyard.credentials.v1 import credentials_service_pb2 as vault
from blockyard.graph.v1 import graph_pb2
from click.testing import CliRunner, Result
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure

from tests.unit.client.memory_accounts import CREDENTIAL_ID
from tests.unit.client.memory_services import Script, status

SECRET = "topsecret-31c4"


def blockyard(*arguments: str, given: str = "") -> Result:
    done = CliRunner().invoke(application, list(arguments), input=given)
    assert SECRET not in done.output
    return done


def added(script: Script) -> vault.CreateCredentialRequest:
    request = script.office.request(vault.CreateCredentialRequest)
    assert isinstance(request, vault.CreateCredentialRequest)
    return request


def test_a_graph_is_shown_with_the_names_by_which_a_start_gives_credentials(offices: Script) -> None:
    fields = [graph_pb2.CredentialsField(name=name) for name in ("openai_api_key", "github_api_key")]
    offices.graphs["g1"] = graph_pb2.Graph(id="g1", credentials_fields=fields)
    lines = blockyard("graphs", "show", "g1").output.splitlines()
    assert ["credentials", "openai_api_key,", "github_api_key"] in [line.split() for line in lines]


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_secret_comes_from_standard_input(offices: Script, ending: str) -> None:
    done = blockyard("credentials", "add", "github", "--title", "work", "--secret-file", "-", given=SECRET + ending)
    assert (done.exit_code, done.output) == (0, f"kept {CREDENTIAL_ID}\n")
    request = added(offices)
    assert (request.provider, request.title, request.secret.api_key) == ("github", "work", SECRET)
    assert request.request_id


def test_a_secret_comes_from_a_file(offices: Script, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(SECRET)
    options = ["--type", "user_password", "--username", "anna", "--secret-file", str(tmp_path / "password")]
    done = blockyard("credentials", "add", "smtp", "--title", "mail", "--expires", "90d", *options)
    assert done.exit_code == 0, done.output
    request = added(offices)
    assert (request.secret.user_password.username, request.secret.user_password.password) == ("anna", SECRET)
    assert request.HasField("expire_time")


def test_headers_come_from_lines(offices: Script) -> None:
    lines = f"Authorization: Bearer {SECRET}\n\nX-Team: blue: green\n"
    options = ["--type", "host_scoped", "--host", "*.example.com", "--secret-file", "-"]
    done = blockyard("credentials", "add", "http", "--title", "api", *options, given=lines)
    assert done.exit_code == 0, done.output
    headers = added(offices).secret.host_headers
    assert headers.host == "*.example.com"
    assert dict(headers.headers) == {"Authorization": f"Bearer {SECRET}", "X-Team": "blue: green"}


@pytest.mark.parametrize(
    ("options", "given", "problem"),
    [
        ([], "", "--secret-file"),
        (["--secret-file", "-"], "", "is empty"),
        (["--secret-file", "-"], "\n", "is empty"),
        (["--secret-file", "-"], "x" * (64 << 10) + "x", "longer than 65,536 bytes"),
        (["--secret-file", "/nowhere/to/be/found"], "", "No such file"),
        (["--secret-file", "/"], "", "directory"),
        (["--type", "user_password", "--secret-file", "-"], SECRET, "--username is for"),
        (["--username", "anna", "--secret-file", "-"], SECRET, "--username is for"),
        (["--type", "host_scoped", "--secret-file", "-"], SECRET, "--host is for"),
        (["--header", "X-Key", "--secret-file", "-"], SECRET, "--header is for"),
        (["--type", "host_scoped", "--host", "a.example", "--secret-file", "-"], SECRET, "line 1 is not of the form"),
        (["--type", "host_scoped", "--host", "a.example"], "", "name the headers"),
        (["--type", "oauth2", "--secret-file", "-"], SECRET, "'oauth2' is not one of"),
        (["--expires", "soon", "--secret-file", "-"], SECRET, "is not a date"),
        (["--expires", "999999w", "--secret-file", "-"], SECRET, "is not a date"),
    ],
)
def test_what_cannot_be_kept_is_said_and_not_sent(
    offices: Script, options: list[str], given: str, problem: str
) -> None:
    done = blockyard("credentials", "add", "github", "--title", "t", *options, given=given)
    assert done.exit_code == 2
    assert problem in " ".join(done.output.replace("│", " ").split())
    assert not offices.office.requests


def test_bytes_that_are_no_text_are_not_shown(offices: Script, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(SECRET.encode() + b"\xff")
    done = blockyard("credentials", "add", "x", "--title", "t", "--secret-file", str(tmp_path / "key"))
    assert done.exit_code == 2
    assert "not UTF-8 text" in done.output


@pytest.fixture
def kept(offices: Script) -> credential_pb2.Credential:
    credential = credential_pb2.Credential(
        id=CREDENTIAL_ID,
        provider="smtp",
        type=credential_pb2.CREDENTIAL_TYPE_USER_PASSWORD,
        title="mail [bold]x[/bold]",
        state=credential_pb2.CREDENTIAL_STATE_REVOKED,
        state_reason="connect it again",
        account_name="anna",
        version=3,
        uses=1_200,
    )
    offices.office.credentials[CREDENTIAL_ID] = credential
    return credential


def test_credentials_are_listed_and_shown(kept: credential_pb2.Credential) -> None:
    listed = blockyard("credentials", "list").output.splitlines()
    assert listed[0].split() == ["ID", "PROVIDER", "TYPE", "TITLE", "STATE", "LAST", "USED"]
    assert listed[1].split()[:3] == [CREDENTIAL_ID, "smtp", "user_password"]
    assert "mail [bold]x[/bold]" in listed[1]
    shown = blockyard("credentials", "show", CREDENTIAL_ID).output
    assert "revoked" in shown
    assert "connect it again" in shown
    document = json.loads(blockyard("credentials", "show", CREDENTIAL_ID, "--json").output)
    assert (document["type"], document["state"], document["uses"]) == ("USER_PASSWORD", "REVOKED", 1_200)
    [one] = json.loads(blockyard("credentials", "list", "--json", "--type", "api_key").output)
    assert one["id"] == CREDENTIAL_ID


def test_no_credentials_say_how_to_add_one(offices: Script) -> None:
    assert "blockyard credentials add" in blockyard("credentials", "list").output


def test_a_new_kind_of_the_server_is_shown_as_unknown(offices: Script, kept: credential_pb2.Credential) -> None:
    kept.type = 99  # type: ignore[assignment]  # enums of proto3 are open
    assert "unknown" in blockyard("credentials", "list").output


def test_an_update_names_what_changes(offices: Script, kept: credential_pb2.Credential) -> None:
    assert blockyard("credentials", "update", CREDENTIAL_ID, "--title", "new").exit_code == 0
    request = offices.office.request(vault.UpdateCredentialRequest)
    assert (list(request.update_mask.paths), request.title) == (["title"], "new")
    blockyard("credentials", "update", CREDENTIAL_ID, "--expires", "never")
    request = offices.office.request(vault.UpdateCredentialRequest)
    assert list(request.update_mask.paths) == ["expire_time"]
    assert not request.HasField("expire_time")


def test_a_replaced_password_keeps_its_user_name_and_meets_no_other_change(
    offices: Script, kept: credential_pb2.Credential
) -> None:
    done = blockyard("credentials", "update", CREDENTIAL_ID, "--secret-file", "-", given=SECRET)
    assert done.exit_code == 0, done.output
    request = offices.office.request(vault.UpdateCredentialRequest)
    assert (list(request.update_mask.paths), request.version) == (["secret"], 3)
    assert (request.secret.user_password.username, request.secret.user_password.password) == ("anna", SECRET)


def test_an_oauth_credential_is_connected_again_instead(offices: Script, kept: credential_pb2.Credential) -> None:
    kept.type = credential_pb2.CREDENTIAL_TYPE_OAUTH2
    done = blockyard("credentials", "update", CREDENTIAL_ID, "--secret-file", "-", given=SECRET)
    assert done.exit_code == 1
    assert f"blockyard credentials connect smtp --credential {CREDENTIAL_ID}" in done.output


def test_an_update_without_a_change_is_refused(offices: Script) -> None:
    assert blockyard("credentials", "update", CREDENTIAL_ID).exit_code == 2
    assert blockyard("credentials", "update", CREDENTIAL_ID, "--username", "x").exit_code == 2
    assert not offices.office.requests


def test_deleting_one_in_use_names_the_places_and_the_way_out(offices: Script) -> None:
    places = [{"subject": "graph g1 version 2", "description": "mail.credentials"}]
    details = [ErrorInfo(reason="CREDENTIAL_IN_USE", domain="blockyard"), PreconditionFailure(violations=places)]
    offices.faults.append(status(grpc.StatusCode.FAILED_PRECONDITION, "The credential is in use.", *details))
    done = blockyard("credentials", "delete", CREDENTIAL_ID)
    assert done.exit_code == 1
    assert done.output.splitlines() == [
        "Error: The credential is in use. --force deletes it all the same. [CREDENTIAL_IN_USE]",
        "  - graph g1 version 2: mail.credentials",
    ]


def test_a_forced_deletion_tells_what_will_fail(offices: Script, kept: credential_pb2.Credential) -> None:
    offices.office.uses.append(
        credential_pb2.CredentialUse(graph_id="g1", graph_version=2, node_id="mail", pin="credentials")
    )
    done = blockyard("credentials", "delete", CREDENTIAL_ID, "--force")
    assert done.output.splitlines() == [
        f"deleted {CREDENTIAL_ID}",
        "was used by graph g1 version 2, mail.credentials",
    ]
    assert offices.office.request(vault.DeleteCredentialRequest).force


@pytest.mark.parametrize(
    ("verdict", "code", "words"),
    [
        (vault.TEST_VERDICT_VALID, 0, "valid: said the provider\n"),
        (vault.TEST_VERDICT_UNKNOWN, 0, "not known: said the provider\n"),
        (vault.TEST_VERDICT_INVALID, 1, "Error: the credential is not valid: said the provider\n"),
    ],
)
def test_a_test_ends_as_the_provider_says(
    offices: Script, verdict: vault.TestVerdict.ValueType, code: int, words: str
) -> None:
    offices.office.verdict = verdict
    done = blockyard("credentials", "test", CREDENTIAL_ID)
    assert (done.exit_code, done.output) == (code, words)


def test_providers_are_listed(offices: Script) -> None:
    lines = blockyard("credentials", "providers").output.splitlines()
    assert lines[1].split() == ["github", "GitHub", "api_key,", "oauth2", "yes"]


def test_a_run_names_its_credentials(offices: Script) -> None:
    options = ["--credentials", f"github_api_key={CREDENTIAL_ID}", "--credentials", "mail.credentials=other"]
    offices.graphs["0190c0de-0000-7000-8000-000000000001"] = _graph()
    done = blockyard("run", "0190c0de-0000-7000-8000-000000000001", *options, "--credits-policy", "fail")
    assert done.exit_code == 0, done.output
    start = offices.starts[0]
    assert dict(start.credentials) == {"github_api_key": CREDENTIAL_ID, "mail.credentials": "other"}
    assert start.credits_policy == 2


def test_a_run_without_its_credentials_says_how_they_are_given(offices: Script) -> None:
    offices.graphs["0190c0de-0000-7000-8000-000000000001"] = _graph()
    reason = ErrorInfo(reason="CREDENTIALS_MISSING", domain="blockyard")
    place = BadRequest(field_violations=[{"field": "credentials.smtp", "description": "you have none"}])
    fault = status(grpc.StatusCode.FAILED_PRECONDITION, "Credentials are missing.", reason, place)
    offices.faults_of["StartExecution"] = [fault]
    done = blockyard("run", "0190c0de-0000-7000-8000-000000000001")
    assert done.exit_code == 1
    assert "--credentials FIELD=ID" in done.output
    assert "  - credentials.smtp: you have none" in done.output.splitlines()


def test_a_run_of_a_block_names_its_credentials(offices: Script) -> None:
    done = blockyard("blocks", "run", "ShoutBlock", "--input", "text=x", "--credentials", f"key={CREDENTIAL_ID}")
    assert done.exit_code == 0, done.output
    assert dict(offices.block_runs[0].credentials) == {"key": CREDENTIAL_ID}


@pytest.mark.parametrize("pairs", [["x"], ["=x"], ["x="], ["x=1", "x=2"]])
def test_credentials_of_a_run_that_make_no_sense_are_refused(offices: Script, pairs: list[str]) -> None:
    options = [part for pair in pairs for part in ("--credentials", pair)]
    assert blockyard("blocks", "run", "ShoutBlock", *options).exit_code == 2
    assert not offices.calls


def _graph() -> graph_pb2.Graph:
    return graph_pb2.Graph(id="0190c0de-0000-7000-8000-000000000001", version=1, name="shout")
