"""The edge: Envoy's configuration, made from one file and from the contract. Envoy serves; nothing of ours does."""
