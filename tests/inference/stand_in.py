"""A stand-in for vLLM and SGLang: their routes and fields on loopback, our own engine behind them.

    with StandIn(directory) as server:
        server.slow = 0.5
        server.die(), server.revive()

No SGLang is at hand, and no real server fails when a test wants it to. It takes exactly the fields
that vLLM's and SGLang's documentation names for the routes that are used (an unknown one is
refused), and does what these say; vLLM itself is tried by `.ci/vllm`.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from skillrl.config.settings import RolloutConfig
from skillrl.inference.base import Generate, Sampling
from skillrl.inference.exports import PROBE, _next_tokens
from skillrl.inference.make import make_local_engine
from skillrl.models import lora, parameters, weights
from skillrl.models.policy import load_params, open_model
from skillrl.parallel.buckets import Buckets
from skillrl.parallel.mesh import make_mesh

SAMPLING = {
    "n", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty",
    "frequency_penalty", "stop", "stop_token_ids", "ignore_eos",
}  # fmt: skip
FIELDS = {
    "/inference/v1/generate": {
        "model", "token_ids", "sampling_params", "stream", "cache_salt", "priority", "request_id",
        "output_mode",
    },
    "/v1/completions": SAMPLING | {
        "model", "prompt", "max_tokens", "min_tokens", "seed", "logprobs", "return_token_ids",
        "add_special_tokens", "stream", "cache_salt",
    },
    "/generate": {
        "input_ids", "sampling_params", "return_logprob", "logprob_start_len", "top_logprobs_num",
        "lora_path", "rid", "stream",
    },
    "/update_weights_from_disk": {
        "model_path", "load_format", "abort_all_requests", "weight_version", "is_async",
        "torch_empty_cache", "keep_pause", "recapture_cuda_graph", "token_step", "flush_cache",
    },
    "/pause_generation": {"mode"},
}  # fmt: skip
"""Route -> the fields that it takes."""

PARAMS = {
    "/inference/v1/generate": SAMPLING | {"max_tokens", "min_tokens", "seed", "logprobs"},
    "/generate": SAMPLING | {"max_new_tokens", "min_new_tokens", "sampling_seed"},
}
"""Route -> the fields of its sampling_params."""


class StandIn:
    """Serves a policy of a Hugging Face directory, as `kind` does.

    Attributes:
      slow: seconds before each answer with tokens.
      invisible: so many directories are not there yet when they are to be loaded.
      lies: a policy to load is not loaded, and that is not said.
      wrong: the label that answers carry; None for the true one.
      ids: whether answers have token ids.
      busy: path -> statuses of its next answers, nothing being done.
      requests: (path, body) of all requests.
    """

    def __init__(
        self,
        directory: Path,
        *,
        kind: str = "vllm",
        adapters: bool = True,
        dev: bool = True,
        scale_out: bool = True,
        processed: bool = False,
        longest: int = 1024,
        response: int = 24,
    ):
        self.kind, self.adapters_on, self.dev, self.scale_out = kind, adapters, dev, scale_out
        self.processed = processed
        self.slow, self.invisible, self.lies = 0.0, 0, False
        self.wrong: str | None = None
        self.ids = True
        self.busy: dict[str, list[int]] = {}
        self.requests: list[tuple[str, Any]] = []
        self.model = open_model(
            directory, make_mesh(devices=jax.devices()[:1]), dtype="float32", attention="xla"
        )
        self._initial = load_params(self.model, directory, dtype="float32")
        self._response = response
        buckets = Buckets.from_limits(
            max_prompt_length=longest, max_response_length=response, growth=2.0,
            prefix=(8,), suffix=(128, longest), cache=(128, longest), response=(), row=(),
        )  # fmt: skip
        rollout = RolloutConfig(
            slots=4, prefix_buckets=(8,), suffix_buckets=(128, longest),
            cache_buckets=(128, longest),
        )  # fmt: skip
        self._engine = make_local_engine(
            self.model.config, rollout, buckets=buckets, max_response_length=response,
            stops=self.model.stop_ids, mesh=self.model.mesh, seed=0,
        )  # fmt: skip
        self._lock = threading.Condition()
        self._waiting: dict[int, tuple[str, Generate, Sampling]] = {}
        self._answers: dict[int, Any] = {}
        self._count = 0
        self._published: Any = None
        self._port = 0
        self._alive = self._ended = False

    # ------------------------------------------------------------------ life

    def __enter__(self) -> StandIn:
        self.revive()
        threading.Thread(target=self._work, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        if self._alive:
            self.die()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def revive(self) -> None:
        """Starts on the port that it had, with the policy that it was started with first."""
        with self._lock:
            self.params, self.version, self.paused = self._initial, "default", False
            self.adapters: dict[str, Any] = {}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._handle(self)

            do_GET = do_POST

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Listener(http.server.ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *_: object) -> None:
                pass  # it was killed

        self._open: set[socket.socket] = set()
        self._server = Listener(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        self._alive = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def die(self) -> None:
        """Ends as by SIGKILL: connections break, and nobody listens."""
        self._alive = False
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._lock.notify_all()

    def asked(self, path: str) -> list[Any]:
        """Bodies of the requests to a path that had one."""
        return [body for at, body in self.requests if at == path and body]

    # ------------------------------------------------------------------ HTTP

    def _handle(self, request: http.server.BaseHTTPRequestHandler) -> None:
        self._open.add(request.connection)
        length = int(request.headers.get("Content-Length", 0))
        body = json.loads(request.rfile.read(length) or b"null")
        path = request.path.partition("?")[0]
        self.requests.append((path, body))
        status, value = self._route(request.command, path, body or {})
        if not self._alive:
            request.close_connection = True
            return
        data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        request.send_response(status)
        kind = "text/plain" if isinstance(value, str) else "application/json"
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def _route(self, method: str, path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        if self.busy.get(path):
            return self.busy[path].pop(0), {"detail": "busy"}
        unknown = body.keys() - FIELDS.get(path, body.keys())
        inner = body.get("sampling_params") or {}
        unknown |= inner.keys() - PARAMS.get(path, inner.keys())
        if unknown:
            return 422, {"detail": f"unknown: {sorted(unknown)}"}
        routes = self._sglang() if self.kind == "sglang" else self._vllm()
        found = routes.get((method, path))
        return found(body) if found else (404, {"detail": "Not Found"})

    def _vllm(self) -> dict[tuple[str, str], Any]:
        routes: dict[tuple[str, str], Any] = {
            ("GET", "/v1/models"): lambda _: (
                200,
                {"data": [{"id": name} for name in ("policy", *self.adapters)]},
            ),
            ("POST", "/v1/completions"): self._completions,
            ("POST", "/tokenize"): lambda body: self.tokens(body),
        }
        if self.scale_out and self.kind == "vllm":
            routes["POST", "/inference/v1/generate"] = self._inference
        if self.adapters_on:
            routes["POST", "/v1/load_lora_adapter"] = self._load_adapter
            routes["POST", "/v1/unload_lora_adapter"] = self._unload_adapter
        if self.dev and self.kind == "vllm":
            routes["POST", "/pause"] = lambda _: self._pause(True)
            routes["POST", "/resume"] = lambda _: self._pause(False)
            routes["GET", "/is_paused"] = lambda _: (200, {"is_paused": self.paused})
            routes["GET", "/weight_info"] = lambda _: (200, {"weight_version": self.version})
            routes["POST", "/update_weight_version"] = self._label
            routes["POST", "/collective_rpc"] = self._rpc
            routes["POST", "/weight_checker"] = self._checker
        return routes

    def _sglang(self) -> dict[tuple[str, str], Any]:
        return {
            ("POST", "/generate"): self._generate,
            ("POST", "/pause_generation"): lambda _: self._pause(True),
            ("POST", "/continue_generation"): lambda _: self._pause(False),
            ("POST", "/update_weights_from_disk"): self._update,
        }

    # ------------------------------------------------------------------ policies

    def _pause(self, paused: bool) -> tuple[int, Any]:
        with self._lock:
            self.paused = paused
            self._lock.notify_all()
        return 200, {"status": "paused" if paused else "resumed"}

    def _label(self, body: Mapping[str, Any]) -> tuple[int, Any]:
        self.version = body["new_version"]
        return 200, {"success": True, "new_version": self.version}

    def _read(self, path: str) -> str:
        if self.invisible:
            self.invisible -= 1
            return f"{path} does not exist"
        if not self.lies:
            self.params = weights.load(
                path, self.model.config, shardings=self.model.shardings, dtype="float32"
            )
        return ""

    def _rpc(self, body: Mapping[str, Any]) -> tuple[int, Any]:
        if body.get("method") != "reload_weights":
            return 400, {"detail": "Missing 'method' in request body"}
        problem = self._read(body["kwargs"]["weights_path"])
        return (500, {"error": problem}) if problem else (200, {"results": [None]})

    def _checker(self, body: Mapping[str, Any]) -> tuple[int, Any]:
        assert body == {"action": "checksum"}
        if self.paused:
            return 409, {"detail": "weight_checker requires an awake, unpaused engine"}
        flat = parameters.flatten(self.params)
        return 200, {
            "checksums": {
                "/".join(path): hashlib.sha256(np.asarray(x).tobytes()).hexdigest()
                for path, x in flat.items()
            }
        }

    def _load_adapter(self, body: Mapping[str, Any]) -> tuple[int, Any]:
        if not {"lora_name", "lora_path"} <= body.keys():
            return 400, {"error": {"message": "Both 'lora_name' and 'lora_path' must be provided."}}
        name, path = body["lora_name"], body["lora_path"]
        if name in self.adapters:
            return 400, {"error": {"message": f"{name} has already been loaded."}}
        if self.invisible or not Path(path).is_dir():
            self.invisible -= 1
            return 404, {"error": {"message": f"No adapter found for {path}"}}
        self.adapters[name] = lora.load(path, self.model.config)
        return 200, f"Success: LoRA adapter '{name}' added successfully."

    def _unload_adapter(self, body: Mapping[str, Any]) -> tuple[int, Any]:
        if self.adapters.pop(body["lora_name"], None) is None:
            return 404, {"error": {"message": "The lora adapter cannot be found."}}
        return 200, "Success"

    def _update(self, body: Mapping[str, Any]) -> tuple[int, Any]:
        if "model_path" not in body:
            return 422, {"detail": "model_path is missing"}
        assert self.paused
        problem = self._read(body["model_path"])
        if not problem:
            self.version = body["weight_version"]
        done = {"success": not problem, "message": problem or "ok", "num_paused_requests": 0}
        return (400 if problem else 200), done

    # ------------------------------------------------------------------ tokens

    def tokens(self, body: Mapping[str, Any]) -> tuple[int, Any]:
        return 200, {"tokens": self.model.tokenizer.encode(body["prompt"])}

    def _inference(self, body: Mapping[str, Any]) -> tuple[int, Any]:
        if "token_ids" not in body:
            return 422, {"detail": "token_ids is missing"}
        params = body["sampling_params"]
        found = self._sample(
            body["model"], body["token_ids"], params, params["seed"], params["max_tokens"]
        )
        if isinstance(found, str):
            return 404, {"error": {"message": found}}
        ids, scores, reason, version = found
        rows = [{"token_id": i, "logprob": s, "rank": 1} for i, s in zip(ids, scores, strict=True)]
        choice = {
            "index": 0,
            "token_ids": ids if self.ids else None,
            "logprobs": {"content": rows},
            "finish_reason": reason,
            "weight_versions": [{"version": version, "start": 0, "end": len(ids)}],
        }
        return 200, {"choices": [choice], "prompt_logprobs": None}

    def _completions(self, body: Mapping[str, Any]) -> tuple[int, Any]:
        found = self._sample(body["model"], body["prompt"], body, body["seed"], body["max_tokens"])
        if isinstance(found, str):
            return 404, {"error": {"message": found}}
        ids, scores, reason, _ = found
        choice: dict[str, Any] = {
            "index": 0,
            "text": "",
            "logprobs": {"token_logprobs": scores, "tokens": ["x"] * len(ids)},
            "finish_reason": reason,
        }
        if self.ids:
            choice |= {"token_ids": ids, "prompt_token_ids": body["prompt"]}
        return 200, {"choices": [choice]}

    def _generate(self, body: Mapping[str, Any]) -> tuple[int, Any]:
        if "input_ids" not in body:
            return 400, {"error": {"message": "Either text or input_ids should be provided."}}
        params = body["sampling_params"]
        found = self._sample(
            "policy", body["input_ids"], params, params["sampling_seed"], params["max_new_tokens"]
        )
        assert not isinstance(found, str)
        ids, scores, reason, version = found
        meta: dict[str, Any] = {
            "output_token_logprobs": [[s, i, None] for i, s in zip(ids, scores, strict=True)],
            "finish_reason": {"type": reason},
        }
        if self.wrong is not None:
            meta["weight_version"] = version
        return 200, {"text": "", "meta_info": meta if self.ids else {}}

    def _sample(
        self, model: str, ids: list[int], fields: Mapping[str, Any], seed: int, most: int
    ) -> Any:
        """Token ids, log-probabilities, why it ended and with which weights; or what is wrong."""
        assert fields.keys() >= SAMPLING
        assert fields["top_k"] == -1
        assert fields["top_p"] == 1.0
        if model != "policy" and model not in self.adapters:
            return f"The model `{model}` does not exist."
        time.sleep(self.slow)
        sampling = Sampling(temperature=fields["temperature"], max_tokens=most)
        request = Generate(tuple(ids[:1]), tuple(ids[1:]), (seed, 0, 0, 0, 0, 0))
        with self._lock:
            while self.paused and self._alive:
                self._lock.wait(0.1)
            self._count += 1
            number = self._count
            self._waiting[number] = (model, request, sampling)
            self._lock.notify_all()
            while number not in self._answers and self._alive:
                self._lock.wait(0.1)
            if not self._alive:
                return [], [], "abort", ""
            answer, params = self._answers.pop(number)
        scores = list(answer.logprobs)
        if self.processed and sampling.temperature not in (0.0, 1.0):
            scores = [self._processed(params, ids, answer.ids[0], sampling.temperature)]
        label = self.wrong if self.wrong is not None else self.version
        return list(answer.ids), scores, "stop" if answer.finished else "length", label

    def _processed(self, params: Any, ids: list[int], token: int, temperature: float) -> float:
        """The log-probability of a token after the temperature, of a beginning of the probe."""
        width = len(self.model.tokenizer.encode(PROBE))
        padded = np.array([*ids, *[0] * (width - len(ids))], np.int32)
        at = np.array([len(ids) - 1], np.int32)
        scores = np.asarray(_next_tokens(params, padded, at, config=self.model.config))[0]
        scores = scores.astype(np.float64) / temperature
        return float(scores[token] - np.log(np.exp(scores).sum()))

    def _work(self) -> None:
        """Answers requests, those of one policy after those of another."""
        accepted: dict[int, Any] = {}
        while not self._ended:
            with self._lock:
                if not accepted and not self._waiting:
                    self._lock.wait(0.05)
                    continue
                if not accepted:
                    model = next(iter(self._waiting.values()))[0]
                    params = self._params(model)
                    if params is not self._published:
                        self._engine.publish(params, 0)
                        self._published = params
                ready: dict[Sampling, dict[int, Generate]] = {}
                for number, (name, request, sampling) in self._waiting.items():
                    if name == model:
                        ready.setdefault(sampling, {})[number] = request
            for sampling, requests in ready.items():
                for number in self._engine.submit(requests, sampling):
                    with self._lock:
                        accepted[number] = self._waiting.pop(number)
            for number, answer in (self._engine.step() if accepted else {}).items():
                del accepted[number]
                with self._lock:
                    self._answers[number] = (answer, params)
                    self._lock.notify_all()

    def _params(self, model: str) -> Any:
        if model == "policy":
            return self.params
        adapter, shape = self.adapters[model]
        key = (id(self.params), model)
        if getattr(self, "_joined_key", None) != key:
            self._joined_key, self._joined = key, lora.join(adapter, self.params, shape)
        return self._joined
