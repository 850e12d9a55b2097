"""Finds the directory of a model: a given path, the local cache, or the Hugging Face hub."""

from __future__ import annotations

import os
from pathlib import Path

from skillrl.errors import SkillRLError
from skillrl.models import directory as model_directory
from skillrl.models.directory import shown

WANTED = ["*.json", "*.safetensors", "*.txt", "*.jinja"]
"""Files of a model repository that are read (not the same weights in other formats)."""

ASSET = "asset:"
ASSETS = Path(__file__).parent.parent / "assets"


def resolve(model_path: str | Path | None, model_id: str | None) -> Path:
    """Finds the local directory with config.json, weights and tokeniser.

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
        path = ASSETS / name.removeprefix(ASSET) if shipped else model_directory.expanded(name)
        model_directory.check(path, named=name)
        return path
    if not model_id:
        raise SkillRLError("no model is named: set model.policy_path or model.policy_model_id")
    return _cached(model_id) or _download(model_id)


def _absent(directory: Path) -> list[str]:
    """Lists what a snapshot lacks to be a policy: config, weights or tokenizer."""
    wanted = [] if os.path.isfile(directory / model_directory.CONFIG) else [model_directory.CONFIG]
    wanted += model_directory.missing(directory)
    return wanted if model_directory.has_tokenizer(directory) else [*wanted, "tokenizer.json"]


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
            f"model.policy_model_id '{shown(model_id)}' is not a name on the hub "
            f"({shown(str(error), 300)}): write it as owner/name, or set model.policy_path for a "
            "local directory"
        ) from error
    except (OSError, ValueError) as error:
        raise SkillRLError(
            f"model.policy_model_id '{shown(model_id)}': the local Hugging Face cache cannot be "
            f"read ({error}): check HF_HOME and its permissions, or set model.policy_path"
        ) from error
    directory = Path(found)
    return directory if not _absent(directory) else None


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
            f"token (HF_TOKEN){_local(model_id)}"
        ) from error
    absent = _absent(directory)
    if absent:  # without a network, the client gives what is there
        more = f" and {len(absent) - 3} more" if absent[3:] else ""
        found = ", ".join(absent[:3]) + more
        if huggingface_hub.constants.HF_HUB_OFFLINE:
            remedy = "HF_HUB_OFFLINE is set: unset it to download the rest"
        else:
            remedy = (
                "the rest could not be downloaded, or the hub does not have it. Check the network, "
                "or choose a checkpoint that has safetensors weights and a tokenizer"
            )
        raise SkillRLError(
            f"model {model_id!r}: the local Hugging Face cache holds only part of it; {found} is "
            f"missing from {directory}, and {remedy}; or set model.policy_path to a complete "
            "directory"
        )
    return directory


def _local(model_id: str) -> str:
    if not os.path.isdir(model_id):
        return ""
    return f". There is a directory of this name here: for it, set model.policy_path={model_id}"
