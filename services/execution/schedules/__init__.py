"""Starts that come by the clock: cron, calendars, policies, and the scheduler that every replica runs."""
