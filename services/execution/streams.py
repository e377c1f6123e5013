"""The sizes of the streams, from the settings."""

from services.common.bus import StreamLimits
from services.execution.config import ExecutionSettings


def limits_of(settings: ExecutionSettings) -> StreamLimits:
    """Each stream has a size of its own, so that none chokes another (rule 25)."""
    return StreamLimits(
        tasks_bytes=settings.tasks_stream_bytes,
        results_bytes=settings.results_stream_bytes,
        events_bytes=settings.events_stream_bytes,
    )
