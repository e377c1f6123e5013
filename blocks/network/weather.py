"""Blocks that ask for the weather."""

from collections.abc import Mapping
from urllib.parse import urlencode

from blockyard.block import (
    ApiKeyCredentials,
    Block,
    BlockCategory,
    BlockExecutionError,
    BlockOutput,
    BlockSchema,
    Context,
    CredentialsField,
    CredentialsReference,
    Effect,
    SchemaField,
)
from blockyard.block.resources import Factory
from blockyard.egress import Answer, Egress, open_egress

OPEN_WEATHER_MAP = "https://api.openweathermap.org/data/2.5"

_TEST_ANSWERS = {
    "Berlin": Answer(
        200, {}, "", b'{"main": {"temp": 21.66, "humidity": 32}, "weather": [{"description": "overcast"}]}', "utf-8"
    ),
    "Nowhere": Answer(404, {}, "", b'{"message": "city not found"}', "utf-8"),
}


async def _test_fetch(_: Context, query: Mapping[str, str]) -> Answer:
    return _TEST_ANSWERS[query["q"]]


class GetWeatherInformationBlock(Block):
    class Input(BlockSchema):
        location: str = SchemaField(description="A town, or a town and its country.", placeholder="London,GB")
        credentials: CredentialsReference = CredentialsField(
            provider="openweathermap", types=["api_key"], description="A key of OpenWeatherMap."
        )
        use_celsius: bool = SchemaField(description="Degrees Celsius; Fahrenheit otherwise.", default=True)

    class Output(BlockSchema):
        temperature: str = SchemaField(description="The temperature, in degrees.")
        humidity: str = SchemaField(description="The humidity, in percent.")
        condition: str = SchemaField(description="The weather in words.")
        error: str = SchemaField(description="Why the block failed.")

    def __init__(self, base_url: str = OPEN_WEATHER_MAP, open_client: Factory[Egress] = open_egress) -> None:
        """`base_url` is that of OpenWeatherMap's interface; `open_client` opens what it is asked with."""
        self._base_url = base_url
        self._open_client = open_client
        reference = {"id": "5d2f6a0e-1f3b-4c9a-8d57-90c1c7f0a2b3", "provider": "openweathermap", "type": "api_key"}
        super().__init__(
            id="f7a8b2c3-6d4e-5f8b-9e7f-6d4e5f8b9e7f",
            description="Gives the present weather of a place.",
            categories={BlockCategory.SEARCH},
            input_schema=self.Input,
            output_schema=self.Output,
            effect=Effect.IDEMPOTENT,
            test_input=[
                {"location": "Berlin", "credentials": reference},
                {"location": "Berlin", "credentials": reference, "use_celsius": False},
                {"location": "Nowhere", "credentials": reference},
            ],
            test_output=[
                *[("temperature", "21.66"), ("humidity", "32"), ("condition", "overcast")] * 2,
                ("error", "OpenWeatherMap answered with status 404: city not found"),
            ],
            test_mock={"fetch": _test_fetch},
            test_credentials={"credentials": {"api_key": "example"}},
        )

    async def fetch(self, context: Context, query: Mapping[str, str]) -> Answer:
        """Asks for the weather now."""
        async with context.resource(self._open_client) as egress:
            return await egress.fetch("GET", f"{self._base_url}/weather?{urlencode(query)}")

    async def run(self, input_data: Input, context: Context, credentials: ApiKeyCredentials) -> BlockOutput:
        units = "metric" if input_data.use_celsius else "imperial"
        query = {"q": input_data.location, "appid": credentials.api_key.get_secret_value(), "units": units}
        answer = await self.fetch(context, query)
        weather = answer.json()
        if answer.status != 200:
            message = weather.get("message", "") if isinstance(weather, dict) else ""
            raise BlockExecutionError(f"OpenWeatherMap answered with status {answer.status}: {message}")
        try:
            temperature, humidity = weather["main"]["temp"], weather["main"]["humidity"]
            condition = weather["weather"][0]["description"]
        except (KeyError, IndexError, TypeError) as error:
            raise BlockExecutionError("OpenWeatherMap's answer has no weather") from error
        yield "temperature", str(temperature)
        yield "humidity", str(humidity)
        yield "condition", str(condition)
