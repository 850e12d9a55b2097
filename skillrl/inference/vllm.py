"""Speaks with vLLM, and with other servers that take token ids on ``/v1/completions``.

Routes and fields of vLLM 0.32, tried against it: ``/inference/v1/generate`` (served with
``--enable-scale-out``) says which weights sampled which tokens, ``/v1/completions`` does not.
Whole policies are read by ``/collective_rpc`` ``reload_weights`` (``VLLM_SERVER_DEV_MODE=1``),
adapters by ``/v1/load_lora_adapter`` (``--enable-lora`` and
``VLLM_ALLOW_RUNTIME_LORA_UPDATING=True``).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.inference import dialect
from skillrl.inference.dialect import (
    Ask,
    Malformed,
    Offers,
    Reply,
    check_busy,
    check_status,
    check_well,
    make_reply,
)
from skillrl.net.service import Service, Told

_LOG = logging.getLogger(__name__)

_NOT_THERE = (403, 404, 405, 501)


class Completions:
    """Speaks what OpenAI-compatible servers share: completions of ids, adapters by name.

    Attributes:
      name: of the kind, for messages.
      service: the server.
    """

    name = "openai"

    def __init__(
        self,
        service: Service,
        *,
        model: str,
        stops: Sequence[int],
        sleep: Callable[[float], None] = time.sleep,
    ):
        """Asks nothing yet.

        Args:
          service: the server.
          model: what it calls its own policy.
          stops: the tokens that end a response.
          sleep: how to pause, in seconds.
        """
        self.service = service
        self._model, self._stops, self._sleep = model, tuple(stops), sleep

    def look(self) -> Offers:
        """Asks what the server offers; see `Dialect`."""
        self._check_model()
        return Offers(
            weights="it takes no whole policies: train an adapter (lora.rank) on the policy that "
            "it was started with, or use rollout.engine=vllm or sglang",
            adapters=self._adapters(),
        )

    def generate(self, ask: Ask) -> Reply:
        """Samples one response; see `Dialect`."""
        told = check_status(
            self.service.post(
                "/v1/completions",
                {
                    "model": ask.model,
                    "prompt": list(ask.ids),
                    "max_tokens": ask.sampling.max_tokens,
                    "min_tokens": 0,
                    "seed": ask.seed,
                    "logprobs": 0,
                    "return_token_ids": True,
                    "add_special_tokens": False,
                    "stream": False,
                    "cache_salt": ask.salt,
                    **dialect.sampling_fields(ask.sampling, self._stops),
                },
            ),
            f"{self.service.shown}/v1/completions",
        )
        choice = self._choice(told)
        prompt = choice.get("prompt_token_ids")
        if prompt is not None and prompt != list(ask.ids):
            raise Malformed("the prompt that was completed is not the one that was sent")
        scores = choice.get("logprobs")
        return make_reply(
            choice.get("token_ids"),
            scores.get("token_logprobs") if isinstance(scores, dict) else scores,
            reason=choice.get("finish_reason"),
            ask=ask,
            stops=self._stops,
            versions=choice.get("weight_versions"),
        )

    def load_weights(self, path: str, version: str) -> None:
        """Is not offered.

        Raises:
          SkillRLError: always.
        """
        raise SkillRLError(f"{self.service.shown}: takes no whole policy ({path}).")

    def load_adapter(self, path: str, name: str) -> None:
        """Adds a LoRA adapter; waits where the server's machine does not see it yet.

        A name that is loaded already is ours, and so is its content, since the name has its hash.

        Raises:
          SkillRLError: it could not.
        """
        dialect.load_patiently(
            lambda: self.service.post(
                "/v1/load_lora_adapter",
                {"lora_name": name, "lora_path": path},
                timeout=dialect.LOADING,
            ),
            what=f"the adapter {path}",
            service=self.service,
            sleep=self._sleep,
            loaded=lambda told: told.good or bool(self.has_model(name)),
            again=lambda told: told.status == 404,
            advice="--max-lora-rank must be at least lora.rank",
        )

    def unload_adapter(self, name: str) -> None:
        """Forgets an adapter; see `Dialect`."""
        told = self.service.post("/v1/unload_lora_adapter", {"lora_name": name})
        if not told.good and told.status != 404:
            _LOG.warning("%s keeps the adapter %s: %s", self.service.shown, name, told.text)

    def version(self) -> str | None:
        """Returns None: such a server does not say."""
        return None

    def has_model(self, name: str) -> bool | None:
        """Tells whether the server lists a model or adapter."""
        return name in self._models()

    def tokenise(self, text: str) -> list[int] | None:
        """Returns the server's token ids of a text, where it has the route of vLLM."""
        told = self.service.post(
            "/tokenize", {"model": self._model, "prompt": text, "add_special_tokens": False}
        )
        return told["tokens"] if told.good else None

    def _models(self) -> dict[str, Any]:
        told = check_status(self.service.get("/v1/models"), f"{self.service.shown}/v1/models")
        rows = told["data"] if isinstance(told["data"], list) else []
        return {row["id"]: row for row in rows if isinstance(row, dict) and "id" in row}

    def _check_model(self) -> None:
        try:
            models = self._models()
        except dialect.Astray as error:
            raise SkillRLError(
                f"{error}. Is this an OpenAI-compatible server? Check rollout.api_base."
            ) from None
        if models and self._model not in models:
            raise SkillRLError(
                f"{self.service.shown} serves {', '.join(sorted(models))}, and no "
                f"{self._model!r}. Set rollout.served_model to one of these, or start it with "
                f"--served-model-name {self._model}."
            )

    def _adapters(self) -> str:
        if self._there("/v1/load_lora_adapter"):
            return ""
        return (
            "it takes no adapters: start it with --enable-lora, --max-lora-rank, and "
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in its environment"
        )

    def _there(self, path: str) -> bool:
        """Tells whether the server has a route."""
        told = self.service.post(path, {})
        return check_busy(told, self.service.shown + path).status not in _NOT_THERE

    def _choice(self, told: Told) -> dict[str, Any]:
        choices = told["choices"]
        if isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], dict):
            return choices[0]
        raise Malformed(f"{self.service.shown}: the answer has not one choice: {told.text}")


class VLLM(Completions):
    """Speaks all that vLLM offers to trainers; see the module."""

    name = "vllm"

    def __init__(self, service: Service, **options: Any):
        """Asks nothing yet; takes what `Completions` does."""
        super().__init__(service, **options)
        self._spans = True
        self._sums: dict[str, Any] = {}  # hash of a policy -> the server's checksums of it

    def look(self) -> Offers:
        """Asks what the server offers, and resumes it if a killed run has left it paused."""
        self._check_model()
        notes = []
        self._spans = self._there("/inference/v1/generate")
        if not self._spans:
            notes.append(
                f"{self.service.shown} does not say which weights sampled which tokens: start it "
                "with --enable-scale-out"
            )
        if self.service.get("/is_paused")["is_paused"] is True:
            notes.append(f"{self.service.shown} was left paused, and resumes")
            self._must(self.service.post("/resume"), "/resume")
        rpc = self._there("/collective_rpc")
        weights = (
            ""
            if rpc and self.version() is not None
            else "it takes no whole policies: start it with VLLM_SERVER_DEV_MODE=1 in its "
            "environment (on a network that nobody else is on), or train an adapter (lora.rank) on "
            "the policy that it was started with"
        )
        return Offers(weights=weights, adapters=self._adapters(), notes=tuple(notes))

    def generate(self, ask: Ask) -> Reply:
        """Samples one response; see `Dialect`."""
        if not self._spans:
            return super().generate(ask)
        told = check_status(
            self.service.post(
                "/inference/v1/generate",
                {
                    "model": ask.model,
                    "token_ids": list(ask.ids),
                    "stream": False,
                    "cache_salt": ask.salt,
                    "sampling_params": {
                        "max_tokens": ask.sampling.max_tokens,
                        "min_tokens": 0,
                        "seed": ask.seed,
                        "logprobs": 0,
                        **dialect.sampling_fields(ask.sampling, self._stops),
                    },
                },
            ),
            f"{self.service.shown}/inference/v1/generate",
        )
        choice = self._choice(told)
        ids, scores = choice.get("token_ids"), choice.get("logprobs")
        rows = scores.get("content") if isinstance(scores, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise Malformed(f"{self.service.shown}: the answer has no logprobs.content")
        if [row.get("token_id") for row in rows] != ids:
            raise Malformed(f"{self.service.shown}: logprobs are of other tokens than token_ids")
        return make_reply(
            ids,
            [row.get("logprob") for row in rows],
            reason=choice.get("finish_reason"),
            ask=ask,
            stops=self._stops,
            versions=choice.get("weight_versions"),
        )

    def load_weights(self, path: str, version: str) -> None:
        """Pauses, reads a policy, resumes, compares checksums, labels it, and asks for the label.

        The order is the server's: it computes no checksums while it is paused. What it now has must
        differ from any other policy of ours, and equal what it had when it had this one before.

        Raises:
          SkillRLError: a step failed, or the checksums tell of other weights.
        """
        self._must(self.service.post("/pause?mode=wait", timeout=dialect.LOADING), "/pause")
        try:
            self._reload(path)
        finally:
            self._must(self.service.post("/resume"), "/resume")
        self._compare(version)
        self._must(
            self.service.post("/update_weight_version", {"new_version": version}),
            "/update_weight_version",
        )
        if (said := self.version()) != version:
            raise SkillRLError(
                f"{self.service.shown} calls its weights {said!r} after it was told to call them "
                f"{version!r}. Does another run use this server?"
            )

    def version(self) -> str | None:
        """Returns the label of the server's weights."""
        told = check_well(self.service.get("/weight_info"), f"{self.service.shown}/weight_info")
        found = told["weight_version"] if told.good else None
        return found if isinstance(found, str) else None

    def _reload(self, path: str) -> None:
        dialect.load_patiently(
            lambda: self.service.post(
                "/collective_rpc",
                {"method": "reload_weights", "kwargs": {"weights_path": path}},
                timeout=dialect.LOADING,
            ),
            what=path,
            service=self.service,
            sleep=self._sleep,
        )

    def _compare(self, version: str) -> None:
        path = "/weight_checker"
        told = self.service.post(path, {"action": "checksum"}, timeout=dialect.LOADING)
        check_busy(told, self.service.shown + path)
        sums, content = told["checksums"], version.rpartition("-")[2]
        if not told.good or not isinstance(sums, dict):
            return  # an older vLLM has no such route
        # A CPU packs projections away, and every empty tensor that is left has the same checksum.
        blind = len(set(sums.values())) < len(sums)
        for other, known in self._sums.items():
            if (other == content) != (known == sums) and (other == content or not blind):
                what = "other weights" if other == content else "the weights of an earlier policy"
                raise SkillRLError(
                    f"{self.service.shown} has {what} after it was given {version}, by its own "
                    "checksums. Does another run use this server? Start it again, then the same "
                    "command."
                )
        self._sums = {content: sums} | {k: v for k, v in self._sums.items() if k != content}
        while len(self._sums) > 4:
            self._sums.popitem()

    def _must(self, told: Told, path: str) -> None:
        if not check_well(told, f"{self.service.shown}{path}").good:
            raise SkillRLError(
                f"{self.service.shown}{path}: status {told.status}: {told.text}. Look at its log."
            )
