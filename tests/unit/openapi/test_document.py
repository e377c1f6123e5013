"""The OpenAPI document says of every method what protobuf's own JSON does, and is the one that the services serve."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import schemathesis
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass
from jsonschema import Draft202012Validator

from services.common.http_statuses import BY_REASON
from services.common.permissions import INTERNAL, PERMISSIONS, Permission
from tests.unit.common.test_permissions import methods
from tests.unit.openapi.messages import Filler
from tools.openapi import __main__ as program
from tools.openapi.contract import Contract, Method
from tools.openapi.document import written
from tools.openapi.examples import ANSWERS, REQUESTS
from tools.openapi.limits import LIMITS, REQUIRED

SEEDS = range(5)
# What a text, a list or a number may be further is tried on the running edge.
OF_LIMITS = ("required", "minLength", "minimum")


def all_methods(contract: Contract) -> list[Method]:
    return [method for service in contract.services for method in service.methods]


def operations(made: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for verbs in made["paths"].values():
        yield from verbs.values()


def operation_of(made: dict[str, Any], method: Method) -> dict[str, Any]:
    name = method.name[0].lower() + method.name[1:]
    return next(one for one in operations(made) if one["operationId"] == name)


def validator(made: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": made["components"]})


def answer_schema(made: dict[str, Any], method: Method) -> dict[str, Any]:
    responses = operation_of(made, method)["responses"]
    [content] = (responses.get("200") or responses["202"])["content"].values()
    schema: dict[str, Any] = content["schema"]
    return schema


def test_the_document_is_one_of_openapi(made: dict[str, Any]) -> None:
    schemathesis.openapi.from_dict(made).validate()


def test_every_method_that_users_may_call_is_there_and_no_internal_one(contract: Contract) -> None:
    listed = {method.full_name for method in all_methods(contract)}

    of_users = {name for name in methods() if name in PERMISSIONS and PERMISSIONS[name] not in INTERNAL}
    assert listed == {name for name in of_users if name.startswith("/blockyard.")}


def test_every_address_of_a_method_is_there(contract: Contract, made: dict[str, Any]) -> None:
    bindings = [binding for method in all_methods(contract) for binding in method.bindings]

    assert len(list(operations(made))) == len(bindings)
    assert made["paths"].keys() >= {"/api/graphs", "/api/executions/{executionId}:watch", "/api/users/{userId}"}


def test_methods_without_a_token_alone_say_so(contract: Contract, made: dict[str, Any]) -> None:
    for method in all_methods(contract):
        is_open = PERMISSIONS[method.full_name] is Permission.PUBLIC
        assert (operation_of(made, method).get("security") == []) is is_open, method.full_name


def test_everything_is_described(made: dict[str, Any]) -> None:
    for operation in operations(made):
        assert operation["summary"], operation["operationId"]
        assert all(parameter["description"] for parameter in operation.get("parameters", [])), operation["operationId"]
    for name, schema in made["components"]["schemas"].items():
        assert schema["description"], name


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_protobuf_writes_of_an_answer_fits_its_schema(
    contract: Contract, made: dict[str, Any], seed: int
) -> None:
    filler = Filler(contract, seed)
    for method in all_methods(contract):
        written_ = json_format.MessageToDict(filler.message(method.answer))

        validator(made, answer_schema(made, method)).validate(written_)


def test_whatever_protobuf_writes_of_a_request_fits_its_schema(contract: Contract, made: dict[str, Any]) -> None:
    filler = Filler(contract, 1, modest=True)
    for method in all_methods(contract):
        binding, operation = method.bindings[0], operation_of(made, method)
        if "requestBody" not in operation or "application/json" not in operation["requestBody"]["content"]:
            continue
        message = filler.message(method.request)
        for variable in binding.variables:
            message.ClearField(variable.split(".")[0]) if "." not in variable else None
        written_: dict[str, Any] = json_format.MessageToDict(message)
        body: Any = written_ if binding.body == "*" else written_[binding.body]

        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        problems = [one for one in validator(made, schema).iter_errors(body) if one.validator not in OF_LIMITS]
        assert not problems, (method.full_name, problems)


def test_a_request_with_a_field_that_is_not_known_does_not_fit(made: dict[str, Any]) -> None:
    graph = made["paths"]["/api/graphs"]["post"]["requestBody"]["content"]["application/json"]["schema"]

    bodies: list[dict[str, Any]] = [{"title": "x"}, {"nodes": [{"id": "a", "kind": "x"}]}, {"name": 1}, {"nodes": {}}]
    for body in bodies:
        with pytest.raises(jsonschema.ValidationError):
            validator(made, graph).validate(body)


def test_of_a_oneof_one_alone_fits(made: dict[str, Any]) -> None:
    schema = {"$ref": "#/components/schemas/CredentialSecret"}

    validator(made, schema).validate({"apiKey": "k"})
    with pytest.raises(jsonschema.ValidationError):
        validator(made, schema).validate({"apiKey": "k", "userPassword": {"username": "u", "password": "p"}})


def test_examples_are_requests_and_answers(contract: Contract, made: dict[str, Any]) -> None:
    by_name = {method.name: method for method in all_methods(contract)}
    assert {*REQUESTS, *ANSWERS} <= by_name.keys()
    for name, example in ANSWERS.items():
        json_format.ParseDict(example, GetMessageClass(by_name[name].answer)())
        validator(made, answer_schema(made, by_name[name])).validate(example)
    for name, example in REQUESTS.items():
        method = by_name[name]
        body = method.bindings[0].body
        json_format.ParseDict(example if body == "*" else {body: example}, GetMessageClass(method.request)())
        content = operation_of(made, method)["requestBody"]["content"]["application/json"]
        validator(made, content["schema"]).validate(example)


def test_limits_are_of_fields_that_there_are(contract: Contract) -> None:
    for name in LIMITS:
        message, _, field = name.rpartition(".")
        assert field in contract.pool.FindMessageTypeByName(message).fields_by_name, name
    for name, fields in REQUIRED.items():
        assert set(fields) <= set(contract.pool.FindMessageTypeByName(name).fields_by_name), name


def test_one_place_in_a_path_has_one_name_whatever_the_method_calls_it(made: dict[str, Any]) -> None:
    # GetGraph has {graph_id} there, UpdateGraph {graph.id} and CreatePreset {preset.graph_id}.
    assert made["paths"]["/api/graphs/{graphId}"].keys() == {"get", "patch", "delete"}
    assert made["paths"]["/api/graphs/{graphId}/presets"].keys() == {"get", "post"}
    shapes = [re.sub(r"\{[^}]*\}", "{}", path) for path in made["paths"]]
    assert len(shapes) == len(set(shapes))


def test_a_query_takes_what_is_neither_in_the_path_nor_in_the_body(made: dict[str, Any]) -> None:
    operation = made["paths"]["/api/graphs/{graphId}"]["patch"]

    named = {(parameter["name"], parameter["in"]) for parameter in operation["parameters"]}
    assert named == {("graphId", "path"), ("updateMask", "query"), ("expectedLatestVersion", "query")}


def test_the_document_that_is_served_is_that_of_the_contract(contract: Contract) -> None:
    assert program.PLACE.read_text() == written(contract)


def test_a_document_of_another_contract_is_found(contract: Contract, tmp_path: Path) -> None:
    text = written(contract)

    assert program.differs(text, tmp_path / "none.json")
    (tmp_path / "old.json").write_text(text.replace("Deletes", "Destroys"))
    assert program.differs(text, tmp_path / "old.json")
    (tmp_path / "same.json").write_text(text)
    assert not program.differs(text, tmp_path / "same.json")


def test_reasons_stand_under_the_statuses_that_the_edge_gives(made: dict[str, Any]) -> None:
    responses = made["components"]["responses"]

    for reason, status in BY_REASON.items():
        told = [number for number, response in responses.items() if f"`{reason}`" in response["description"]]
        assert told == [str(status)], reason


def test_a_webhook_that_is_not_signed_is_told_so(made: dict[str, Any]) -> None:

    responses = made["paths"]["/api/hooks/{triggerId}"]["post"]["responses"]

    assert "401" in responses
    assert "403" not in responses
