"""For how long executions can be said to be kept."""

import pytest

from services.common import config
from services.execution import retire
from services.execution.config import MOST_DAYS, RetentionSettings


@pytest.mark.parametrize("days", ["0", "-1", "nan", "inf", "1e6", "1e300"])
def test_days_that_are_none_or_for_ever_are_refused(
    days: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BLOCKYARD_DATABASE_URL", "postgresql://execution@localhost/blockyard")
    monkeypatch.setattr("sys.argv", ["retire", "--days", days])
    with pytest.raises(SystemExit) as refused:
        retire.main()
    assert refused.value.code == 2
    assert f"--days: must be above 0 and at most {MOST_DAYS:,}" in capsys.readouterr().err

    monkeypatch.setenv("BLOCKYARD_RETENTION_DAYS", days)
    _, problems = config.read(RetentionSettings)
    assert [problem.partition(":")[0] for problem in problems] == ["BLOCKYARD_RETENTION_DAYS"]
