"""Settings of the execution service: environment variables with the prefix BLOCKYARD_."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.common.config import PREFIX, DatabaseSettings, RateText, ServiceSettings
from services.common.derived_secrets import DerivingKeys

MOST_DAYS = 36_500
"""Of retention. A hundred years are for ever; what is much longer begins before the first date that there is."""


class RetentionSettings(BaseSettings):
    """For how long executions are kept, and what becomes of them then."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True, env_ignore_empty=True)

    retention_days: float = Field(30.0, gt=0, le=MOST_DAYS, description="Ended executions are kept for so long")
    retention_archive_url: str = Field("", description="Where they are written to before they are dropped, if anywhere")


class ExecutionSettings(ServiceSettings, DatabaseSettings, RetentionSettings):
    """What an operator can set. Times in seconds, sizes in bytes."""

    partitions: int = Field(64, ge=1, le=512, description="Partitions of new executions; others there are stay")
    lease_seconds: float = Field(10.0, ge=1, description="A replica that has not renewed for so long is taken over")
    turn_results: int = Field(512, ge=1, description="Most arrivals that one turn of the loop takes in")
    turn_bytes: int = Field(8 << 20, ge=1 << 20, description="Most bytes of results that one turn takes in")
    loaded_executions: int = Field(20_000, ge=1, description="Executions in memory at most; further ones wait as rows")
    unload_after: float = Field(5.0, ge=0, description="Executions that only wait for longer are put out of memory")
    window: float = Field(2.0, gt=0, description="Tasks sent and not ended, at most, by live slot of a pool")
    tasks_per_message: int = Field(8, ge=1, le=64, description="Tasks in a message at most")
    batch_below_ms: float = Field(5.0, ge=0, description="Blocks that run longer travel alone")
    user_concurrency: int = Field(0, ge=0, description="Node executions of a user at a runner at once; 0 is no limit")
    graph_concurrency: int = Field(0, ge=0, description="Node executions of a graph at a runner at once; 0 is no limit")
    unended_executions: int = Field(100_000, ge=0, description="Unfinished executions of a user; 0 is no limit")
    heartbeat_seconds: float = Field(2.0, gt=0, description="How often runners send heartbeats")
    runner_silence: float = Field(7.0, gt=0, description="A runner that has been silent for so long counts as dead")
    task_sends: int = Field(5, ge=1, description="Times that a task is sent before its run counts as lost")
    max_node_executions: int = Field(1_000_000, ge=1, description="Of an execution whose graph sets no limit")
    max_duration: float = Field(7 * 24 * 3600.0, gt=0, description="Of an execution whose graph sets no limit")
    node_timeout: float = Field(300.0, gt=0, description="Of a run whose node and block set no limit")
    credits_enabled: bool = Field(False, description="Whether runs are charged, and starts refused without credits")
    credits_hold: int = Field(1_000, ge=1, description="Credits of a user that a replica holds at the least")
    values_of_user: int = Field(10_000, ge=1, le=1_000_000, description="Values that blocks keep for a user")
    schedules_of_user: int = Field(100, ge=0, description="Schedules of a user")
    schedule_interval: float = Field(60.0, ge=60, description="Shortest time between two due times of a schedule")
    schedule_failures: int = Field(10, ge=1, description="Failed starts in a row that pause a schedule")
    input_bytes: int = Field(4 << 20, ge=1, description="Size of a start's inputs")
    input_depth: int = Field(25, ge=1, description="Nesting of a start's inputs")
    trigger_keys: DerivingKeys = Field(
        SecretStr(""), description="Keys of triggers' secrets, parted by commas: the first makes new ones, all check"
    )
    trigger_rate: RateText = Field("600/minute burst 200", description="Webhooks that a trigger takes; empty is any")
    trigger_payload_bytes: int = Field(1 << 20, ge=1, le=4 << 20, description="Size of a webhook's payload at most")
    trigger_deliveries: int = Field(100, ge=1, le=10_000, description="Latest deliveries of a trigger that are listed")
    user_triggers: int = Field(1_000, ge=1, description="Triggers of a user at most")
    event_bytes: int = Field(64 << 20, ge=1 << 20, description="Events held for publishing; past that rows keep them")
    tasks_stream_bytes: int = Field(1 << 30, ge=1 << 20, description="Size of the stream TASKS")
    results_stream_bytes: int = Field(4 << 30, ge=1 << 20, description="Size of the stream RESULTS")
    events_stream_bytes: int = Field(4 << 30, ge=1 << 20, description="Size of the stream EVENTS")
