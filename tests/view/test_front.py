# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Who is let in: token, Host, Origin, and the door behind the door."""

from __future__ import annotations

import asyncio
import socket
import urllib.error
import urllib.request
from collections.abc import Coroutine
from typing import Any

import aiohttp
import pytest
import viser
from g2vlm_view.front import Front

from tests.view.viewed import Viewed

COOKIE = {"Cookie": "g2vlm_view_{port}=t0ken"}


def get(viewed: Viewed, path: str, **headers: str) -> tuple[int, str]:
    """Status and text of a request; `port` stands for the front's."""
    port = viewed.front.port
    filled = {name: value.format(port=port) for name, value in headers.items()}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=filled)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 20.0))


@pytest.mark.parametrize(
    "path", ["/", "/scene/a/", "/scene/a", "/live", "/picture/depth", "/page/app.js"]
)
def test_nothing_is_served_without_the_token(viewed: Viewed, path: str) -> None:
    status, text = get(viewed, path)
    assert (status, "open the address" in text) == (403, True)
    status, _ = get(viewed, path, Cookie="g2vlm_view_{port}=wrong")
    assert status == 403


def test_the_token_becomes_a_cookie_that_scripts_do_not_see(viewed: Viewed) -> None:
    async def opened() -> None:
        async with aiohttp.ClientSession() as session:
            async with session.get(viewed.front.url, allow_redirects=False) as answer:
                assert (answer.status, answer.headers["Location"]) == (303, "/")
                cookie = answer.headers["Set-Cookie"]
                assert "HttpOnly" in cookie
                assert "SameSite=Strict" in cookie
            jar = {f"g2vlm_view_{viewed.front.port}": "t0ken"}
            async with session.get(f"http://127.0.0.1:{viewed.front.port}/", cookies=jar) as answer:
                assert answer.status == 200
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'self'" in policy
                assert "http:" not in policy.replace("ws:", "")

    run(opened())


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"Origin": "http://evil.example"}, "another page"),
        ({"Origin": "http://127.0.0.1:1"}, "another page"),
        ({"Origin": "null"}, "another page"),
        ({"Host": "evil.example:{port}"}, "another host"),
        ({"Host": "127.0.0.1:1"}, "another host"),
        ({"Host": "192.168.1.1:{port}"}, "another host"),
    ],
)
def test_other_pages_and_names_are_refused_even_with_the_token(
    viewed: Viewed, headers: dict[str, str], why: str
) -> None:
    status, text = get(viewed, "/page/app.js", **COOKIE, **headers)
    assert (status, why in text) == (403, True), text


def test_the_own_page_is_let_in_by_every_name_of_this_machine(viewed: Viewed) -> None:
    for name in ("127.0.0.1", "localhost"):
        host = f"{name}:{viewed.front.port}"
        status, _ = get(viewed, "/page/app.js", **COOKIE, Host=host, Origin=f"http://{host}")
        assert status == 200


def test_behind_an_address_that_others_reach_numbers_are_names_and_words_are_not(
    viewed: Viewed,
) -> None:
    front = Front(viewed.session, 1, "", host="0.0.0.0", port=8080, token="t")
    assert front.refusal("192.168.1.7:8080", None, "t") == ""
    assert front.refusal(f"{socket.gethostname()}:8080", None, "t") == ""
    assert "another host" in front.refusal("evil.example:8080", None, "t")
    assert "token" in front.refusal("192.168.1.7:8080", None, "")


@pytest.mark.parametrize("path", ["/live", "/scene/a"])
def test_a_foreign_page_gets_no_connection(viewed: Viewed, path: str) -> None:
    async def tried() -> int:
        url = f"ws://127.0.0.1:{viewed.front.port}{path}"
        headers = {
            "Origin": "http://evil.example",
            "Cookie": COOKIE["Cookie"].format(port=viewed.front.port),
        }
        async with aiohttp.ClientSession() as session:
            try:
                async with session.ws_connect(url, headers=headers):
                    return 101
            except aiohttp.WSServerHandshakeError as error:
                return error.status

    assert run(tried()) == 403


async def _from_viser(url: str, headers: dict[str, str]) -> int:
    """Size of the first thing that viser's protocol sends; 0 where it closes at once."""
    protocol = f"viser-v{viser.__version__}"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, protocols=(protocol,), headers=headers, max_msg_size=0) as line,
    ):
        message = await line.receive(timeout=10)
        is_content = message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT)
        return len(message.data) if is_content else 0


def test_viser_itself_sends_nothing_to_who_comes_not_through_the_door(viewed: Viewed) -> None:
    inner = f"ws://127.0.0.1:{viewed.server.get_port()}/"
    assert run(_from_viser(inner, {})) == 0
    assert run(_from_viser(inner, {"Origin": "http://evil.example"})) == 0
    through = f"ws://127.0.0.1:{viewed.front.port}/scene/a"
    cookie = {"Cookie": COOKIE["Cookie"].format(port=viewed.front.port)}
    assert run(_from_viser(through, cookie)) > 100


def test_commands_that_are_none_get_an_answer(viewed: Viewed) -> None:
    wrong = ["", "[]", "7", '{"id": 1}', '{"id": 1, "do": "fly"}', '{"id": 1, "do": []}']
    for words in wrong:
        answer = viewed.front._do(words)
        assert answer["ok"] is False
        assert answer["text"], words
    assert viewed.front._do('{"id": 3, "do": "look", "mode": "blue"}')["text"].startswith("mode is")


def test_a_port_that_is_taken_is_an_error(viewed: Viewed) -> None:
    other = Front(viewed.session, 1, "", port=viewed.front.port)
    with pytest.raises(OSError, match="in use"):
        other.start()
