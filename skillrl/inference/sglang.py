"""Speaks with SGLang: ``/generate`` for tokens, ``/update_weights_from_disk`` for policies.

Fields are those of SGLang's documentation (docs/basic_usage/sampling_params.md and
docs/advanced_features/sglang_for_rl.md of its repository); no SGLang server was at hand, so tests
speak with a stand-in. An adapter is merged and goes there as a whole policy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

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


class SGLang:
    """Speaks with SGLang; see the module.

    Attributes:
      name: of the kind, for messages.
      service: the server.
    """

    name = "sglang"

    def __init__(
        self,
        service: Service,
        *,
        stops: Sequence[int],
        sleep: Callable[[float], None] = time.sleep,
    ):
        """Asks nothing yet.

        Args:
          service: the server.
          stops: the tokens that end a response.
          sleep: how to pause, in seconds.
        """
        self.service = service
        self._stops, self._sleep = tuple(stops), sleep

    def look(self) -> Offers:
        """Asks what the server offers, and lets it go on if a killed run has left it paused."""
        if self.service.post("/generate", {}).status in (404, 405):
            raise SkillRLError(
                f"{self.service.shown} has no /generate: is this an SGLang server? Check "
                "rollout.api_base and rollout.engine."
            )
        self._tell("/continue_generation", {})
        path = "/update_weights_from_disk"
        told = check_busy(self.service.post(path, {}), self.service.shown + path)
        there = told.status not in (403, 404, 405)
        return Offers(
            weights="" if there else "it has no /update_weights_from_disk: use a newer SGLang",
            adapters="adapters are merged for it, and go there as whole policies",
        )

    def generate(self, ask: Ask) -> Reply:
        """Samples one response; see `Dialect`.

        SGLang has no salt: its cache is flushed whenever it is given a policy.
        """
        told = check_status(
            self.service.post(
                "/generate",
                {
                    "input_ids": list(ask.ids),
                    "sampling_params": {
                        "max_new_tokens": ask.sampling.max_tokens,
                        "min_new_tokens": 0,
                        "sampling_seed": ask.seed,
                        **dialect.sampling_fields(ask.sampling, self._stops),
                    },
                    "return_logprob": True,
                    "logprob_start_len": -1,
                    "top_logprobs_num": 0,
                    "stream": False,
                },
            ),
            f"{self.service.shown}/generate",
        )
        meta = told["meta_info"]
        if not isinstance(meta, dict):
            raise Malformed(f"{self.service.shown}: the answer has no meta_info: {told.text}")
        rows = meta.get("output_token_logprobs")
        if not isinstance(rows, list) or not all(isinstance(r, list) and len(r) > 1 for r in rows):
            raise Malformed(f"{self.service.shown}: the answer has no output_token_logprobs")
        reason = meta.get("finish_reason")
        label = meta.get("weight_version")
        spans = [{"version": label, "start": 0, "end": len(rows)}]
        return make_reply(
            [row[1] for row in rows],
            [row[0] for row in rows],
            reason=reason.get("type") if isinstance(reason, dict) else reason,
            ask=ask,
            stops=self._stops,
            versions=None if label is None else spans,
        )

    def load_weights(self, path: str, version: str) -> None:
        """Pauses, reads a policy with its label, flushes the cache, and goes on.

        Raises:
          SkillRLError: the server says that it could not.
        """

        def update() -> Told:
            try:
                self._tell("/pause_generation", {"mode": "retract"}, timeout=dialect.LOADING)
                return self.service.post(
                    "/update_weights_from_disk",
                    {
                        "model_path": path,
                        "weight_version": version,
                        "abort_all_requests": False,
                        "flush_cache": True,
                    },
                    timeout=dialect.LOADING,
                )
            finally:
                self._tell("/continue_generation", {})

        dialect.load_patiently(
            update,
            what=path,
            service=self.service,
            sleep=self._sleep,
            loaded=lambda told: told.good and told["success"] is True,
        )

    def load_adapter(self, path: str, name: str) -> None:
        """Is not offered.

        Raises:
          SkillRLError: always.
        """
        raise SkillRLError(f"{self.service.shown}: adapters are merged for it ({path}, {name}).")

    def unload_adapter(self, name: str) -> None:
        """Has nothing to forget."""

    def version(self) -> str | None:
        """Returns None: it says so with each response, if at all."""
        return None

    def has_model(self, name: str) -> bool | None:
        """Returns None: it has one model, whatever that is called."""
        return None

    def tokenise(self, text: str) -> list[int] | None:
        """Returns None: it does not say."""
        return None

    def _tell(self, path: str, body: dict[str, str], *, timeout: float | None = None) -> None:
        told = self.service.post(path, body, timeout=timeout)
        check_well(told, f"{self.service.shown}{path}")
