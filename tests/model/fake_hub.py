# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A hub on the loopback address: the routes that fetching a repository needs, and its faults.

The routes and headers are those of the Hugging Face hub's HTTP API: a revision's commit, its tree,
and a file by HEAD and GET with ranges. Weights are "large" files, known by their SHA-256; all else
by git's hash.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c" * 40


def git_hash(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


class FakeHub(ThreadingHTTPServer):
    """Serves folders by repository; a context manager.

    Args:
        repositories: Folders by "ORG/NAME".

    Attributes:
        got: (method, file) of each request for a file.
        ranges: What was asked of files in part.
        breaks: How often the connection breaks after an eighth of a large file.
        wrong: Large files come with another content of the same size.
    """

    daemon_threads = True

    def __init__(self, repositories: dict[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = repositories
        self.got: list[tuple[str, str]] = []
        self.ranges: list[str] = []
        self.breaks = 0
        self.wrong = False
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> FakeHub:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # who is asked breaks off, and so does who asks


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._serve(with_body=False)

    def do_GET(self) -> None:
        self._serve(with_body=True)

    def _serve(self, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/(.+)", path):
            self._api(*found.groups())
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(found[1], found[3], with_body)
        else:
            self._no("EntryNotFound")

    def _api(self, name: str, what: str, revision: str) -> None:
        folder = self.server.repositories.get(name)
        if folder is None:
            self._no("RepoNotFound")
        elif revision not in ("main", "v1", COMMIT):
            self._no("RevisionNotFound")
        elif what == "revision":
            self._json({"id": name, "modelId": name, "sha": COMMIT, "siblings": []})
        else:
            self._json([self._entry(path) for path in sorted(folder.iterdir())])

    def _entry(self, path: Path) -> dict[str, Any]:
        content = path.read_bytes()
        entry: dict[str, Any] = {
            "type": "file",
            "path": path.name,
            "size": len(content),
            "oid": git_hash(content),
        }
        if path.suffix == ".safetensors":
            digest = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 130}
        return entry

    def _file(self, name: str, file: str, with_body: bool) -> None:
        path = self.server.repositories[name] / file
        if not path.is_file():
            self._no("EntryNotFound")
            return
        self.server.got.append((self.command, file))
        content = path.read_bytes()
        large = path.suffix == ".safetensors"
        etag = hashlib.sha256(content).hexdigest() if large else git_hash(content)
        if large and self.server.wrong:
            content = content[:-1] + bytes([content[-1] ^ 1])
        begin = 0
        if asked := self.headers.get("Range"):
            self.server.ranges.append(asked)
            begin = int(asked.removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if begin else 200)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if large:
            self.send_header("X-Linked-Etag", f'"{etag}"')
            self.send_header("X-Linked-Size", str(len(content)))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        if not with_body:
            return
        if large and self.server.breaks > 0:
            self.server.breaks -= 1
            self.wfile.write(content[begin : begin + len(content) // 8])
            self.close_connection = True
            return
        self.wfile.write(content[begin:])

    def _json(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _no(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()
