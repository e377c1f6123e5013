"""What an operator sets."""

import pytest
from blockyard.sandbox import SandboxUnavailable
from blockyard.sandbox.config import at_once_from_environment


@pytest.mark.parametrize(("environment", "expected"), [({}, 4), ({"BLOCKYARD_SANDBOXES": " "}, 4)])
def test_four_sandboxes_at_once_unless_an_operator_says_otherwise(environment: dict[str, str], expected: int) -> None:
    assert at_once_from_environment(environment) == expected
    assert at_once_from_environment({"BLOCKYARD_SANDBOXES": "16"}) == 16


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "\u0663"])
def test_what_is_no_number_of_sandboxes_is_said(text: str) -> None:
    with pytest.raises(SandboxUnavailable) as refused:
        at_once_from_environment({"BLOCKYARD_SANDBOXES": text})

    assert str(refused.value) == f"BLOCKYARD_SANDBOXES: expected a whole number from 1 on, got {text!r}"
