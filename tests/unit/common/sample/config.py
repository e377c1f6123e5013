"""Its settings."""

from typing import Literal

from services.common.config import ServiceSettings


class Settings(ServiceSettings):
    """How it shall behave."""

    behaviour: Literal["serve", "refuse", "crash", "hang-at-start", "task-fails", "hang-at-end"] = "serve"
