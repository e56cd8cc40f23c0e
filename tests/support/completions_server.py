"""A real HTTP server with OpenAI's protocols: completions by an exported model, chat by a function.

It can fail on request. The model is run with onnxruntime and sampled with a few lines of NumPy, independent of the code
under test.
"""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


class CharacterModel:
    """An exported language model of characters."""

    def __init__(self, path: Path) -> None:
        self.session = onnxruntime.InferenceSession(str(path))
        properties = self.session.get_modelmeta().custom_metadata_map
        self.characters: list[str] = ["", *json.loads(properties["vocabularies"])["char"]]
        self.length = json.loads(properties["architecture"])["seq_length"]

    def probabilities(self, text: str) -> list[float]:
        ids = [self.characters.index(char) if char in self.characters else 0 for char in text][-self.length :]
        window = np.zeros((1, self.length), np.int64)
        window[0, -len(ids) :] = ids
        feed = {"char": window, "n_events": np.array([len(ids)])}
        found: list[float] = self.session.run(["char_probabilities"], feed)[0][0, -1].astype(float).tolist()
        return found

    def draw(self, text: str, body: dict[str, Any], generator: random.Random) -> str:
        shares = self.probabilities(text)
        temperature = body.get("temperature", 1.0)
        powers = {id: share ** (1 / temperature) for id, share in enumerate(shares) if share > 0}
        best = max(powers.values())
        kept = {id: power for id, power in powers.items() if power >= body.get("min_p", 0.0) * best}
        ranked = sorted(kept, key=lambda id: -kept[id])
        if body.get("top_k", 0) > 0:
            ranked = ranked[: body["top_k"]]
        nucleus, total = [], sum(kept[id] for id in ranked)
        for id in ranked:
            nucleus.append(id)
            if sum(kept[one] for one in nucleus) >= body.get("top_p", 1.0) * total:
                break
        return self.characters[generator.choices(nucleus, [kept[id] for id in nucleus])[0]]

    def complete(self, body: dict[str, Any]) -> str:
        generator = random.Random(f"{body['seed']}:{body['prompt']}")
        text: str = body["prompt"]
        for _ in range(body["max_tokens"]):
            text += self.draw(text, body, generator)
        return text[len(body["prompt"]) :]


def chat_of(score: Callable[[str, str], Any]) -> Callable[[dict[str, Any]], str]:
    """Return a judge: a JSON object of criteria, computed from (beginning, continuation)."""

    def answer(body: dict[str, Any]) -> str:
        texts = json.loads(body["messages"][-1]["content"])
        return json.dumps(score(texts["beginning"], texts["continuation"]))

    return answer


@dataclass
class Server:
    """What a server answers, and the requests that it received.

    Attributes:
        requests: (path, headers, body) of each request, in order.
        faults: faults of the next requests, in order: a status, (status, headers, body), "hang", "garbage", "cut" or
            "close".
        always: end of a path -> fault of every request to such a path.
    """

    complete: Callable[[dict[str, Any]], str] | None = None
    chat: Callable[[dict[str, Any]], str] | None = None
    owner: str = "llamacpp"
    key: str | None = None
    requests: list[tuple[str, dict[str, str], dict[str, Any] | None]] = field(default_factory=list)
    faults: list[Any] = field(default_factory=list)
    always: dict[str, Any] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    base_url: str = ""

    def bodies(self, path: str) -> list[dict[str, Any]]:
        return [body for where, _, body in self.requests if where.endswith(path) and body is not None]


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: Any) -> None: ...

        def do_GET(self) -> None:
            self.answer(None)

        def do_POST(self) -> None:
            self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def answer(self, body: dict[str, Any] | None) -> None:
            server.requests.append((self.path, dict(self.headers), body))
            server.times.append(time.monotonic())
            fault = next((what for end, what in server.always.items() if self.path.endswith(end)), None)
            if fault is None and server.faults:
                fault = server.faults.pop(0)
            if fault is not None:
                return self.fail(fault)
            if server.key is not None and self.headers["Authorization"] != f"Bearer {server.key}":
                said = f"Incorrect API key provided: {self.headers['Authorization']}"
                return self.send(401, {"error": {"message": said}})
            if self.path == "/v1/models":
                self.send(200, {"object": "list", "data": [{"id": "text", "owned_by": server.owner}]})
            elif self.path == "/v1/completions" and body is not None and server.complete is not None:
                choice = {"index": 0, "text": server.complete(body), "logprobs": None, "finish_reason": "length"}
                self.send(200, {"id": "cmpl-1", "object": "text_completion", "choices": [choice]})
            elif self.path == "/v1/chat/completions" and body is not None and server.chat is not None:
                message = {"role": "assistant", "content": server.chat(body)}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                self.send(200, {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice]})
            else:
                self.send(404, {"error": {"message": f"no such path {self.path}"}})

        def fail(self, fault: Any) -> None:
            if fault == "hang":
                time.sleep(1.5)
                self.close_connection = True
            elif fault == "close":
                self.close_connection = True
            elif fault == "garbage":
                self.send(200, "<html>a proxy says hello</html>")
            elif fault == "cut":
                self.send(200, '{"choices": [', announced=5000)
                self.close_connection = True
            elif isinstance(fault, int):
                self.send(fault, {"error": {"message": "on order"}})
            else:
                status, headers, said = fault
                self.send(status, said, headers)

        def send(
            self, status: int, content: Any, headers: dict[str, str] | None = None, announced: int | None = None
        ) -> None:
            data = (content if isinstance(content, str) else json.dumps(content)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data) if announced is None else announced))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None: ...  # clients that gave up

    http = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    server.base_url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
