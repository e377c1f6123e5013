"""`python -m services.execution.retire`: drops what is past retention, once, and ends. No other service need run.

It reads BLOCKYARD_DATABASE_URL, BLOCKYARD_BLOB_URL and the settings of retention, and makes partitions ahead of need.
The execution service does the same every hour; both may run at once.
"""

import argparse
import asyncio
import sys
from datetime import UTC, datetime, timedelta

from services import starting
from services.common import config, database, telemetry
from services.common.blobs import BlobError, BlobStore
from services.common.config import DatabaseSettings, LogSettings
from services.common.database import TROUBLE
from services.common.errors import StartRefused
from services.execution.config import MOST_DAYS, RetentionSettings
from services.execution.large_values import LargeValues
from services.execution.repository.retention import Retention
from services.execution.retiring import archive_of, drop_old


class Settings(RetentionSettings, DatabaseSettings, LogSettings):
    """What it needs of the execution service's settings."""

    blob_url: str = "file:///var/lib/blockyard/blobs"


def main() -> None:
    """Reads the arguments, works, says what it did."""
    starting.end()
    settings = config.load(Settings)
    parser = argparse.ArgumentParser(prog="python -m services.execution.retire", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--days",
        type=float,
        default=settings.retention_days,
        help="drop what ended longer ago than so many days; by default BLOCKYARD_RETENTION_DAYS",
    )
    days = parser.parse_args().days
    if not 0 < days <= MOST_DAYS:
        parser.error(f"--days: must be above 0 and at most {MOST_DAYS:,}")
    telemetry.configure_logs("retire", settings.log_level, settings.log_format)
    try:
        dropped = asyncio.run(_retire(settings, days))
    except (*TROUBLE, BlobError, StartRefused) as error:
        sys.exit(f"Not all that is past retention could be dropped; run it again: {str(error) or type(error).__name__}")
    print(f"{dropped} executions past retention were dropped.")


async def _retire(settings: Settings, days: float) -> int:
    before = datetime.now(UTC) - timedelta(days=days)
    url = settings.database_url.get_secret_value()
    async with database.connect(url, "execution", pool_size=8) as pool:
        await database.wait_for_schema(pool, "execution")
        retention, large_values = Retention(pool), LargeValues(BlobStore(settings.blob_url))
        await retention.make_partitions()
        archive = archive_of(settings.retention_archive_url, pool, large_values)
        return await drop_old(retention, large_values, before, archive=archive)


if __name__ == "__main__":
    main()
