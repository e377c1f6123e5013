"""The laptop stack: PostgreSQL, NATS and the services as processes on loopback.

It starts what it needs by name (`python -m services.<name>`) and imports nothing of the services.
"""

from blockyard.dev.errors import DevelopmentStackError
from blockyard.dev.nats import NatsServer, start_nats
from blockyard.dev.only_stack import StackRuns
from blockyard.dev.postgres import PostgresServer, start_postgres
from blockyard.dev.stack import Stack

__all__ = [
    "DevelopmentStackError",
    "NatsServer",
    "PostgresServer",
    "Stack",
    "StackRuns",
    "start_nats",
    "start_postgres",
]
