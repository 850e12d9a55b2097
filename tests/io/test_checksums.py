"""No single changed byte is read as if it were what was written."""

import json

import pytest

from skillrl.errors import Corrupt
from skillrl.io import checksums

VALUE = {"version": 3, "rate": 0.1, "skills": [{"id": "gen_001", "title": "Öffnen \u2026"}]}


def test_a_sealed_value_comes_back():
    assert checksums.unseal(json.loads(json.dumps(checksums.seal(VALUE))), "f") == VALUE
    assert checksums.seal(checksums.seal(VALUE)) == checksums.seal(VALUE)


def test_every_flipped_bit_of_a_json_file_is_refused_or_changes_nothing():
    raw = json.dumps(checksums.seal(VALUE), ensure_ascii=False).encode()
    harmless = 0
    for at in range(len(raw)):
        for bit in range(8):
            flipped = bytearray(raw)
            flipped[at] ^= 1 << bit
            try:
                value = json.loads(flipped)
            except ValueError:
                continue
            try:
                assert checksums.unseal(value, "f", required=True) == VALUE
                harmless += 1
            except Corrupt:
                pass
    assert harmless < len(raw)  # a blank for another one


def test_reformatting_is_no_corruption():
    sealed = checksums.seal(VALUE)
    assert checksums.unseal(dict(reversed(sealed.items())), "f") == VALUE


def test_unsealed_values_pass_unless_they_must_be_sealed():
    assert checksums.unseal(VALUE, "f") == VALUE
    with pytest.raises(Corrupt, match="checksum is missing"):
        checksums.unseal(VALUE, "f", required=True)


def test_a_directory(tmp_path):
    (tmp_path / "a.bin").write_bytes(bytes(range(256)))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.json").write_text("{}")
    assert not checksums.check_directory(tmp_path)
    checksums.seal_directory(tmp_path)
    assert checksums.check_directory(tmp_path)
    assert (tmp_path / "SHA256SUMS").read_text().splitlines()[1].endswith("  sub/b.json")
    (tmp_path / "a.bin").write_bytes(bytes(255) + b"\x00")
    with pytest.raises(Corrupt, match=r"a\.bin: is corrupt"):
        checksums.check_directory(tmp_path)
    assert checksums.check_directory(tmp_path, ["sub/b.json"])
    (tmp_path / "sub" / "b.json").unlink()
    with pytest.raises(Corrupt, match=r"b\.json: is missing"):
        checksums.check_directory(tmp_path, ["sub/b.json"])
