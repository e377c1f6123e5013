"""What a graph wants of credentials, the rules of pins for them, and where one is named."""

import json
import re
import uuid
from random import Random
from typing import Any

import pytest
from blockyard.block.requirements import CREDENTIAL_TYPES, CredentialsRequirement
from blockyard.graph.v1.block_pb2 import Block, BlockType
from blockyard.graph.v1.graph_pb2 import CredentialsField, Graph
from hypothesis import given, settings
from hypothesis import strategies as st

from services.graph.catalogue import Snapshot
from services.graph.children import AGENT_EXECUTOR, Children, find_children
from services.graph.credentials import CredentialsDemand, demands_of, fields_of, uses_of
from services.graph.documents import read_document
from services.graph.layout import lay_out
from services.graph.picture import mermaid
from services.graph.storage import content_of
from services.graph.validation import Findings, validate
from tests.unit.graph.agents import agent, agent_node, imported, prepared
from tests.unit.graph.building import BLOCKS, OBJECT, TEXT, block, block_id, graph, link, node
from tests.unit.graph.test_import_own_files import exported
from tests.unit.graph.test_tools_and_children import RUN_GRAPH, StoredGraphs, number

SECRET = "sesame-8c1f6e0d2b7a4953"
ID = "0b0e7a54-9d3e-4c53-8f3b-2f5f3a1c9d10"
OTHER_ID = "1b0e7a54-9d3e-4c53-8f3b-2f5f3a1c9d10"
MODELS = {"gpt-4o": "openai", "claude*": "anthropic"}


def pin(provider: str | list[str], *types: str, **more: Any) -> dict[str, Any]:
    """The schema of a pin for credentials, as the SDK writes it."""
    wanted = CredentialsRequirement(
        providers=(provider,) if isinstance(provider, str) else tuple(provider),
        types=types,
        scopes=tuple(more.pop("scopes", ())),
        discriminator=more.pop("by", ""),
        discriminator_mapping=more.pop("mapping", {}),
        named_only=more.pop("named_only", False),
    )
    return {"type": "object", **wanted.marks(), **more}


def credentials_blocks() -> list[Block]:
    ai = pin(["openai", "anthropic", "groq"], "api_key", by="model", mapping=MODELS, default=None)
    deep = pin(["openai", "anthropic"], "api_key", by="config.model", mapping=MODELS)
    web = pin("http", "host_scoped", by="url")
    return [
        block("KeyBlock", {"credentials": pin("github", "api_key"), "text": {**TEXT, "default": ""}}, {"text": TEXT}),
        block("ReadBlock", {"credentials": pin("github", "oauth2", scopes=["read"])}, {"text": TEXT}),
        block("WriteBlock", {"credentials": pin("github", "oauth2", scopes=["write"])}, {"text": TEXT}),
        block("AIBlock", {"model": {**TEXT, "default": "gpt-4o"}, "credentials": ai}, {"text": TEXT}),
        block("DeepBlock", {"config": {**OBJECT, "default": {}}, "credentials": deep}, {"text": TEXT}),
        block("WebBlock", {"url": TEXT, "credentials": web}, {"text": TEXT}),
        block("MailBlock", {"mail_credentials": pin("smtp", "user_password", default=None)}, {"text": TEXT}),
        block("NotedBlock", {"credentials": pin("github", "api_key")}, {}, type=BlockType.BLOCK_TYPE_NOTE),
    ]


CATALOGUE = Snapshot.of([*BLOCKS, RUN_GRAPH, *credentials_blocks()])


def reference(credential_id: str = ID, provider: str = "github", kind: str = "api_key", **more: Any) -> dict[str, Any]:
    return {"id": credential_id, "provider": provider, "type": kind, **more}


def judged(written: Graph) -> Findings:
    document, malformed = read_document(written, deepest=25)
    return validate(document, CATALOGUE, malformed)


def errors(written: Graph) -> dict[str, str]:
    return {error.field: error.description for error in judged(written).errors}


def fields(written: Graph) -> dict[str, CredentialsField]:
    """The fields of a graph that breaks no rule, by name."""
    findings = judged(written)
    assert not findings.errors
    assert findings.graph is not None
    found = fields_of(demands_of(findings.graph, CATALOGUE))
    assert len({one.name for one in found}) == len(found)
    return {one.name: one for one in found}


def pins(field: CredentialsField) -> list[str]:
    return [f"{one.node_id}.{one.pin}" for one in field.pins]


def test_pins_that_want_the_same_share_a_field_and_their_scopes_are_united() -> None:
    found = fields(
        graph([node("r", "ReadBlock"), node("k", "KeyBlock"), node("w", "WriteBlock"), node("k2", "KeyBlock")])
    )
    assert list(found) == ["github_api_key", "github_oauth2"]
    assert pins(found["github_api_key"]) == ["k.credentials", "k2.credentials"]
    assert pins(found["github_oauth2"]) == ["r.credentials", "w.credentials"]
    assert list(found["github_oauth2"].scopes) == ["read", "write"]
    assert (list(found["github_oauth2"].providers), list(found["github_oauth2"].types)) == (["github"], ["oauth2"])


def test_names_and_fields_do_not_depend_on_the_order_of_nodes() -> None:
    nodes = [
        node("a", "WebBlock", url="https://a-b.example/x"),
        node("b", "WebBlock", url="https://a.b.example/y"),
        node("c", "AIBlock", model="other"),
        node("d", "KeyBlock"),
    ]
    there, back = fields(graph(nodes)), fields(graph(nodes[::-1]))
    assert list(there) == list(back)
    assert {name: pins(one) for name, one in there.items()} == {name: pins(one) for name, one in back.items()}
    assert list(there) == [
        "github_api_key",
        "http_a_b_example_host_scoped",
        "http_a_b_example_host_scoped_2",
        "openai_or_anthropic_or_groq_api_key",
    ]


@pytest.mark.parametrize(
    ("constants", "providers"),
    [
        ({"model": "gpt-4o"}, ["openai"]),
        ({"model": "claude-3"}, ["anthropic"]),
        # The default of the pin counts where there is no constant.
        ({}, ["openai"]),
        ({"model": None}, ["openai"]),
        ({"model": "unknown"}, ["openai", "anthropic", "groq"]),
    ],
)
def test_a_constant_that_decides_picks_the_provider(constants: dict[str, Any], providers: list[str]) -> None:
    [found] = fields(graph([node("ai", "AIBlock", **constants)])).values()
    assert list(found.providers) == providers


def test_what_comes_over_a_link_decides_nothing_yet() -> None:
    nodes = [node("t", "TextBlock", text="a"), node("ai", "AIBlock", model="gpt-4o"), node("w", "WebBlock")]
    written = graph(nodes, [link("t.text", "ai.model"), link("t.text", "w.url")])
    found = fields(written)
    assert list(found["openai_or_anthropic_or_groq_api_key"].providers) == ["openai", "anthropic", "groq"]
    assert found["http_host_scoped"].url == ""


@pytest.mark.parametrize("constants", [{"config": {"model": "claude-3"}}, {"config_#_model": "claude-3"}])
def test_what_decides_may_stand_deeper(constants: dict[str, Any]) -> None:
    [found] = fields(graph([node("d", "DeepBlock", **constants)])).values()
    assert list(found.providers) == ["anthropic"]


def test_a_link_into_a_part_of_what_decides_leaves_it_open() -> None:
    nodes = [node("t", "TextBlock", text="a"), node("d", "DeepBlock", config={"model": "claude-3"})]
    [found] = fields(graph(nodes, [link("t.text", "d.config_#_model")])).values()
    assert list(found.providers) == ["openai", "anthropic"]


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://api.example.com/a/b?key=c#d", "https://api.example.com"),
        ("https://API.Example.com:8443/", "https://api.example.com:8443"),
        ("http://api.example.com:80", "http://api.example.com"),
        ("api.example.com/x", "http://api.example.com"),
        ("http://[::1]:8080/x", "http://[::1]:8080"),
        ("https://me:word@api.example.com/", ""),
        ("ftp://api.example.com/", ""),
        ("https://api.example.com:x/", ""),
        ("https://{{host}}/x", ""),
        ("", ""),
    ],
)
def test_a_url_names_its_host_and_nothing_more(url: str, origin: str) -> None:
    [found] = fields(graph([node("w", "WebBlock", url=url)])).values()
    assert found.url == origin


def test_urls_of_one_host_share_a_field() -> None:
    written = graph(
        [node("a", "WebBlock", url="https://x.example/a"), node("b", "WebBlock", url="https://x.example/b")]
    )
    [found] = fields(written).values()
    assert (found.name, pins(found)) == ("http_x_example_host_scoped", ["a.credentials", "b.credentials"])


def test_a_start_needs_what_a_block_requires_and_no_node_names() -> None:
    named = node("k", "KeyBlock", credentials=reference(title="Mine"))
    optional = node("o", "KeyBlock")
    optional.metadata.credentials_optional = True
    assert not fields(graph([named]))["github_api_key"].required
    assert fields(graph([named]))["github_api_key"].pins[0].credential_id == ID
    assert not fields(graph([optional]))["github_api_key"].required
    assert fields(graph([named, optional, node("n", "KeyBlock")]))["github_api_key"].required
    assert not fields(graph([node("m", "MailBlock")]))["smtp_user_password"].required


def test_what_is_sent_where_the_graph_says_has_to_be_named() -> None:
    anywhere = block("AnywhereBlock", {"credentials": pin("github", "api_key", named_only=True)}, {})
    known = Snapshot.of([anywhere, *credentials_blocks()])
    found = fields_of(demands_of(graph([node("a", anywhere.id), node("k", "KeyBlock")]), known))
    assert [(one.name, one.named_only, pins(one)) for one in found] == [
        ("github_api_key", False, ["k.credentials"]),
        ("github_api_key_2", True, ["a.credentials"]),
    ]


def test_a_note_wants_nothing() -> None:
    assert fields(graph([node("n", "NotedBlock"), node("t", "TextBlock", text="a")])) == {}


def test_a_graph_whose_blocks_are_gone_wants_nothing_of_them() -> None:
    assert demands_of(graph([node("u", "GoneBlock", credentials=reference())]), CATALOGUE) == []


def test_a_field_of_many_providers_is_called_after_the_first() -> None:
    many = block("ManyBlock", {"credentials": pin(["a", "b", "c", "d"], "api_key", "oauth2")}, {})
    [found] = fields_of(demands_of(graph([node("m", many.id)]), Snapshot.of([many])))
    assert found.name == "a_or_3_others_api_key_or_oauth2"


NAMES = st.sampled_from(["a", "b-c", "b_c", "日本", "d"])
DEMANDS = st.builds(
    CredentialsDemand,
    graph_id=st.sampled_from(["", ID]),
    node_id=st.sampled_from(["n1", "n2", "n3"]),
    pin=st.sampled_from(["credentials", "other_credentials"]),
    providers=st.lists(NAMES, max_size=5, unique=True).map(tuple),
    types=st.lists(st.sampled_from(CREDENTIAL_TYPES), max_size=2, unique=True).map(tuple),
    scopes=st.lists(NAMES, max_size=2, unique=True).map(tuple),
    url=st.sampled_from(["", "https://a-b.example", "https://a.b.example:8443", "http://[::1]"]),
    required=st.booleans(),
    credential_id=st.sampled_from(["", ID]),
    named_only=st.booleans(),
)


@given(st.lists(DEMANDS, max_size=12, unique_by=lambda one: one.key), st.randoms())
@settings(deadline=None)
def test_each_pin_is_in_one_field_that_asks_for_what_it_wants(demands: list[CredentialsDemand], chance: Random) -> None:
    found = fields_of(demands)
    by_pin = {(pin.graph_id, pin.node_id, pin.pin): one for one in found for pin in one.pins}
    assert len(by_pin) == sum(len(one.pins) for one in found) == len(demands)
    assert len({one.name for one in found}) == len(found)
    for demand in demands:
        field = by_pin[demand.key]
        wanted = (demand.providers, demand.types, demand.url, demand.named_only)
        assert (tuple(field.providers), tuple(field.types), field.url, field.named_only) == wanted
        assert set(field.scopes) >= set(demand.scopes)
        assert field.required or not demand.required
        assert re.fullmatch("[a-z0-9_]+", field.name)
    shuffled = list(demands)
    chance.shuffle(shuffled)
    names = {(pin.graph_id, pin.node_id, pin.pin): one.name for one in fields_of(shuffled) for pin in one.pins}
    assert names == {key: one.name for key, one in by_pin.items()}


def stored(at: int, *nodes: Any) -> Graph:
    return Graph(id=number(at), version=1, user_id="anna", name=f"graph {at}", nodes=nodes)


async def fields_with_children(top: Graph, *others: Graph) -> tuple[list[CredentialsField], Children]:
    children = await find_children(StoredGraphs(top, *others), CATALOGUE, "anna", top)
    return fields_of([*demands_of(top, CATALOGUE), *children.credentials]), children


async def test_what_graphs_want_that_nodes_run_is_wanted_too_however_deep() -> None:
    key = block_id("KeyBlock")
    lowest = stored(3, node("low", key))
    middle = stored(2, node("run", AGENT_EXECUTOR, graph_id=number(3)), node("mid", block_id("MailBlock")))
    top = stored(1, node("run", AGENT_EXECUTOR, graph_id=number(2), graph_version=1), node("own", key))

    found, children = await fields_with_children(top, middle, lowest)

    assert [(one.name, one.required) for one in found] == [("github_api_key", True), ("smtp_user_password", False)]
    assert [(one.graph_id, one.node_id, one.pin) for one in found[0].pins] == [
        ("", "own", "credentials"),
        (number(3), "low", "credentials"),
    ]
    assert [one.graph_id for one in found[1].pins] == [number(2)]
    assert children.active == {uuid.UUID(number(3)): 1}


async def test_a_graph_that_runs_itself_has_its_pins_once() -> None:
    top = stored(1, node("run", AGENT_EXECUTOR, graph_id=number(1)), node("own", block_id("KeyBlock")))
    found, _ = await fields_with_children(top)
    assert [(one.graph_id, one.node_id) for field in found for one in field.pins] == [("", "own")]


ADVICE = "keep the secret in the vault (`blockyard credentials add`)"


@pytest.mark.parametrize(
    ("value", "place", "problem"),
    [
        (SECRET, "", f"takes a reference to a credential: {ADVICE}"),
        ([SECRET], "", f"takes a reference to a credential: {ADVICE}"),
        (7, "", f"takes a reference to a credential: {ADVICE}"),
        ({"api_key": SECRET}, "", f"holds more than a reference (id, provider, type, title): {ADVICE}"),
        ({**reference(), "api_key": SECRET}, "", "holds more than a reference"),
        ({**reference(), SECRET: 1}, "", "holds more than a reference"),
        ({}, "", f"lacks id, provider or type: {ADVICE}"),
        ({"id": ID, "provider": "github"}, "", "lacks id, provider or type"),
        (reference(provider=7), "", "expected texts as provider and type"),  # type: ignore[arg-type]  # the test's point
        (reference(kind=""), "", "expected texts as provider and type"),
        (reference(SECRET), ".id", "expected the id of a credential, a UUID: `blockyard credentials list`"),
        (reference(f"urn:uuid:{ID}"), ".id", "expected the id of a credential, a UUID"),
        (reference(title="a" * 101), ".title", "expected a text of at most 100 characters"),
        (reference(title={"a": SECRET}), ".title", "expected a text of at most 100 characters"),
        (reference(provider=SECRET), ".provider", "expected github"),
        (reference(kind=SECRET), ".type", "expected api_key"),
    ],
)
def test_what_is_no_reference_is_refused_and_not_shown(value: Any, place: str, problem: str) -> None:
    findings = judged(graph([node("k", "KeyBlock", credentials=value)]))
    [error] = findings.errors
    assert error.field == f"nodes[0].inputs.credentials{place}"
    assert error.description.startswith(problem)
    assert SECRET not in error.description
    assert findings.graph is None


def test_parts_of_a_reference_are_refused_and_not_shown() -> None:
    written = graph([node("k", "KeyBlock", **{"credentials_#_api_key": SECRET, f"credentials_#_{SECRET}": 1})])
    found = errors(written)
    assert list(found) == ["nodes[0].inputs.credentials"]
    assert found["nodes[0].inputs.credentials"].startswith("takes a reference as a whole, not in parts")


def test_a_link_cannot_carry_a_credential() -> None:
    nodes = [node("in", "InputBlock", name="key"), node("k", "KeyBlock")]
    assert errors(graph(nodes, [link("in.result", "k.credentials")])) == {
        "links[0].sink_pin": "credentials takes a credential, which no link can carry: name one in the node's inputs, "
        "or give it at the start"
    }
    assert list(errors(graph(nodes, [link("in.result", "k.credentials_#_id")]))) == ["links[0].sink_pin"]


def test_a_reference_has_to_fit_the_provider_that_a_constant_picks() -> None:
    def of(model: str, provider: str) -> dict[str, str]:
        return errors(graph([node("ai", "AIBlock", model=model, credentials=reference(provider=provider))]))

    assert of("gpt-4o", "openai") == {}
    assert of("unknown", "groq") == {}
    assert of("claude-3", "openai") == {
        "nodes[0].inputs.credentials.provider": "expected anthropic, since model is 'claude-3'"
    }
    linked = graph(
        [node("t", "TextBlock", text="a"), node("ai", "AIBlock", credentials=reference(provider="groq"))],
        [link("t.text", "ai.model")],
    )
    assert errors(linked) == {}


@pytest.mark.parametrize("constants", [{}, {"credentials": None}])
def test_a_required_credential_may_come_with_the_start(constants: dict[str, Any]) -> None:
    assert errors(graph([node("k", "KeyBlock", **constants)])) == {}


def test_places_that_name_a_credential_are_found_whatever_becomes_of_their_blocks() -> None:
    written = graph(
        [
            node("a", "GoneBlock", credentials=reference(), text="a"),
            node("b", "MailBlock", mail_credentials=reference(ID.upper(), "smtp", "user_password")),
            node("c", "KeyBlock", credentials=None, text='"provider"'),
            node("d", "KeyBlock", credentials=reference(OTHER_ID)),
            node("e", "ObjectBlock", values=reference("no id")),
        ]
    )
    assert [(use.node_id, use.pin, str(use.credential_id)) for use in uses_of(written)] == [
        ("a", "credentials", ID),
        ("b", "mail_credentials", ID),
        ("d", "credentials", OTHER_ID),
    ]
    assert [str(one) for one in content_of(written).credential_ids] == [ID, OTHER_ID]


def test_neither_a_picture_nor_an_export_carries_the_id_of_a_credential() -> None:
    whole = judged(graph([node("k", "KeyBlock", credentials=reference(title="Mine"))])).graph
    assert whole is not None
    whole.credentials_fields.extend(fields_of(demands_of(whole, CATALOGUE)))
    document, _ = read_document(whole, deepest=25)
    layout, _ = lay_out(document, CATALOGUE)
    assert ID not in mermaid(layout)
    for blocks in (CATALOGUE, Snapshot.of([])):
        file = exported(whole, blocks=blocks)
        assert ID.encode() not in file.data
        assert b"Mine" not in file.data


@pytest.mark.parametrize(
    "constants",
    [
        {"credentials": {"api_key": SECRET}},
        {"credentials": SECRET},
        {"credentials": {**reference(), "api_key": SECRET}},
        {"credentials_#_api_key": SECRET},
        {"credentials": reference(SECRET)},
    ],
)
@pytest.mark.parametrize("name", ["KeyBlock", "GoneBlock"])
def test_a_secret_in_a_file_is_not_stored(constants: dict[str, Any], name: str) -> None:
    content = {"name": "test", "nodes": [{"id": "k", "block_id": name, "inputs": {**constants, "text": "a"}}]}
    made = prepared(content, CATALOGUE)
    [(_, stored_graph)] = made.graphs
    assert json.loads(stored_graph.nodes[0].inputs_json) == {"text": "a"}
    assert SECRET not in str(stored_graph)
    assert [one.field for one in made.remarks if "vault" in one.description] == ["nodes[0].inputs.credentials"]
    assert SECRET not in str(made.remarks)


def test_a_reference_in_a_file_of_ones_own_is_kept() -> None:
    content = {
        "name": "test",
        "nodes": [{"id": "k", "block_id": "KeyBlock", "inputs": {"credentials": reference(title="Mine")}}],
    }
    assert json.loads(imported(content, CATALOGUE).nodes[0].inputs_json) == {"credentials": reference(title="Mine")}
    assert all("credential" not in one.field for one in prepared(content, CATALOGUE).remarks)


@pytest.mark.parametrize(("written", "read"), [(True, True), (False, False), (None, False), ("yes", False)])
def test_a_node_of_an_agent_that_may_go_without_credentials_still_may(written: Any, read: bool) -> None:
    one = agent_node("k", block_id("KeyBlock"))
    one["metadata"]["credentials_optional"] = written
    assert imported(agent([one]), CATALOGUE).nodes[0].metadata.credentials_optional is read
