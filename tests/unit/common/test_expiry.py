"""When certificates end."""

import datetime
import math
from pathlib import Path

from services.common import expiry
from tests.metrics import value
from tests.stack.certificates import HOUR, Authority

METRIC = "blockyard_certificate_expiry_timestamp_seconds"


def test_the_end_of_a_renewed_certificate_is_told(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.sign("graph", ends=HOUR)
    expiry.watch(pair.certificate)
    first = value(METRIC, of="own")
    assert abs(first - (datetime.datetime.now(datetime.UTC) + HOUR).timestamp()) < 60
    authority.sign("graph", ends=2 * HOUR)
    assert value(METRIC, of="own") - first > 3500


def test_a_file_without_a_certificate_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "none").write_text("none")
    assert math.isnan(expiry.end_of(tmp_path / "none"))
    assert math.isnan(expiry.end_of(tmp_path / "missing"))
