"""The contract and its document, read once."""

from typing import Any

import pytest

from tools.openapi.contract import Contract, read_contract
from tools.openapi.document import document


@pytest.fixture(scope="session")
def contract() -> Contract:
    """What stands in proto/."""
    return read_contract()


@pytest.fixture(scope="session")
def made(contract: Contract) -> dict[str, Any]:
    """The document that is made of it."""
    return document(contract)
