"""Sandboxes in Kubernetes: each program runs in a Job of its own, which nothing but the runner speaks with."""
