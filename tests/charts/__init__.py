"""The Helm chart: rendered, looked at, and run as processes."""
