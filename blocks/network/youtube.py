"""Blocks for videos of YouTube."""

import asyncio
import json
from collections.abc import Mapping
from urllib.parse import urljoin, urlsplit

from blockyard.block import (
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
    UserPasswordCredentials,
)
from blockyard.block.resources import Factory
from blockyard.egress import Answer, Egress, EgressFailed, ProxyServer, open_egress

from blocks.network.youtube_videos import BLOCKED, Track, consent_of, key_of, text_of, track_of, video_id_of

YOUTUBE = "https://www.youtube.com"
# Webshare's proxies that take another way out for each connection.
WEBSHARE = ("p.webshare.io", 80)
_ROTATING = "-rotate"
_HEADERS = {"Accept-Language": "en-US"}
# The subtitles of this client's player are given without a proof that a browser asks.
_CLIENT = {"clientName": "ANDROID", "clientVersion": "20.10.38"}

_TEST_VIDEOS: Mapping[str, str] = {"dQw4w9WgXcQ": "We are no strangers\nto subtitles", "9bZkp7q19f0": "Hello"}


async def _test_transcript(_: Context, video: str, proxy: ProxyServer | None) -> str:
    if video not in _TEST_VIDEOS:
        raise BlockExecutionError("the video has no subtitles")
    return _TEST_VIDEOS[video]


class TranscribeYoutubeVideoBlock(Block):
    class Input(BlockSchema):
        youtube_url: str = SchemaField(
            title="YouTube URL",
            description="The video: its URL, in any form, or its id.",
            placeholder="https://www.youtube.com/watch?v=dQw4w9WgXcQ",
        )
        credentials: CredentialsReference | None = CredentialsField(
            provider="webshare_proxy",
            types=["user_password"],
            description="User name and password of Webshare's proxies, where YouTube does not answer without one.",
            default=None,
        )

    class Output(BlockSchema):
        video_id: str = SchemaField(description="The id of the video.")
        transcript: str = SchemaField(description="What is said, as its subtitles have it, line by line.")
        error: str = SchemaField(description="Why the block failed.")

    def __init__(
        self,
        base_url: str = YOUTUBE,
        open_client: Factory[Egress] = open_egress,
        webshare: tuple[str, int] = WEBSHARE,
    ) -> None:
        """`base_url` is that of YouTube, `webshare` is the host and port of its proxies."""
        self._base_url = base_url
        self._open_client = open_client
        self._webshare = webshare
        reference = {
            "id": "3f8b1e52-7a0c-4d8e-b6f4-5c9d2a7e1b34",
            "provider": "webshare_proxy",
            "type": "user_password",
        }
        super().__init__(
            id="f3a8f7e1-4b1d-4e5f-9f2a-7c3d5a2e6b4c",
            description="Gives what is said in a video of YouTube, by its subtitles.",
            categories={BlockCategory.SOCIAL, BlockCategory.MULTIMEDIA},
            input_schema=self.Input,
            output_schema=self.Output,
            effect=Effect.IDEMPOTENT,
            test_input=[
                {"youtube_url": "https://www.youtube.com/watch?v=dQw4w9WgXcQ"},
                {"youtube_url": "youtu.be/9bZkp7q19f0?t=5", "credentials": reference},
                {"youtube_url": "https://www.youtube.com/shorts/AAAAAAAAAAA"},
                {"youtube_url": "https://example.com/watch?v=dQw4w9WgXcQ"},
            ],
            test_output=[
                ("video_id", "dQw4w9WgXcQ"),
                ("transcript", "We are no strangers\nto subtitles"),
                ("video_id", "9bZkp7q19f0"),
                ("transcript", "Hello"),
                ("video_id", "AAAAAAAAAAA"),
                ("error", "the video has no subtitles"),
                ("error", lambda message: "names no video" in message),
            ],
            test_mock={"transcript": _test_transcript},
            test_credentials={"credentials": {"username": "webshare user", "password": "example password"}},
        )

    async def transcript(self, context: Context, video: str, proxy: ProxyServer | None) -> str:
        """What the subtitles of the video say."""
        async with context.resource(self._open_client) as egress:
            page = await self._page(egress, video, proxy)
            track = await self._track(egress, video, key_of(page), proxy)
            answer = await self._ask(egress, "GET", self._url_of(track), proxy)
        return await asyncio.to_thread(text_of, answer.body)

    async def _page(self, egress: Egress, video: str, proxy: ProxyServer | None) -> str:
        url = f"{self._base_url}/watch?v={video}"
        page = (await self._ask(egress, "GET", url, proxy)).text()
        if (cookie := consent_of(page)) is not None:
            page = (await self._ask(egress, "GET", url, proxy, headers={"Cookie": cookie})).text()
            if consent_of(page) is not None:
                raise BlockExecutionError("YouTube asks for consent again and again; ask through a proxy")
        return page

    async def _track(self, egress: Egress, video: str, key: str, proxy: ProxyServer | None) -> Track:
        asked = {"context": {"client": _CLIENT}, "videoId": video}
        answer = await self._ask(
            egress,
            "POST",
            f"{self._base_url}/youtubei/v1/player?key={key}",
            proxy,
            headers={"Content-Type": "application/json"},
            body=json.dumps(asked).encode(),
        )
        return track_of(answer.json())

    def _url_of(self, track: Track) -> str:
        """Where the track is: at YouTube, in the older form, which has a text for each line."""
        url = urljoin(self._base_url, track.url.replace("&fmt=srv3", ""))
        if urlsplit(url)[:2] != urlsplit(self._base_url)[:2]:
            raise BlockExecutionError("the subtitles are not at YouTube")
        return url

    async def _ask(
        self,
        egress: Egress,
        method: str,
        url: str,
        proxy: ProxyServer | None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        answer = await egress.fetch(method, url, headers={**_HEADERS, **(headers or {})}, body=body, proxy=proxy)
        if answer.status == 429:
            raise BlockExecutionError(BLOCKED)
        if not 200 <= answer.status < 300:
            raise EgressFailed(f"YouTube answered with status {answer.status}")
        return answer

    async def run(
        self, input_data: Input, context: Context, credentials: UserPasswordCredentials | None = None
    ) -> BlockOutput:
        video = video_id_of(input_data.youtube_url)
        yield "video_id", video
        yield "transcript", await self.transcript(context, video, self._proxy(credentials))

    def _proxy(self, account: UserPasswordCredentials | None) -> ProxyServer | None:
        if account is None:
            return None
        host, port = self._webshare
        return ProxyServer(host, port, account.name.removesuffix(_ROTATING) + _ROTATING, account.key)
