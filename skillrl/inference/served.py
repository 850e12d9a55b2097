"""Samples on a server that is given every new policy: tokens and log-probabilities to train on.

A policy goes there in two halves. `stage` writes it to disk while its arrays exist, and computes
what it says of a known prompt; `switch` lets the server load it, and asks it about that prompt:
what it answers must be what was computed here. Only then do episodes play with it.

A request that is lost with its connection, or answered by another policy than the published one,
is asked again, with the same seed, once the server is back and has that policy: nobody but this
module notices, whatever happened to the server in between.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.inference.base import Generate, Generated, Sampling, Unanswered, request_seed
from skillrl.inference.dialect import (
    Ask,
    Astray,
    Dialect,
    Malformed,
    Offers,
    Refused,
    Reply,
)
from skillrl.inference.exports import PROBE, Export, Exports, Probe, Served
from skillrl.io import checksums
from skillrl.io.threads import DaemonPool
from skillrl.models.policy import Model
from skillrl.models.transformer import Params
from skillrl.net.service import Gone
from skillrl.parallel import background, processes

_LOG = logging.getLogger(__name__)

TURN = 15.0
"""Seconds that each process leaves at least to the one before it to give a server that is back its
policy again; where loading took longer than half of that before, twice as long as loading."""

OTHER_TEMPERATURE = 0.5
"""At which raw log-probabilities differ from processed ones."""


class ServedEngine:
    """Answers requests with what a server samples.

    Attributes:
      version: policy version of what it was given last.
      slots: requests that are under way at once.
      tokens: sampled since the start.
      served: what the server has; None before the first policy.
    """

    def __init__(
        self,
        dialect: Dialect,
        exports: Callable[[bool], Exports],
        *,
        model: Model,
        served_model: str,
        slots: int,
        seed: int,
        max_gap: float,
        patience: float,
        retries: int,
        sleep: Callable[[float], None] = time.sleep,
    ):
        """Asks nothing yet.

        Args:
          dialect: speaks with the server.
          exports: makes what writes policies for it, with or without adapters as such.
          model: the policy.
          served_model: what the server calls its own model.
          slots: requests that are under way at once.
          seed: of all draws; goes to the server with each request's address.
          max_gap: nats by which its log-probabilities may differ from ours, on average.
          patience: seconds that it may be gone.
          retries: how often one request may be lost before it counts as unanswered.
          sleep: how to pause, in seconds.
        """
        self.version, self.slots, self.tokens = -1, slots, 0
        self.served: Served | None = None
        self._dialect, self._make_exports, self._model = dialect, exports, model
        self._served_model, self._seed = served_model, seed
        self._max_gap, self._patience, self._retries = max_gap, patience, retries
        self._sleep = sleep
        self._exports: Exports | None = None
        self._offers = Offers()
        self._raw: bool | None = None  # log-probabilities before temperature and cuts?
        self._export: Export | None = None
        self._staged: list[Export] = []
        self._running: dict[concurrent.futures.Future, Any] = {}
        self._turn = 0  # grows with each reset: what was asked before is given up
        self._pool = DaemonPool(slots, name="served-engine")
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"ServedEngine({self._dialect.name} at {self._dialect.service.shown})"

    def close(self) -> None:
        """Ends the threads and connections, removes what is temporary; may be called twice."""
        self.reset()
        self._pool.close()
        self._dialect.service.close()
        if self._exports is not None:
            self._exports.close()

    # ------------------------------------------------------------------ policies

    def publish(self, params: Params, version: int) -> None:
        """Gives the server a policy; see `stage` and `switch`."""
        self.switch(self.stage(params, version))

    def stage(self, params: Params, version: int) -> Export:
        """Writes a policy for the server, which goes on with the one it has.

        Args:
          params: of the whole policy; they may change afterwards.
          version: the number of this policy.

        Raises:
          SkillRLError: the server is not what the settings say, or the policy cannot be written.
        """
        if self._exports is None:
            self._exports = self._make_exports(self._look())
        export = self._exports.write(params, version)
        self._staged.append(export)
        return export

    def switch(self, export: Export) -> None:
        """Lets the server load a policy and makes sure that it has it; nothing may be under way.

        Args:
          export: what `stage` returned.

        Raises:
          SkillRLError: it does not load it, or what it answers is another policy's.
        """
        if self.served is None or self.served.label != export.label:
            found = processes.on_first(
                "publication",
                lambda: self._patiently(lambda: self._load(export)),
                encode=dataclasses.asdict,
                decode=lambda plain: Served(**plain),
            )
            self.served = Served(**found) if isinstance(found, dict) else found
        self._export, self.version = export, export.version
        if export in self._staged:
            del self._staged[: self._staged.index(export)]
        if self._exports is not None:
            self._exports.keep([export, *self._staged])

    def report(self) -> dict[str, float]:
        """Returns metrics of the last publication, by name."""
        if self.served is None:
            return {}
        return {"publish_gap": self.served.gap, "publish_seconds": self.served.seconds}

    def _look(self) -> bool:
        """Asks what the server offers; returns whether it takes adapters as such."""

        def look() -> dict[str, Any]:
            offers = self._patiently(self._dialect.look)
            theirs = self._patiently(lambda: self._dialect.tokenise(PROBE))
            ours = self._model.tokenizer.encode(PROBE)
            if theirs is not None and list(theirs) != list(ours):
                # vLLM reads the tokenizers of some small policies as another class than they name.
                _LOG.warning(
                    "%s tokenises otherwise: the known prompt is %d tokens there and %d here. It "
                    "is asked in ids and answers in ids, so nothing depends on that; but is it "
                    "the policy of this run (model.policy_path)?",
                    self._dialect.service.shown, len(theirs), len(ours),
                )  # fmt: skip
            for note in offers.notes:
                _LOG.warning("%s", note)
            return dataclasses.asdict(offers)

        plain = processes.on_first("rollout server", look)
        self._offers = Offers(**{**plain, "notes": tuple(plain["notes"])})
        return not self._offers.adapters

    def _load(self, export: Export) -> Served:
        """Gives the server a policy, whatever it has, and checks what it says then."""
        start = time.monotonic()
        server, base = self._dialect, export.base
        for one in (base, export):
            if one is None or not (processes.is_first() or one.path.exists()):
                continue  # an engine of another machine than the one that wrote it
            if not checksums.check_directory(one.path):
                raise SkillRLError(
                    f"{one.path}: has no {checksums.SUMS}, so it is not whole. Start the same "
                    "command again, which writes it anew."
                )
        label = self._hold(base or export, adapted=base is not None)
        name = self._served_model
        if base is not None:
            if not server.has_model(export.label):
                server.load_adapter(str(export.path), export.label)
            if server.has_model(export.label) is False:
                raise SkillRLError(f"{server.service.shown} does not list {export.label}")
            name = export.label
        gap = self._check_gap(export.probe, model=name, salt=export.label, weights=label)
        old = self.served
        if old is not None and old.model not in (name, self._served_model):
            server.unload_adapter(old.model)
        seconds = time.monotonic() - start
        return Served(export.label, name, label, gap, seconds)

    def _hold(self, export: Export, *, adapted: bool) -> str | None:
        """Makes sure that a whole policy is the server's own.

        Args:
          export: the policy.
          adapted: adapters are added to it. A server that was started with it keeps it then: vLLM
            may reload only a part of what it has wrapped for adapters.

        Returns:
          The label of the server's weights; None where it does not say.

        Raises:
          SkillRLError: it has another policy and does not take this one.
        """
        server, loads = self._dialect, not self._offers.weights
        label = server.version()
        if loads and label == export.label:
            return label
        if adapted or not loads:
            try:
                self._check_gap(
                    export.probe, model=self._served_model, salt=export.label, weights=None
                )
                return label
            except (Gone, Astray):
                raise
            except SkillRLError as error:
                if not loads:
                    stays = self._exports is None or not self._exports.temporary
                    advice = f" Or start it with {export.path}." if stays else ""
                    raise SkillRLError(
                        f"{error} The server has another policy than the one to begin with, and "
                        f"{self._offers.weights}.{advice}"
                    ) from None
                _LOG.warning("%s It is given that policy.", error)
        server.load_weights(str(export.path), export.label)
        return export.label

    def _check_gap(self, probe: Probe, *, model: str, salt: str, weights: str | None) -> float:
        """Compares what the server says of the known prompt with what we computed.

        Returns:
          The mean difference of log-probabilities, in nats.

        Raises:
          SkillRLError: it is above ``rollout.max_gap``.
        """
        if self._raw is None:
            self._raw = self._is_raw(probe, model=model, salt=salt)
        gaps = []
        for index, prompt in enumerate(probe.prompts):
            reply = self._ask_probe(prompt, index, model=model, salt=salt, temperature=1.0)
            self._check_versions(reply, weights)
            gaps.append(abs(reply.logprobs[0] - self._ours(probe, index, reply, 1.0)))
        gap = sum(gaps) / len(gaps)
        if gap > self._max_gap:
            raise SkillRLError(
                f"{self._dialect.service.shown}: log-probabilities of {model} are {gap:.3g} nats "
                f"from ours on average, at most {max(gaps):.3g}, and rollout.max_gap is "
                f"{self._max_gap:g}: it does not have our policy, or computes it otherwise "
                "(--dtype, quantisation). Started with the exported directory (docs/pods.md) it "
                "would have it."
            )
        return gap

    def _is_raw(self, probe: Probe, *, model: str, salt: str) -> bool:
        """Tells whether log-probabilities are those before the temperature, or after it."""
        raw, processed = 0.0, 0.0
        for index, prompt in enumerate(probe.prompts):
            reply = self._ask_probe(
                prompt, index, model=model, salt=salt, temperature=OTHER_TEMPERATURE
            )
            said = reply.logprobs[0]
            raw += abs(said - self._ours(probe, index, reply, 1.0))
            processed += abs(said - self._ours(probe, index, reply, OTHER_TEMPERATURE))
        if processed < raw:
            _LOG.warning(
                "%s gives log-probabilities after the temperature is applied: episodes at other "
                "temperatures than 1 (evaluations) are recorded without",
                self._dialect.service.shown,
            )
        return raw <= processed

    def _ours(self, probe: Probe, index: int, reply: Reply, temperature: float) -> float:
        token = reply.ids[0]
        if token >= probe.logprobs.shape[1]:
            raise Malformed(
                f"{self._dialect.service.shown} samples token {token}, but our policy has "
                f"{probe.logprobs.shape[1]}"
            )
        return probe.at(index, token, temperature=temperature)

    def _ask_probe(
        self, prompt: tuple[int, ...], seed: int, *, model: str, salt: str, temperature: float
    ) -> Reply:
        sampling = Sampling(temperature=temperature, max_tokens=1)
        return self._dialect.generate(
            Ask(ids=prompt, sampling=sampling, seed=seed, model=model, salt=salt)
        )

    def _check_versions(self, reply: Reply, weights: str | None) -> None:
        """Checks that the published weights sampled all of a response.

        Raises:
          Astray: others sampled a part of it.
        """
        others = {span.version for span in reply.versions} - {weights}
        if weights is not None and others:
            raise Astray(
                f"{self._dialect.service.shown}: weights {', '.join(sorted(others))} answered in "
                f"place of {weights}"
            )

    # ------------------------------------------------------------------ requests

    def submit(self, waiting: Mapping[Any, Generate], sampling: Sampling) -> list[Any]:
        """Sends the oldest requests, as many as there are free slots; returns their keys.

        Args:
          waiting: requests by any key.
          sampling: how their tokens are chosen.
        """
        if self.served is None:
            raise RuntimeError("publish parameters before generating")
        taken = list(waiting)[: self.slots - len(self._running)]
        for key in taken:
            future = self._pool.submit(self._answer, waiting[key], sampling, self._turn)
            self._running[future] = key
        return taken

    def step(self) -> dict[Any, Generated | Unanswered]:
        """Returns the answers that have come; after `background.BEAT` seconds in any case.

        Raises:
          SkillRLError: the server is gone for longer than ``rollout.patience``, or answers nothing
            to us.
        """
        done, _ = concurrent.futures.wait(
            self._running, background.BEAT, concurrent.futures.FIRST_COMPLETED
        )
        answers = {}
        for future in done:
            key = self._running.pop(future)
            answers[key] = future.result()
            if isinstance(answers[key], Generated):
                self.tokens += len(answers[key].ids)
        return answers

    def reset(self) -> None:
        """Gives up all accepted requests; what the server is at ends there by itself."""
        self._turn += 1
        for future in self._running:
            future.cancel()
        self._running.clear()

    def _answer(self, request: Generate, sampling: Sampling, turn: int) -> Generated | Unanswered:
        """Gets one answer of the published policy, however often the server is lost meanwhile."""
        lost = 0
        while True:
            served = self.served
            assert served is not None
            try:
                reply = self._dialect.generate(
                    Ask(
                        ids=request.prefix_ids + request.suffix_ids,
                        sampling=sampling,
                        seed=request_seed(self._seed, request.rng_address),
                        model=served.model,
                        salt=served.label,
                    )
                )
                self._check_versions(reply, served.weights)
            except (Gone, Astray) as error:
                lost += 1
                if turn != self._turn or lost > self._retries:
                    return Unanswered(f"{error} (lost {lost} times)")
                self._restore(served, error, turn)
            except Refused as error:
                return Unanswered(str(error), rejected=True)
            except Malformed as error:
                return Unanswered(str(error))
            else:
                known = self._raw or sampling.temperature == 1.0
                return Generated(
                    reply.ids,
                    reply.logprobs if known else (),
                    reply.finished,
                    versions=reply.versions,
                )

    def _restore(self, served: Served, error: SkillRLError, turn: int) -> None:
        """Waits until the server is back, and gives it the published policy if it has lost it.

        Args:
          served: what it had when the request was sent.
          error: what became of the request.
          turn: of the request; nobody waits for one that was given up.
        """
        with self._lock:
            if self.served is not served or turn != self._turn:
                return  # another thread has done it, or nobody wants the answer any more
            export = self._export
            assert export is not None
            _LOG.warning("%s; asked again when the server has policy %s", error, export.version)
            back: list[float] = []  # when it first answered again, without that policy
            found = self._patiently(lambda: self._repair(served, export, back), turn=turn)
            if found is not None:
                self.served = found

    def _repair(self, served: Served, export: Export, back: list[float]) -> Served:
        """Gives the server its policy again, if no process before this one does.

        The first process does so as soon as the server answers. But only a process with requests
        under way notices that the server has died, and the first may have none left.

        Args:
          served: what it had.
          export: the policy.
          back: when it first answered again, without that policy; filled here.

        Raises:
          Gone: it is not there yet.
          Astray: it is, and it is another process's turn.
        """
        if not processes.is_first():
            try:
                self._check_gap(
                    export.probe, model=served.model, salt=served.label, weights=served.weights
                )
                return dataclasses.replace(served)
            except Gone:
                raise
            except SkillRLError as error:
                now, others = time.monotonic(), processes.index() / processes.count()
                back[:] = back or [now]
                turns = processes.index() * max(TURN, 2 * served.seconds)
                if now < back[0] + min(turns, others * self._patience / 2):
                    raise Astray(str(error)) from None
        return self._load(export)

    def _patiently(self, work: Callable[[], Any], *, turn: int | None = None) -> Any:
        """Does what needs the server, again while it does not answer.

        Args:
          work: what to do.
          turn: of the request that needs it; None where it is not for one.

        Returns:
          What `work` returned; None where the request was given up.

        Raises:
          SkillRLError: it does not answer for ``rollout.patience`` seconds, or `work` raised it.
        """
        until, pause = time.monotonic() + self._patience, 0.25
        while True:
            try:
                return work()
            except (Gone, Astray) as error:
                if time.monotonic() > until:
                    raise SkillRLError(
                        f"the rollout server is gone, the newest sign of it: {error}. It was "
                        f"waited for {self._patience:g} s (rollout.patience). Start it, then the "
                        "same command: it continues where it stopped."
                    ) from None
                if turn is not None and turn != self._turn:
                    return None
                if pause >= 1:
                    _LOG.warning("waiting for the rollout server: %s", error)
            self._sleep(pause)
            pause = min(10.0, 2 * pause)
