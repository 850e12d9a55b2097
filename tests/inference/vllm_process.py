"""vLLM as a process on loopback, which can be killed and started again."""

from __future__ import annotations

import os
import subprocess
import time
import urllib.request
from pathlib import Path

from tests.hosts import free_port

READY = 900.0
"""Seconds until it must answer; on two cores that others use as well it takes minutes."""


class VLLMProcess:
    """`vllm serve` of a directory on a CPU, in float32, with all that a trainer may want.

    Attributes:
      adapters: whether it takes adapters; only one without takes whole policies for certain.
      url: its address.
      process: of the server, while it runs.
    """

    def __init__(self, executable: str, directory: Path, log: Path, *, adapters: bool):
        self.adapters = adapters
        more = ["--enable-lora", "--max-lora-rank", "16"] if adapters else []
        self._command = [
            executable, "serve", str(directory), "--served-model-name", "policy",
            "--host", "127.0.0.1", "--port", str(port := free_port()), "--dtype", "float32",
            "--max-model-len", "1088", "--enforce-eager", "--generation-config", "vllm",
            "--logprobs-mode", "processed_logprobs", "--enable-scale-out", *more,
        ]  # fmt: skip
        self._environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "VLLM_SERVER_DEV_MODE": "1",
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }
        self.url, self._log = f"http://127.0.0.1:{port}", log
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> VLLMProcess:
        self.start()
        self.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Starts it, and does not wait."""
        with open(self._log, "ab") as log:
            self.process = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def wait(self) -> None:
        """Waits until it answers."""
        assert self.process is not None
        until = time.monotonic() + READY
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=5).close()
                return
            except OSError:
                said = self._log.read_text("utf-8", "replace")[-4000:]
                assert self.process.poll() is None, said
                assert time.monotonic() < until, said
                time.sleep(0.5)

    def kill(self) -> None:
        """SIGKILL to it and to the engine that it has started, whose group is its own."""
        if self.process is not None:
            os.killpg(self.process.pid, 9)
            self.process.wait()
        self.process = None
