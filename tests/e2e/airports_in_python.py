"""What the airports workflow gives, computed in plain Python: the demo's result is compared with this."""

import csv
import math
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
GRAPH = ROOT / "examples" / "airports.yaml"
DATA = ROOT / "examples" / "data" / "airports.csv"
EARTH_RADIUS_KM = 6371.0088
NODES_A_ROW = 6


def rows() -> list[dict[str, str]]:
    """The table of airports."""
    with DATA.open(encoding="utf-8", newline="") as file:
        return [{name: cell.strip() for name, cell in row.items()} for row in csv.DictReader(file)]


def distance_km(latitude: float, longitude: float, to_latitude: float, to_longitude: float) -> float:
    """The great-circle distance."""
    half_up = math.radians(to_latitude - latitude) / 2
    half_across = math.radians(to_longitude - longitude) / 2
    chord = (
        math.sin(half_up) ** 2
        + math.cos(math.radians(latitude)) * math.cos(math.radians(to_latitude)) * math.sin(half_across) ** 2
    )
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(chord))


def airports(latitude: float, longitude: float, radius_km: float) -> list[dict[str, Any]]:
    """The airports within the radius, in the order of the table."""
    found = []
    for row in rows():
        distance = distance_km(latitude, longitude, float(row["latitude"]), float(row["longitude"]))
        if distance <= radius_km:
            found.append(
                {
                    "airport": f"{row['name']} ({row['iata']}), {row['city'].upper()}",
                    "state": row["state"],
                    "distance_km": distance,
                    "miles": round(distance * 0.621371),
                }
            )
    return found


def nearest(found: list[dict[str, Any]], count: int = 5) -> list[dict[str, Any]]:
    """The first ones by distance; equal ones in the order of the table."""
    return sorted(found, key=lambda airport: airport["distance_km"])[:count]


def states(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row of summary for each state, by its name."""
    by_state: dict[str, list[float]] = {}
    for airport in found:
        by_state.setdefault(airport["state"], []).append(airport["distance_km"])
    return [
        {
            "key": state,
            "count": len(distances),
            "min": min(distances),
            "max": max(distances),
            "mean": math.fsum(distances) / len(distances),
            "sum": math.fsum(distances),
        }
        for state, distances in sorted(by_state.items())
    ]
