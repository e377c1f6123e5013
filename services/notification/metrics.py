"""Prometheus metrics of subscriptions."""

from prometheus_client import Counter, Gauge

OPEN = Gauge("blockyard_subscriptions_open", "Streams of events that are open here", ["way"])
TOLD = Counter("blockyard_events_told", "Events that were told to subscribers", ["way"])
CUT_OFF = Counter("blockyard_subscribers_cut_off", "Subscriptions that ended since they were read too slowly")
FILLED = Counter("blockyard_turns_filled", "Turns that were read from rows, as their messages had not come")
