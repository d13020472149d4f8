# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Draws the pictures of docs/images that this project's own runs make.

python scripts/write_docs_images.py map out/demo/map.g2map    # map.svg; `make demo` writes the map
python scripts/write_docs_images.py view demo/drive.mcap      # view.webp, moving; needs Chromium
python scripts/write_docs_images.py report out/demo/report.html  # report.png; needs Chromium
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
SIZE: Any = {"width": 1120, "height": 630}
REPORT: Any = {"width": 1120, "height": 1480}
SHOTS, LAST_MS, SHOT_MS, QUALITY = 18, 4000, 500, 62
QUESTION = "How far away is A?"
CHROMIUM = (  # draws without a graphics card
    "--no-sandbox",
    "--enable-unsafe-swiftshader",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--ignore-gpu-blocklist",
)


def main() -> None:
    """Read what the command line names, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=("map", "report", "view"))
    parser.add_argument("source", type=Path, help="map.g2map or report.html of a replay; a bag")
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the pictures")
    chosen = parser.parse_args()
    if chosen.what == "view":
        write_moving(moments_of(chosen.source), chosen.out / "view.webp")
    elif chosen.what == "report":
        (chosen.out / "report.png").write_bytes(explored(chosen.source))
    elif drawn := plan(chosen.source):
        (chosen.out / "map.svg").write_bytes(drawn)
    else:
        parser.error(f"{chosen.source} is not in metres, or nobody said where its camera sits")


def plan(path: Path) -> bytes | None:
    """The map from above, as SVG."""
    from g2vlm_replay.report import plan_of

    from g2vlm_map.mapping.store import load_map

    return plan_of(load_map(path).world)


def explored(report: Path) -> bytes:
    """The top of a replay's report as PNG, at the first question that was answered right."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = _browser(playwright)
        page = browser.new_page(viewport=REPORT)
        page.goto(report.resolve().as_uri())
        page.wait_for_selector("#explore[data-drawn=true]")
        right = page.locator("#x-questions button", has_text="right")
        if right.count():
            right.first.evaluate("button => button.click()")  # a mouse would scroll to it
        page.wait_for_timeout(2000)  # drawn by the processor
        taken = page.screenshot()
        browser.close()
    small = io.BytesIO()
    Image.open(io.BytesIO(taken)).convert("RGB").quantize(256).save(small, "PNG", optimize=True)
    return small.getvalue()


def _browser(playwright: Any) -> Any:
    return playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(CHROMIUM))


def moments_of(bag: Path) -> list[bytes]:
    """PNG pictures of the page of `g2vlm view` while a bag's map grows; the last has an answer."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "g2vlm_model.cli", "view", str(bag), "--paused"]
    command += ["--no-browser", "--port", "0", "--speed", "0", "--points", "90000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            if found is None:
                raise RuntimeError("`g2vlm view` gave no address")
            with sync_playwright() as playwright:
                browser = _browser(playwright)
                page = browser.new_page(viewport=SIZE, bypass_csp=True)
                page.set_default_timeout(300_000)
                page.goto(found[0])
                shots = _grown(page)
                browser.close()
        finally:
            process.terminate()
    return shots


def _grown(page: Any) -> list[bytes]:
    page.wait_for_function("state !== null")
    total = page.evaluate("state.playing.total")
    shots = []
    for shot in range(1, SHOTS + 1):
        frames = total * shot // SHOTS
        page.evaluate(
            "(n) => { for (; n > 0; n--) tell('step'); }", frames - total * (shot - 1) // SHOTS
        )
        page.wait_for_function("(n) => state.playing.frames >= n", arg=frames)
        shots.append(_shot(page))
        print(f"{shot} of {SHOTS}: {page.locator('#counts').inner_text()}", file=sys.stderr)
    picture = page.locator("#keyframe").bounding_box()
    page.mouse.click(picture["x"] + 0.5 * picture["width"], picture["y"] + 0.6 * picture["height"])
    page.wait_for_function("state.marks.length > 0")
    page.locator("#question").fill(QUESTION)
    page.locator("#send").click()
    page.wait_for_function("state.answers.length > 0")
    page.locator("#answers").scroll_into_view_if_needed()
    return [*shots, _shot(page)]


def _shot(page: Any) -> bytes:
    if page.evaluate("state.map.keyframes > 0"):
        page.evaluate("tell('fit', { page: PAGE })")
    page.wait_for_timeout(2000)  # what was sent is drawn by the processor
    taken: bytes = page.screenshot()
    return taken


def write_moving(shots: list[bytes], path: Path) -> None:
    """One animated WebP, repeated for ever."""
    from PIL import Image

    first, *others = [Image.open(io.BytesIO(shot)).convert("RGB") for shot in shots]
    lasts = [SHOT_MS] * len(others) + [LAST_MS]
    first.save(
        path, save_all=True, append_images=others, duration=lasts, loop=0, quality=QUALITY, method=4
    )


if __name__ == "__main__":
    main()
