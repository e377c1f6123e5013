"""The weather, from a server that speaks as OpenWeatherMap does."""

from typing import Any

import pytest
from aiohttp import web
from blockyard.block import BlockError

from blocks.network.weather import GetWeatherInformationBlock
from tests.unit.blocks.web import client_for, outputs_of
from tests.unit.egress.network import http_server

REFERENCE = {"id": "1", "provider": "openweathermap", "type": "api_key"}
KEY = {**REFERENCE, "title": "Mine", "api_key": "the key"}


async def open_weather_map(request: web.Request) -> web.Response:
    """Weather for those who have the key."""
    query = request.query
    if query["appid"] != "the key":
        return web.json_response({"cod": 401, "message": "Invalid API key."}, status=401)
    if query["q"] == "Nowhere":
        return web.json_response({"cod": "404", "message": "city not found"}, status=404)
    if query["q"] == "Page":
        return web.Response(text="<p>Hello", content_type="text/html")
    if query["q"] == "Empty":
        return web.json_response({"main": {"temp": 1, "humidity": 2}, "weather": []})
    temperature = {"metric": 21.5, "imperial": 70.7}[query["units"]]
    sky = {"description": f"clear over {query['q']}"}
    return web.json_response({"main": {"temp": temperature, "humidity": 40}, "weather": [sky]})


async def weather(unlocked: Any = KEY, **inputs: Any) -> dict[str, Any]:
    """What the block gives."""
    async with http_server(open_weather_map) as port:
        block = GetWeatherInformationBlock(f"http://example.com:{port}/data", client_for(port))
        return dict(await outputs_of(block, unlocked, credentials=REFERENCE, **inputs))


@pytest.mark.parametrize(("use_celsius", "temperature"), [(True, "21.5"), (False, "70.7")])
async def test_weather_is_in_the_units_that_were_asked_for(use_celsius: bool, temperature: str) -> None:
    place = "S\u00e3o Paulo,BR & more"
    told = await weather(location=place, use_celsius=use_celsius)
    assert told == {"temperature": temperature, "humidity": "40", "condition": f"clear over {place}"}


async def test_key_is_taken_from_what_the_credentials_give() -> None:
    assert (await weather(KEY, location="Berlin"))["humidity"] == "40"


@pytest.mark.parametrize(
    ("unlocked", "location", "words"),
    [
        (KEY, "Nowhere", "status 404: city not found"),
        ({"api_key": "a wrong key"}, "Berlin", "status 401: Invalid API key"),
        (KEY, "Page", "cannot be read as JSON"),
        (KEY, "Empty", "has no weather"),
        (None, "Berlin", "credentials: missing"),
        ({}, "Berlin", "credentials: expected a credential with api_key"),
    ],
)
async def test_weather_that_cannot_be_had_says_why_without_the_key(unlocked: Any, location: str, words: str) -> None:
    with pytest.raises(BlockError, match=words) as failure:
        await weather(unlocked, location=location)
    assert "key=" not in str(failure.value)
    assert "appid" not in str(failure.value)
