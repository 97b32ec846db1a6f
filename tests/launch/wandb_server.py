"""As much of a W&B server, on 127.0.0.1, as takes runs without tables; it keeps what it gets."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass
class Sent:
    """url: of the server. runs: what was said of every run, by id. files: names by run."""

    url: str = ""
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, set[str]] = field(default_factory=dict)


@contextmanager
def serve_wandb() -> Iterator[Sent]:
    """A server while the context is open."""
    sent = Sent()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            answer = _answer(sent, json.loads(body)) if self.path == "/graphql" else {}
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps({"data": answer}).encode())

        do_GET = do_PUT = do_POST

        def log_message(self, *words: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        sent.url = f"http://127.0.0.1:{server.server_address[1]}"
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield sent
        finally:
            server.shutdown()


def _answer(sent: Sent, asked: dict[str, Any]) -> dict[str, Any]:
    given = asked.get("variables") or {}
    name = asked.get("operationName")
    if name == "UpsertBucket":
        known = sent.runs.setdefault(given["name"], {})
        known |= {k: v for k, v in given.items() if v is not None}
        project = {"id": "p", "name": given["project"], "entity": {"id": "e", "name": "lab"}}
        bucket = {"id": given["name"], "name": given["name"], "project": project}
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}
    if name == "CreateRunFiles":
        sent.files.setdefault(given["run"], set()).update(given["files"])
        files = [{"name": f, "uploadUrl": f"{sent.url}/upload"} for f in given["files"]]
        return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}
    return {"model": None, "serverInfo": {"features": []}}
