"""What a refusal tells to do."""

from pathlib import Path

import pytest
from blockyard.sandbox.advice import refusal

SETTINGS = [
    ("user/max_user_namespaces", "0", "500", "sysctl -w user.max_user_namespaces=10000"),
    ("kernel/unprivileged_userns_clone", "0", "1", "sysctl -w kernel.unprivileged_userns_clone=1"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "0", "kernel.apparmor_restrict_unprivileged_userns=0"),
]


@pytest.mark.parametrize(("name", "closed", "open_", "advice"), SETTINGS)
def test_setting_that_refuses_is_named(name: str, closed: str, open_: str, advice: str, tmp_path: Path) -> None:
    setting = tmp_path / name
    setting.parent.mkdir()
    setting.write_text(closed + "\n")
    assert advice in refusal("why", tmp_path)

    setting.write_text(open_ + "\n")

    assert advice not in refusal("why", tmp_path)
    assert "in a container" in refusal("why", tmp_path)


def test_refusal_says_what_was_wrong(tmp_path: Path) -> None:
    assert refusal("bwrap: no", tmp_path).startswith(
        "code cannot run here without protection, and no sandbox could be set up (bwrap: no). To do: in a container, "
    )
