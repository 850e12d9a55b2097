"""Finds the directory of a model: a given path, the local cache, or the Hugging Face hub."""

from __future__ import annotations

import json
from pathlib import Path

from skillrl.errors import SkillRLError

WANTED = ["*.json", "*.safetensors", "*.txt", "*.jinja"]
"""Files of a model repository that are read (not the same weights in other formats)."""

ASSET = "asset:"
ASSETS = Path(__file__).parent.parent / "assets"


def resolve(model_path: str | Path | None, model_id: str | None) -> Path:
    """The local directory with config.json, weights and tokeniser.

    Args:
      model_path: an explicit directory, or ``asset:NAME`` for one that ships with the
        package; wins, and never falls through to the rest.
      model_id: a name on the hub, such as ``Qwen/Qwen2.5-7B-Instruct``, looked up in
        the local cache (``HF_HOME``) and downloaded only if it is not there whole.

    Raises:
      SkillRLError: if nothing is named, the path is not a model directory, or the
        model is neither cached nor to be had from the hub.
    """
    if model_path:
        name = str(model_path)
        shipped = name.startswith(ASSET)
        directory = ASSETS / name.removeprefix(ASSET) if shipped else Path(name).expanduser()
        if not (directory / "config.json").is_file():
            what = "holds no config.json" if directory.is_dir() else "is not a directory"
            raise SkillRLError(
                f"model.policy_path {name!r} {what}: give a Hugging Face model "
                "directory, or leave it empty to use model.policy_model_id"
            )
        return directory
    if not model_id:
        raise SkillRLError("no model is named: set model.policy_path or model.policy_model_id")
    return _cached(model_id) or _download(model_id)


def missing_shards(directory: Path) -> list[str]:
    """Weight files that the directory should hold and does not."""
    index = directory / "model.safetensors.index.json"
    if not index.is_file():
        name = "model.safetensors"
        return [] if (directory / name).is_file() else [name]
    names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    return sorted(name for name in names if not (directory / name).is_file())


def _cached(model_id: str) -> Path | None:
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        found = huggingface_hub.snapshot_download(
            model_id, allow_patterns=WANTED, local_files_only=True
        )
    except LocalEntryNotFoundError:
        return None
    except HFValidationError as error:
        raise SkillRLError(
            f"model.policy_model_id {model_id!r} is not a name on the hub ({error}): write it as "
            "owner/name, or set model.policy_path for a local directory"
        ) from error
    directory = Path(found)
    whole = (directory / "config.json").is_file() and not missing_shards(directory)
    return directory if whole else None


def _download(model_id: str) -> Path:
    import httpx
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    try:
        directory = Path(huggingface_hub.snapshot_download(model_id, allow_patterns=WANTED))
    except (HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise SkillRLError(
            f"model {model_id!r} is not in the local Hugging Face cache and cannot be downloaded "
            f"({type(error).__name__}: {error}). Set model.policy_path to a local directory, set "
            "HF_HOME to a cache that holds it, or check the network, the name and the access "
            "token (HF_TOKEN)"
        ) from error
    if not (directory / "config.json").is_file() or missing_shards(directory):
        raise SkillRLError(
            f"the hub's {model_id!r} has no config.json with safetensors weights: choose a "
            "checkpoint that has, or convert it and set model.policy_path"
        )
    return directory
