"""Who is asked for a model: by its name, by credentials, and by what an operator has configured."""

import os

import pytest
from blockyard.block import ApiKeyCredentials, Block, CredentialsReference, CredentialsRequirement
from blockyard.block.loader import load_blocks
from pydantic import SecretStr

from blocks.ai.calls import AIBlockBase
from blocks.ai.embeddings import EmbeddingBlockBase
from blocks.ai.errors import ProviderNotConfigured
from blocks.ai.models import EMBEDDING_MODELS, KNOWN_MODELS, cost_usd
from blocks.ai.providers import BUILT_IN, Access, Protocol, access, choose, unavailable_reason
from blocks.ai.text import AIResponseBlock, AITextGeneratorBlock

KEYS = {f"BLOCKYARD_AI_{name}_KEY": f"key-of-{name}" for name in ("OPENAI", "ANTHROPIC", "GROQ", "OPENROUTER")}
MINE = ApiKeyCredentials(api_key=SecretStr("mine"))
ASKING = [
    block
    for block in load_blocks(["blocks.ai"], entry_points=False).blocks.values()
    if isinstance(block, (AIBlockBase, EmbeddingBlockBase)) and block.name != "AIResponseBlock"
]
VLLM = {"BLOCKYARD_AI_VLLM_BASE_URL": "http://gpu.example:8000/v1/"}


@pytest.mark.parametrize(
    ("model", "environment", "provider", "model_there"),
    [
        ("gpt-4o", KEYS, "openai", "gpt-4o"),
        ("claude-haiku-4-5", KEYS, "anthropic", "claude-haiku-4-5"),
        ("llama-3.3-70b-versatile", KEYS, "groq", "llama-3.3-70b-versatile"),
        ("gpt-9-future", KEYS, "openai", "gpt-9-future"),
        ("o7-mini", KEYS, "openai", "o7-mini"),
        ("claude-99", KEYS, "anthropic", "claude-99"),
        ("groq/llama-3.1-8b-instant", KEYS, "groq", "llama-3.1-8b-instant"),
        ("openrouter/google/gemini-pro", KEYS, "openrouter", "google/gemini-pro"),
        ("open_router/google/gemini-pro", KEYS, "openrouter", "google/gemini-pro"),
        ("ollama/llama3:8b", {}, "ollama", "llama3:8b"),
        ("vllm/my-model", KEYS | VLLM, "vllm", "my-model"),
        ("my-model", VLLM, "vllm", "my-model"),
        ("my-model", KEYS | {"BLOCKYARD_AI_DEFAULT_PROVIDER": "groq"}, "groq", "my-model"),
        ("my-model", KEYS, "openai", "my-model"),
    ],
)
def test_model_finds_its_provider(model: str, environment: dict[str, str], provider: str, model_there: str) -> None:
    choice = choose(model, Access(), environment)

    assert (choice.provider.name, choice.model) == (provider, model_there)


def test_unknown_model_is_taken_with_a_remark() -> None:
    assert choose("gpt-4o", Access(), KEYS).remarks == []
    [remark] = choose("my-model", Access(), KEYS).remarks
    assert remark == "my-model: is not in the list of known models; openai was asked for 'my-model'"


def test_operator_lets_one_model_answer_for_another() -> None:
    choice = choose("gpt-4o", Access(), VLLM | {"BLOCKYARD_AI_MODEL_ALIASES": "o3=gpt-4o, gpt-4o = vllm/qwen"})

    assert (choice.provider.name, choice.model) == ("vllm", "qwen")
    assert choice.remarks[0] == "gpt-4o: stands for vllm/qwen here"


def test_own_provider_is_configured_by_its_variables() -> None:
    settings = {"BASE_URL": "https://gateway.example/x/", "KEY": "k", "PROTOCOL": "anthropic", "TIMEOUT_SECONDS": "2.5"}
    environment = {f"BLOCKYARD_AI_MY_GATEWAY_{name}": value for name, value in settings.items()}

    provider = choose("my_gateway/m", Access(), environment).provider

    assert (provider.protocol, provider.base_url) == (Protocol.ANTHROPIC, "https://gateway.example/x")
    assert provider.timeout_seconds == 2.5
    assert provider.key == SecretStr("k")


def test_key_is_not_shown() -> None:
    assert "key-of-OPENAI" not in repr(choose("gpt-4o", Access(), KEYS))


@pytest.mark.parametrize(
    ("model", "environment", "message"),
    [
        ("gpt-4o", {}, "give the block credentials, if it takes any, or an operator sets BLOCKYARD_AI_OPENAI_KEY"),
        ("m", {"BLOCKYARD_AI_MODEL_ALIASES": "gpt-4o:qwen"}, "MODEL_ALIASES: expected name=model"),
        (" ", KEYS, "model: expected the name of a model"),
        ("m", {"BLOCKYARD_AI_DEFAULT_PROVIDER": "nobody"}, "nobody: there is no such provider"),
        ("vllm/m", {"BLOCKYARD_AI_VLLM_BASE_URL": "gpu:8000"}, "VLLM_BASE_URL: expected a URL"),
        ("vllm/m", {"BLOCKYARD_AI_VLLM_BASE_URL": "ftp://gpu/"}, "VLLM_BASE_URL: expected a URL"),
        ("vllm/m", {"BLOCKYARD_AI_VLLM_BASE_URL": "http://gpu:99999"}, "VLLM_BASE_URL: expected a URL"),
        ("vllm/m", VLLM | {"BLOCKYARD_AI_VLLM_PROTOCOL": "grpc"}, "VLLM_PROTOCOL: expected openai or anthropic"),
        ("vllm/m", VLLM | {"BLOCKYARD_AI_VLLM_TIMEOUT_SECONDS": "soon"}, "TIMEOUT_SECONDS: expected seconds"),
        ("vllm/m", VLLM | {"BLOCKYARD_AI_VLLM_TIMEOUT_SECONDS": "nan"}, "TIMEOUT_SECONDS: expected seconds"),
    ],
)
def test_wrong_configuration_says_what_to_set(model: str, environment: dict[str, str], message: str) -> None:
    with pytest.raises(ProviderNotConfigured, match=message):
        choose(model, Access(), environment)


def test_password_in_a_base_url_is_refused_and_not_shown() -> None:
    with pytest.raises(ProviderNotConfigured, match="must hold no user name or password") as failed:
        choose("vllm/m", Access(), {"BLOCKYARD_AI_VLLM_BASE_URL": "https://me:hunter2@gpu/v1"})
    assert "hunter2" not in str(failed.value)


def test_credentials_go_before_the_operators_key() -> None:
    reference = CredentialsReference(id="1", provider="openai", type="api_key")

    provider = choose("gpt-4o", access(reference, MINE), KEYS).provider

    assert provider.key == SecretStr("mine")


def test_credentials_choose_the_provider_of_an_unknown_model() -> None:
    reference = CredentialsReference(id="1", provider="open_router", type="api_key")

    choice = choose("openai/gpt-oss-120b", access(reference, MINE), {})

    assert (choice.provider.name, choice.model) == ("openrouter", "openai/gpt-oss-120b")


@pytest.mark.parametrize(
    ("model", "provider", "model_there"),
    [
        ("openrouter/google/gemini-pro", "open_router", "google/gemini-pro"),
        ("ollama/qwen", "ollama", "qwen"),
        ("openai/gpt-oss-120b", "groq", "openai/gpt-oss-120b"),
    ],
)
def test_a_prefix_that_names_the_credentials_provider_is_no_part_of_the_model(
    model: str, provider: str, model_there: str
) -> None:
    reference = CredentialsReference(id="1", provider=provider, type="api_key")

    assert choose(model, access(reference, MINE), {}).model == model_there


def test_credentials_for_another_provider_go_nowhere() -> None:
    reference = CredentialsReference(id="1", provider="groq", type="api_key")

    with pytest.raises(ProviderNotConfigured, match="are for groq, but gpt-4o is a model of openai"):
        choose("gpt-4o", access(reference, MINE), KEYS)


@pytest.mark.parametrize("key", ["sk-a b", "sk-a\nb", "sk-é", " "])
def test_key_that_cannot_be_sent_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ProviderNotConfigured, match="the key holds a space") as failed:
        access(None, ApiKeyCredentials(api_key=SecretStr(key)))
    assert key.strip() == "" or key not in str(failed.value)
    with pytest.raises(ProviderNotConfigured, match="BLOCKYARD_AI_OPENAI_KEY: the key holds a space"):
        choose("gpt-4o", Access(), {"BLOCKYARD_AI_OPENAI_KEY": key})


def test_line_break_behind_a_key_is_left_out() -> None:
    choice = choose("gpt-4o", Access(), {"BLOCKYARD_AI_OPENAI_KEY": "sk-a\n"})

    assert choice.provider.key == SecretStr("sk-a")


def test_the_vaults_word_on_the_provider_goes_before_the_graphs() -> None:
    reference = CredentialsReference(id="1", provider="openai", type="api_key")

    with pytest.raises(ProviderNotConfigured, match="are for groq, but gpt-4o is a model of openai"):
        choose("gpt-4o", access(reference, ApiKeyCredentials(api_key=SecretStr("mine"), provider="groq")), KEYS)


@pytest.mark.parametrize(
    "model",
    [
        *KNOWN_MODELS,
        *EMBEDDING_MODELS,
        "claude-next",
        "gpt-9",
        "chatgpt-9",
        "o7-mini",
        "ollama/qwen",
        "open_router/m",
        "groq/m",
    ],
)
def test_the_model_picks_the_credential_of_who_is_asked(model: str) -> None:
    wanted = CredentialsRequirement.of_schema(AITextGeneratorBlock.Input.jsonschema()["properties"]["credentials"])
    assert wanted is not None

    (provider,) = wanted.providers_for(model)

    assert provider in wanted.providers
    mine = ApiKeyCredentials(api_key=SecretStr("mine"), provider=provider)
    assert choose(model, access(None, mine), {}).provider.name == provider


def test_a_model_whose_name_tells_nothing_takes_the_credential_of_any() -> None:
    wanted = AITextGeneratorBlock.Input.get_credentials_fields()["credentials"]

    assert wanted.providers_for("openai/gpt-oss-120b") == wanted.providers


@pytest.mark.parametrize(
    ("host", "environment", "base_url"),
    [
        ("localhost:11434", {}, "http://localhost:11434/v1"),
        ("localhost:11434", {"BLOCKYARD_AI_OLLAMA_BASE_URL": "http://gpu:1/v1"}, "http://gpu:1/v1"),
        ("gpu:1", {"BLOCKYARD_AI_OLLAMA_BASE_URL": "http://gpu:1/v1"}, "http://gpu:1/v1"),
        ("other:2", {"BLOCKYARD_AI_OLLAMA_HOSTS": "third:3, other:2"}, "http://other:2/v1"),
    ],
)
def test_ollama_server_is_one_of_the_operators(host: str, environment: dict[str, str], base_url: str) -> None:
    assert choose("ollama/llama3", Access(ollama_host=host), environment).provider.base_url == base_url


def test_graph_cannot_name_a_server_of_its_own() -> None:
    with pytest.raises(ProviderNotConfigured, match=r"ollama_host: '169\.254\.169\.254' is not one"):
        choose("ollama/llama3", Access(ollama_host="169.254.169.254"), {})


def test_other_models_do_not_look_at_the_ollama_host() -> None:
    assert (
        choose("gpt-4o", Access(ollama_host="169.254.169.254"), KEYS).provider.base_url == BUILT_IN["openai"].base_url
    )


@pytest.mark.parametrize("model", sorted(KNOWN_MODELS))
def test_known_model_can_be_asked(model: str) -> None:
    known = KNOWN_MODELS[model]

    assert choose(model, Access(), KEYS).provider.name == known.provider
    assert 0 < known.max_output_tokens <= known.context_tokens
    assert 0 < known.input_price <= known.output_price


def test_cost_is_counted_for_a_million_tokens() -> None:
    assert cost_usd(KNOWN_MODELS["gpt-4o"], 1_000_000, 500_000) == 7.5


def test_who_has_no_key_is_told_who_may_give_one() -> None:
    assert choose("gpt-4o", Access("openai", SecretStr("key")), {}).provider.name == "openai"
    with pytest.raises(ProviderNotConfigured, match="give the block credentials, if it takes any, or an operator sets"):
        choose("gpt-4o", Access(), {})


@pytest.mark.parametrize("block", ASKING, ids=lambda block: block.name)
def test_blocks_that_ask_models_take_keys_of_users_and_so_are_available_without_an_operators(
    block: Block, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("BLOCKYARD_AI_")]:
        monkeypatch.delenv(name)
    assert block.unavailable_reason() == ""
    assert "credentials" in block.input_schema.model_fields


@pytest.mark.parametrize(
    "environment",
    [
        {"BLOCKYARD_AI_GROQ_KEY": "key"},
        VLLM,
        {"BLOCKYARD_AI_OLLAMA_HOSTS": "gpu:1"},
        {"BLOCKYARD_AI_DEFAULT_PROVIDER": "ollama"},
        {"BLOCKYARD_AI_MODEL_ALIASES": "gpt-4o=ollama/llama3"},
    ],
)
def test_with_anything_of_a_provider_set_models_can_be_asked(environment: dict[str, str]) -> None:
    assert unavailable_reason(environment) == ""


@pytest.mark.parametrize(
    "environment",
    [{}, {"BLOCKYARD_AI_OPENAI_KEY": ""}, {"BLOCKYARD_AI_OPENAI_TIMEOUT_SECONDS": "3"}, {"OPENAI_API_KEY": "key"}],
)
def test_without_a_provider_it_is_said_what_an_operator_sets(environment: dict[str, str]) -> None:
    reason = unavailable_reason(environment)

    assert reason.startswith("no provider of models is configured: an operator sets, for runners, the key of one")
    assert "BLOCKYARD_AI_OPENAI_KEY" in reason
    assert "BLOCKYARD_AI_OLLAMA_BASE_URL=http://localhost:11434/v1" in reason


def test_what_is_named_there_makes_them_available() -> None:
    named = "BLOCKYARD_AI_OLLAMA_BASE_URL=http://localhost:11434/v1"
    assert named in unavailable_reason({})
    assert unavailable_reason(dict([named.split("=")])) == ""


def test_the_block_that_takes_no_key_of_a_user_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BLOCKYARD_AI_")]:
        monkeypatch.delenv(name)
    assert AIResponseBlock().unavailable_reason() == unavailable_reason({})
    monkeypatch.setenv("BLOCKYARD_AI_OPENAI_KEY", "key")
    assert AIResponseBlock().unavailable_reason() == ""
