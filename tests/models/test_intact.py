"""Hashes of policies and adapters: whatever is read is what was written or downloaded."""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import jax
import pytest

from skillrl.config import presets
from skillrl.errors import Corrupt
from skillrl.io import checksums
from skillrl.models import intact, lora, weights
from skillrl.models.lora import Lora
from skillrl.models.tokenizer import Tokenizer

FIXTURES = Path(__file__).parent.parent / "fixtures" / "models"
TINY = Path(presets.resolve_path("asset:tiny_qwen2_alfworld"))
RANK2 = Lora(2, 4.0, ("q_proj",))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """An exported policy with a tokenizer, and an adapter, as a run leaves them."""
    folder = tmp_path_factory.mktemp("written")
    config = weights.read_config(TINY)
    params = weights.load(TINY, config)
    weights.save(folder / "policy", params, config, tokenizer_dir=TINY, max_shard_bytes=1e6)
    lora.save(
        folder / "adapter", lora.init(jax.random.key(0), config, RANK2), config=config, lora=RANK2
    )
    return folder


@pytest.fixture
def copied(written, tmp_path):
    return Path(shutil.copytree(written, tmp_path / "copied"))


def read(folder):
    """Everything that a run reads of them."""
    config = weights.read_config(folder / "policy")
    Tokenizer.load(folder / "policy")
    weights.load(folder / "policy", config)
    lora.load(folder / "adapter", config)


def flip(path, at=None, bit=0):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if at is None else at] ^= 1 << bit
    path.write_bytes(bytes(content))


def files(folder):
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and path.name != checksums.SUMS
    )


def test_all_that_is_written_is_listed_and_sha256sum_agrees(written):
    for name in ("policy", "adapter"):
        sums = (written / name / checksums.SUMS).read_text().splitlines()
        listed = {line.split("  ")[1] for line in sums}
        assert listed == {path.name for path in files(written / name)}
        command = ["sha256sum", "--check", "--strict", "--quiet", checksums.SUMS]
        if shutil.which(command[0]):
            subprocess.run(command, cwd=written / name, check=True)
    assert len(list((written / "policy").glob("*.safetensors"))) > 1
    read(written)


def test_a_flipped_bit_in_any_file_that_is_read_is_refused_by_its_name(copied):
    unread = {"generation_config.json"}
    for path in files(copied):
        content = path.read_bytes()
        for at, bit in ((0, 0), (None, 3), (len(content) - 1, 6)):
            flip(path, at, bit)
            if path.name in unread:
                read(copied)
            else:
                with pytest.raises(Corrupt, match=re.escape(f"{path}: is corrupt")):
                    read(copied)
            path.write_bytes(content)
    read(copied)


def test_a_file_that_is_cut_short_or_gone_is_refused_by_its_name(copied):
    for path in files(copied):
        content = path.read_bytes()
        if path.name == "generation_config.json":
            continue
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(Corrupt, match=re.escape(f"{path}: is corrupt")):
            read(copied)
        path.write_bytes(content)
    gone = copied / "policy" / "tokenizer_config.json"  # one that a tokenizer can do without
    gone.unlink()
    with pytest.raises(Corrupt, match=re.escape(f"{gone}: is missing")):
        read(copied)


def test_what_is_changed_on_purpose_is_read_without_its_sums(copied):
    config = copied / "policy" / "config.json"
    config.write_text(config.read_text().replace('"use_cache": true', '"use_cache": false'))
    with pytest.raises(Corrupt, match=f"on purpose, delete .*{checksums.SUMS}"):
        read(copied)
    (copied / "policy" / checksums.SUMS).unlink()
    read(copied)


def test_sums_that_somebody_else_has_written(tmp_path):
    directory = Path(shutil.copytree(FIXTURES / "qwen2", tmp_path / "given"))
    digest = hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()
    (directory / checksums.SUMS).write_text(f"{digest} *./model.safetensors\n")
    config = weights.read_config(directory)  # not listed, so not compared
    weights.load(directory, config)
    flip(directory / "model.safetensors")
    with pytest.raises(Corrupt, match=r"model\.safetensors: is corrupt"):
        weights.load(directory, config)


def test_the_shipped_policies_have_the_sums_of_the_package():
    assert checksums.check_directory(intact.SHIPPED)
    listed = (intact.SHIPPED / checksums.SUMS).read_text()
    for directory in intact.SHIPPED.glob("tiny_*"):
        for path in directory.iterdir():
            assert (f"  {directory.name}/{path.name}\n" in listed) == (path.name != "README.md")


def test_a_shipped_policy_is_compared_with_them_and_its_copy_is_not(tmp_path, monkeypatch):
    shipped = tmp_path / "assets"
    for source in (TINY, TINY.with_name("tiny_qwen2_search")):
        shutil.copytree(source, shipped / source.name)
    shutil.copy(intact.SHIPPED / checksums.SUMS, shipped)
    monkeypatch.setattr(intact, "SHIPPED", shipped)
    changed = shipped / TINY.name
    (changed / "README.md").write_text("other words")
    weights.read_config(changed)
    flip(changed / "config.json")
    with pytest.raises(Corrupt, match=r"config\.json: is corrupt"):
        weights.read_config(changed)
    intact.seal_shipped()
    assert len((shipped / checksums.SUMS).read_text().splitlines()) == 12
    intact.check(changed, ["config.json"])
    copy = Path(shutil.copytree(TINY, tmp_path / "copy"))
    (copy / "config.json").write_text((copy / "config.json").read_text() + "\n")
    weights.read_config(copy)


@pytest.fixture
def snapshot(tmp_path):
    """A checkpoint in the layout of the hub's cache: links to files that bear their hashes."""
    repository = tmp_path / "models--owner--model"
    (repository / "blobs").mkdir(parents=True)
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for name, digest in (("config.json", "1" * 40), ("model.safetensors", None)):
        content = (FIXTURES / "qwen2" / name).read_bytes()
        blob = repository / "blobs" / (digest or hashlib.sha256(content).hexdigest())
        blob.write_bytes(content)
        os.symlink(os.path.relpath(blob, snapshot), snapshot / name)
    return snapshot


def test_large_files_of_the_hubs_cache_are_compared_with_their_names(snapshot):
    config = weights.read_config(snapshot)  # Git's own hash, of a small file: not compared
    weights.load(snapshot, config)
    blob = (snapshot / "model.safetensors").resolve()
    flip(blob)
    with pytest.raises(Corrupt, match=re.escape(f"{blob}: is corrupt")):
        weights.load(snapshot, config)


def test_files_downloaded_into_a_directory_are_compared_with_what_was_noted(tmp_path):
    directory = Path(shutil.copytree(FIXTURES / "qwen2", tmp_path / "given"))
    path = directory / "model.safetensors"
    notes = directory / ".cache" / "huggingface" / "download"
    notes.mkdir(parents=True)
    note = notes / "model.safetensors.metadata"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    then = path.stat().st_mtime
    note.write_text(f"abc\n{digest}\n{then + 5}\n")
    config = weights.read_config(directory)
    weights.load(directory, config)
    flip(path)
    os.utime(path, (then, then))  # as a disk forgets a bit
    with pytest.raises(Corrupt, match="downloaded from the hub"):
        weights.load(directory, config)
    os.utime(path, (then + 60, then + 60))  # as somebody writes it anew
    weights.load(directory, config)
    note.write_text("another format")
    weights.load(directory, config)
