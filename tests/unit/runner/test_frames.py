"""What a runner and its block processes say to each other."""

import pytest

from services.runner.frames import NO_RUN, PREFIX, Frame, Kind, pack, unpack


@pytest.mark.parametrize("run", [NO_RUN, 1, 2**64 - 1])
def test_a_frame_comes_out_as_it_went_in_with_the_run_it_is_about(run: int) -> None:
    data = pack(Kind.OUTPUT, run, ["value", 3], b'"text"')

    kind, about, header, body = PREFIX.unpack(data[: PREFIX.size])
    rest = data[PREFIX.size :]
    frame = unpack(kind, about, rest[:header], rest[header:])

    assert body == len(frame.body)
    assert frame == Frame(Kind.OUTPUT, run, ["value", 3], b'"text"')
