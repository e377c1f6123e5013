"""Who serves models: a provider is a name, a protocol, a base URL and a key.

Operators configure them by environment variables, for any name: BLOCKYARD_AI_<NAME>_BASE_URL, _KEY, _PROTOCOL (openai
or anthropic), _TIMEOUT_SECONDS (for one answer) and _MAX_WAIT_SECONDS (for all that a server asks to wait).
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from blockyard.block import ApiKeyCredentials, CredentialsReference
from pydantic import SecretStr

from blocks.ai.errors import ProviderNotConfigured
from blocks.ai.models import EMBEDDING_MODELS, KNOWN_MODELS, KnownModel

PREFIX = "BLOCKYARD_AI_"
DEFAULT_TIMEOUT_SECONDS = 300.0
DEFAULT_MAX_WAIT_SECONDS = 60.0


class Protocol(StrEnum):
    """How a provider is talked to."""

    OPENAI = "openai"
    """Chat completions, as OpenAI and nearly all others have it."""
    ANTHROPIC = "anthropic"
    """Anthropic's messages."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider, ready to be asked."""

    name: str
    protocol: Protocol
    base_url: str
    key: SecretStr | None = None
    needs_key: bool = True
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    max_wait_seconds: float = DEFAULT_MAX_WAIT_SECONDS


BUILT_IN = {
    provider.name: provider
    for provider in (
        Provider("openai", Protocol.OPENAI, "https://api.openai.com/v1"),
        Provider("anthropic", Protocol.ANTHROPIC, "https://api.anthropic.com"),
        Provider("groq", Protocol.OPENAI, "https://api.groq.com/openai/v1"),
        Provider("openrouter", Protocol.OPENAI, "https://openrouter.ai/api/v1"),
        Provider("ollama", Protocol.OPENAI, "http://localhost:11434/v1", needs_key=False),
    )
}
# As agent files call them.
_OTHER_NAMES = {"open_router": "openrouter"}
# Models whose names tell the provider, by how they begin.
_BEGINNINGS = {
    "claude": "anthropic",
    "gpt-": "openai",
    "chatgpt-": "openai",
    **{f"o{digit}": "openai" for digit in range(10)},
}
# Before models of theirs; names of others stand before models that several serve: openai/gpt-oss-120b.
_OWN_PREFIXES = ("groq", "ollama", "openrouter", "open_router")
_BASE_URL = re.compile(rf"{PREFIX}(.+)_BASE_URL")
_CONFIGURES = re.compile(rf"{PREFIX}((.+)_(BASE_URL|KEY)|OLLAMA_HOSTS|DEFAULT_PROVIDER|MODEL_ALIASES)")


@dataclass(frozen=True, slots=True)
class Access:
    """What a block's inputs say about who is to be asked."""

    provider: str = ""
    """Of the credentials; empty if there are none."""
    key: SecretStr | None = None
    ollama_host: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """The provider that serves a model, and the model's name there."""

    provider: Provider
    model: str
    known: KnownModel | None
    remarks: list[str] = field(default_factory=list)


def access(reference: CredentialsReference | None, unlocked: ApiKeyCredentials | None, ollama_host: str = "") -> Access:
    """`unlocked` is what the credential gives."""
    if unlocked is None:
        return Access(ollama_host=ollama_host)
    # The vault's word goes before the graph's.
    provider = unlocked.provider or (reference.provider if reference is not None else "")
    return Access(provider, _checked_key(unlocked.api_key.get_secret_value(), "credentials"), ollama_host)


def choose(model: str, access: Access, environment: Mapping[str, str] | None = None) -> Choice:
    """Who serves the model. A ProviderNotConfigured says what an operator has to set."""
    environment = os.environ if environment is None else environment
    asked = _alias(model.strip(), environment)
    name, model_there, known = _provider_of(asked, access, environment)
    provider = provider_named(name, environment)
    if access.key is not None:
        if access.provider and _plain_name(access.provider) != provider.name:
            raise ProviderNotConfigured(
                f"credentials: are for {access.provider}, but {model} is a model of {provider.name}"
            )
        provider = _with(provider, key=access.key)
    if provider.name == "ollama" and access.ollama_host:
        provider = _with(provider, base_url=_ollama_base_url(provider.base_url, access.ollama_host, environment))
    if provider.needs_key and provider.key is None:
        raise ProviderNotConfigured(
            f"{provider.name}: there is no key for it: give the block credentials, if it takes any, "
            f"or an operator sets {_variable(provider.name, 'KEY')}"
        )
    remarks = []
    if asked != model.strip():
        remarks.append(f"{model}: stands for {asked} here")
    if known is None:
        remarks.append(f"{model}: is not in the list of known models; {provider.name} was asked for {model_there!r}")
    return Choice(provider, model_there, known, remarks)


def providers_by_model() -> dict[str, str]:
    """Who serves which models, as far as their names tell, for the pins for credentials: a * stands for any rest."""
    known = {model.name: model.provider for model in (*KNOWN_MODELS.values(), *EMBEDDING_MODELS.values())}
    families = {f"{beginning}*": provider for beginning, provider in _BEGINNINGS.items()}
    prefixed = {f"{prefix}/*": _plain_name(prefix) for prefix in _OWN_PREFIXES}
    return {**families, **prefixed, **known}


def unavailable_reason(environment: Mapping[str, str] | None = None) -> str:
    """Why no model can be asked with an operator's key: nothing of a provider is set. Empty if something is, be it only
    where Ollama is."""
    environment = os.environ if environment is None else environment
    if any(environment.get(name) for name in environment if _CONFIGURES.fullmatch(name)):
        return ""
    return (
        "no provider of models is configured: an operator sets, for runners, the key of one, such as "
        f"{_variable('openai', 'KEY')}, or the base URL of a server that needs none, such as "
        f"{_variable('ollama', 'BASE_URL')}={BUILT_IN['ollama'].base_url}"
    )


def _alias(model: str, environment: Mapping[str, str]) -> str:
    """The model that the operator lets answer for this one; the model itself where there is none."""
    variable = f"{PREFIX}MODEL_ALIASES"
    for pair in filter(None, (part.strip() for part in environment.get(variable, "").split(","))):
        name, equals, other = (part.strip() for part in pair.partition("="))
        if not (name and equals and other):
            raise ProviderNotConfigured(f"{variable}: expected name=model,name=model, got {pair!r}")
        if name == model:
            return other
    return model


def _provider_of(model: str, access: Access, environment: Mapping[str, str]) -> tuple[str, str, KnownModel | None]:
    if not model:
        raise ProviderNotConfigured("model: expected the name of a model, got an empty text")
    if (known := KNOWN_MODELS.get(model) or EMBEDDING_MODELS.get(model)) is not None:
        return known.provider, model, known
    prefix, slash, rest = model.partition("/")
    if access.provider and not (rest and _plain_name(prefix) == _plain_name(access.provider)):
        return _plain_name(access.provider), model, None
    if slash and rest and _plain_name(prefix) in _names(environment):
        known = KNOWN_MODELS.get(rest) or EMBEDDING_MODELS.get(rest)
        return _plain_name(prefix), rest, known if known and known.provider == _plain_name(prefix) else None
    for beginning, provider in _BEGINNINGS.items():
        if model.startswith(beginning):
            return provider, model, None
    return _default_provider(environment), model, None


def _default_provider(environment: Mapping[str, str]) -> str:
    """For models that nobody is known to serve: the one that is named for it, or the only one that is configured."""
    if named := environment.get(f"{PREFIX}DEFAULT_PROVIDER"):
        return _plain_name(named)
    configured = [
        name
        for name in _names(environment)
        if environment.get(_variable(name, "KEY")) or environment.get(_variable(name, "BASE_URL"))
    ]
    return configured[0] if len(configured) == 1 else "openai"


def _names(environment: Mapping[str, str]) -> list[str]:
    """All providers: the built-in ones, and those with a base URL in the environment."""
    own = [found[1].lower() for name in environment if (found := _BASE_URL.fullmatch(name))]
    return sorted({*BUILT_IN, *own})


def provider_named(name: str, environment: Mapping[str, str]) -> Provider:
    """The provider as the environment configures it."""
    name = _plain_name(name)
    built_in = BUILT_IN.get(name)
    base_url = environment.get(_variable(name, "BASE_URL")) or (built_in.base_url if built_in else "")
    if not base_url:
        raise ProviderNotConfigured(
            f"{name}: there is no such provider: an operator sets {_variable(name, 'BASE_URL')}; "
            f"there are {', '.join(_names(environment))}"
        )
    key = environment.get(_variable(name, "KEY"))
    return Provider(
        name=name,
        protocol=_protocol(name, built_in, environment),
        base_url=_checked_url(base_url, _variable(name, "BASE_URL")),
        key=_checked_key(key, _variable(name, "KEY")) if key else None,
        # A server of the operator's own may do without.
        needs_key=built_in.needs_key if built_in else False,
        timeout_seconds=_seconds(name, "TIMEOUT_SECONDS", DEFAULT_TIMEOUT_SECONDS, environment),
        max_wait_seconds=_seconds(name, "MAX_WAIT_SECONDS", DEFAULT_MAX_WAIT_SECONDS, environment),
    )


def _checked_key(key: str, place: str) -> SecretStr:
    """The key, if it can stand in a header. It is not shown."""
    key = key.strip()
    if not re.fullmatch(r"[!-~]+", key):
        raise ProviderNotConfigured(f"{place}: the key holds a space, a line break or a letter that no key has")
    return SecretStr(key)


def _protocol(name: str, built_in: Provider | None, environment: Mapping[str, str]) -> Protocol:
    variable = _variable(name, "PROTOCOL")
    text = environment.get(variable) or (built_in.protocol if built_in else Protocol.OPENAI)
    try:
        return Protocol(text)
    except ValueError:
        raise ProviderNotConfigured(f"{variable}: expected openai or anthropic, got {text!r}") from None


def _seconds(name: str, setting: str, default: float, environment: Mapping[str, str]) -> float:
    variable = _variable(name, setting)
    text = environment.get(variable)
    if not text:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 86_400:
        raise ProviderNotConfigured(f"{variable}: expected seconds above 0 and at most 86400, got {text!r}")
    return seconds


def _checked_url(url: str, variable: str) -> str:
    # The URL itself is not shown: it may hold a password.
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if not sound:
        raise ProviderNotConfigured(f"{variable}: expected a URL such as https://host/v1")
    if parts.username is not None or parts.password is not None:
        raise ProviderNotConfigured(f"{variable}: must hold no user name or password; a key goes into ..._KEY")
    return url.rstrip("/")


def _ollama_base_url(configured: str, host: str, environment: Mapping[str, str]) -> str:
    """A graph may name only the servers that an operator has: anything else would be a way into the network."""
    if host in ("localhost:11434", urlsplit(configured).netloc):
        return configured
    allowed = [item.strip() for item in environment.get(f"{PREFIX}OLLAMA_HOSTS", "").split(",")]
    if host not in allowed:
        raise ProviderNotConfigured(
            f"ollama_host: {host!r} is not one that this installation asks: leave it empty, "
            f"or an operator adds it to {PREFIX}OLLAMA_HOSTS"
        )
    return _checked_url(f"http://{host}/v1", "ollama_host")


def _plain_name(name: str) -> str:
    name = name.strip().lower()
    return _OTHER_NAMES.get(name, name)


def _variable(provider: str, setting: str) -> str:
    return f"{PREFIX}{re.sub(r'[^A-Z0-9]', '_', provider.upper())}_{setting}"


def _with(provider: Provider, *, key: SecretStr | None = None, base_url: str = "") -> Provider:
    return Provider(
        name=provider.name,
        protocol=provider.protocol,
        base_url=base_url or provider.base_url,
        key=key or provider.key,
        needs_key=provider.needs_key,
        timeout_seconds=provider.timeout_seconds,
        max_wait_seconds=provider.max_wait_seconds,
    )
