"""What is kept of the turns that were told: enough to find each one that was lost, and little of what lies behind."""

from zlib import crc32

from services.notification.trails import Span, Trail


def span(after: int, *turns: bytes) -> Span:
    return Span(after, crc32(b"".join(turns)))


def test_what_was_told_since_the_look_before_the_last_is_kept_with_the_turn_before_it() -> None:
    trail = Trail(span(6, b"six", b"seven"))
    trail.split()
    trail.shorten()
    assert trail.whole == span(6, b"six", b"seven"), "nothing was told"
    trail.add(8, b"eight")
    trail.add(10, b"ten")
    trail.split()
    trail.add(11, b"eleven")
    assert trail.whole == span(6, b"six", b"seven", b"eight", b"ten", b"eleven")
    trail.shorten()
    assert trail.whole == span(9, b"ten", b"eleven")
    trail.split()
    trail.shorten()
    assert trail.whole == span(10, b"eleven")


def test_what_was_told_before_a_look_that_failed_is_kept() -> None:
    trail = Trail(Span(0))
    trail.add(1, b"one")
    trail.add(2, b"two")
    trail.split()
    trail.add(3, b"three")
    trail.split()
    assert trail.whole == span(0, b"one", b"two", b"three")
