"""Incoming webhooks: triggers, their secrets, and what becomes of a delivery."""
