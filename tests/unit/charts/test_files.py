"""What the chart repeats of the code is what the code says."""

import pytest

from tools.chart_files import FILES, contents


@pytest.mark.parametrize("name", contents())
def test_the_chart_has_what_the_code_says(name: str) -> None:
    assert (FILES / name).read_text(encoding="utf-8") == contents()[name], "run: ./task chart"
