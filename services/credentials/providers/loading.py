"""Reads the files of providers: those that come with the vault, and the operator's, which add to them or replace."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from services.common.errors import StartRefused
from services.credentials.providers.definitions import ProviderDefinition

SHIPPED = Path(__file__).parent / "files"
MAX_FILE_BYTES = 64 << 10


def load_definitions(folder: Path | None, shipped: Path = SHIPPED) -> dict[str, ProviderDefinition]:
    """All providers by name. A StartRefused says of everything that is wrong: the file, the field, and what to do."""
    sentences: list[str] = []
    if folder is not None and not folder.is_dir():
        raise StartRefused(f"BLOCKYARD_PROVIDER_FILES: {folder} is no folder; make it, or leave the setting out.")
    found: dict[str, ProviderDefinition] = {}
    for source in [shipped] if folder is None else [shipped, folder]:
        # Names that begin with a dot are the mounts' own.
        for file in sorted(path for path in source.glob("*.yaml") if not path.name.startswith(".")):
            definition = _read(file, sentences)
            if definition is not None:
                found[definition.name] = definition
    if sentences:
        raise StartRefused("The files of providers are not valid:\n  " + "\n  ".join(sentences))
    return found


def _read(file: Path, sentences: list[str]) -> ProviderDefinition | None:
    try:
        content = _parsed(file)
        definition = ProviderDefinition.model_validate(content)
    except ValidationError as error:
        sentences += [f"{file.name}: {_sentence(detail)}" for detail in error.errors(include_url=False)]
        return None
    except (OSError, UnicodeDecodeError) as error:
        sentences.append(f"{file.name}: cannot be read: {error}; write it as UTF-8 text that the service may read.")
        return None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        sentences.append(f"{file.name}: {_one_line(error)}")
        return None
    if definition.name != file.stem:
        sentences.append(f"{file.name}: name: is {definition.name}, so call the file {definition.name}.yaml.")
        return None
    return definition


def _parsed(file: Path) -> Any:  # Any: whatever the file says, until it is validated
    with file.open("rb") as opened:
        content = opened.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"is larger than {MAX_FILE_BYTES} bytes; a provider needs few lines.")
    return yaml.safe_load(content.decode())


def _sentence(detail: ErrorDetails) -> str:
    place = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "missing":
        message = "is missing; add it"
    elif detail["type"] == "extra_forbidden":
        message = "is not known; take it out, or write it as the documentation does"
    else:
        message = detail["msg"].removeprefix("Value error, ").rstrip(".")
        message = message[:1].lower() + message[1:]
    return f"{place}: {message}." if place else f"{message}."


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, ValueError) and text.endswith(".") else f"is no valid YAML: {text[:300]}."
