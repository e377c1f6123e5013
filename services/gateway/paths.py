"""Paths of REST: the templates of the contract as patterns that Envoy's routes match."""

import re
from collections.abc import Iterable

from services.gateway.contract import PublicMethod

_VARIABLE = re.compile(r"\{[^}]*\}")
_SHAPE = "{}"


def pattern(template: str) -> str:
    """The pattern of a template: `/api/graphs/{graph_id}:stop` is `/api/graphs/[^/]+:stop`."""
    return "[^/]+".join(re.escape(part) for part in _VARIABLE.split(template))


def shape(template: str) -> str:
    """The template without the names of its variables: what two methods on one path have in common."""
    return _VARIABLE.sub(_SHAPE, template)


def by_shape(methods: Iterable[PublicMethod]) -> dict[str, dict[str, PublicMethod]]:
    """The methods on each path by verb, the path that says more before one that would match it too."""
    found: dict[str, dict[str, PublicMethod]] = {}
    for method in methods:
        for binding in method.bindings:
            found.setdefault(shape(binding.path), {})[binding.verb] = method
    return dict(sorted(found.items(), key=lambda item: _order(item[0])))


def _order(path: str) -> tuple[bool, list[bool], str]:
    """A verb behind a colon first, then words before variables, from the left."""
    return ":" not in path, [segment == _SHAPE for segment in path.split("/")], path
