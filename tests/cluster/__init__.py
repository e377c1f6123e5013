"""A Kubernetes of its own for tests: an API server with the few kinds of objects that sandboxes need, and a kubelet."""
