"""Prometheus metrics of the ledger."""

from prometheus_client import Counter

CHARGES = Counter(
    "blockyard_ledger_charges",
    "Charges by what became of them: booked, repeated, malformed, or outside of the weeks that are kept",
    ["outcome"],
)
CREDITS_CHARGED = Counter("blockyard_ledger_credits_charged", "Credits of all charges that were booked")
