"""Loading: from memory and from files, through the disk cache, and files that are broken."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from webshop_recordings import FOLDER

from skillrl.envs.webshop import reading, tables
from skillrl.envs.webshop.catalogue import Catalogue
from skillrl.envs.webshop.goals import Goals
from skillrl.envs.webshop.sources import Lists, find
from skillrl.errors import SkillRLError

OFFICIAL = FOLDER / "catalogue"


def _contents() -> tuple[Any, Any, Any]:
    names = ("items_shuffle", "items_ins_v2", "items_human_ins")
    products, extras, human = (
        json.loads((OFFICIAL / f"{name}.json").read_text()) for name in names
    )
    return products, extras, human


def _same(left: Catalogue, right: Catalogue) -> None:
    assert len(left) == len(right) == 191
    for number in range(len(left)):
        assert left.product(number) == right.product(number)
    for kind in ("human", "synthetic"):
        assert list(Goals(left, kind=kind, seed=5)) == list(Goals(right, kind=kind, seed=5))
    for query in ("leather wallet", "7.5", "oddity", "s"):
        assert left.find([query], seed="") == right.find([query], seed="")


def test_files_and_lists_give_the_same_shop() -> None:
    _same(Catalogue(find(OFFICIAL)), Catalogue(Lists(*_contents(), name="lists")))


def test_tables_are_kept_on_disk_and_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = find(OFFICIAL)
    assert not isinstance(tables.cached(source).start, np.memmap)  # too small to be kept
    assert list(tmp_path.iterdir()) == []
    first = tables.cached(source, minimum=0)
    (folder,) = (tmp_path / "skillrl" / "webshop").iterdir()
    stamps = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    second = tables.cached(source, minimum=0)
    assert stamps == {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert isinstance(second.start, np.memmap)
    assert isinstance(first.search._scores.scores["data"], np.memmap)
    _same(Catalogue(source, tables=second), Catalogue(source))


def test_the_cache_follows_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = shutil.copytree(OFFICIAL, tmp_path / "data")
    assert len(tables.cached(find(folder), minimum=0).start) == 191
    products, _, _ = _contents()
    (folder / "items_shuffle.json").write_text(json.dumps(products[:50]))
    assert len(tables.cached(find(folder), minimum=0).start) == 50
    assert len(list((tmp_path / "cache" / "skillrl" / "webshop").iterdir())) == 2


def test_a_damaged_cache_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tables.cached(find(OFFICIAL), minimum=0)
    for name in ("low.npy", "names.json"):
        path = next(tmp_path.rglob(name))
        content = path.read_bytes()
        path.write_bytes(b"")
        with pytest.raises(SkillRLError, match=rf"{path.parent}: .*damaged.*Delete it"):
            tables.cached(find(OFFICIAL), minimum=0)
        path.write_bytes(content)


def test_a_cache_that_lost_a_file_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    products, extras, human = _contents()
    for name, content in (("shuffle", products[:3]), ("ins_v2", extras), ("human_ins", human)):
        (tmp_path / f"items_{name}.json").write_text(json.dumps(content))
    source = find(tmp_path)
    built = tables.cached(source, minimum=0)
    (folder,) = (tmp_path / "cache" / "skillrl" / "webshop").iterdir()
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*"))
    assert {"names.json", "low.npy", "sentences.npy", "search/data.csc.index.npy"} <= set(names)
    for name in names:
        (folder / name).unlink()
        again = tables.cached(source, minimum=0)
        assert again.names == built.names
        assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*")) == names
        assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_cache_that_another_process_wrote_first_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = tables.build(find(OFFICIAL))
    for _ in range(2):
        tables._save(tmp_path / "index", built)
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


_JSON = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3), max_leaves=5
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("json")


@settings(max_examples=60)
@given(
    st.dictionaries(st.text(), st.dictionaries(st.text(), _JSON, max_size=3), max_size=6),
    st.integers(1, 40),
    st.booleans(),
    st.sampled_from([None, 1]),
)
def test_entries_are_found_wherever_chunks_end(
    folder: Path,
    content: dict[str, Any],
    chunk: int,
    ascii_only: bool,
    indent: int | None,
) -> None:
    path = folder / "file.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_CHUNK", chunk)
        for opening, value in (("{", content), ("[", list(content.values()))):
            text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
            path.write_bytes(text.encode())
            entries = list(reading.entries(path, opening=opening))
            assert [entry.value for entry in entries] == list(content.values())
            assert [e.key for e in entries] == (
                list(content) if opening == "{" else [""] * len(content)
            )
            slices = reading.Slices(path)
            assert [slices.read(e.start, e.size) for e in entries] == list(content.values())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'[{"asin": "A"}, {"asin": "B", ', "entry 2.*not valid JSON"),
        (b'[{"asin": "A"} {"asin": "B"}]', "entry 2.*',' is expected"),
        (b'[{"asin": "A"}', "',' is expected, not 'the end of the file'"),
        (b'{"asin": "A"}', r"'\[' is expected"),
        (b'[{"asin": "A"}] x', "something follows"),
        (b'[{"asin": "\xff"}]', "not UTF-8"),
        (b"[1]", "product 1: is the value 1"),
        (b'[{"name": "x"}]', "product 1: its asin is missing or null"),
        (b'[{"asin": "A", "name": 3}]', r"product 1 \(asin A\): its name is the value 3"),
        (b'[{"asin": "A", "pricing": "12.99"}]', r"asin A\): its pricing is '12.99'"),
        (b'[{"asin": "A", "pricing": "$free"}]', r"asin A\): its pricing"),
        (b'[{"asin": "A", "customization_options": {"c": [{}]}}]', "its option 'c' has an entry"),
        (b'[{"asin": "A", "small_description": [1]}]', "its small_description are not"),
        (b"", "is empty"),
    ],
)
def test_broken_products_are_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "items_shuffle.json").write_bytes(content)
    (tmp_path / "items_ins_v2.json").write_text("{}")
    with pytest.raises(SkillRLError, match=f"items_shuffle.json.*{said}"):
        tables.build(find(tmp_path))


def _one(extra: Any = None, human: Any = None, **fields: Any) -> Catalogue:
    product = {"asin": "A", "name": "Lamp", **fields}
    return Catalogue(Lists([product], extra or {}, human or {}, name="one"))


def test_absent_fields_are_empty() -> None:
    product = _one(full_description=None, small_description=None).product(0)
    assert (product.description, product.bullets, product.query) == ("", ("",), "")
    assert (product.price_text, product.pricing) == ("$100.0", (100.0,))
    assert product.attributes == ("DUMMY_ATTR",)
    assert product.variants == 1


def test_an_extra_that_cannot_be_used_is_named() -> None:
    with pytest.raises(SkillRLError, match=r"asin A\): its attributes are not a list"):
        _one({"A": {"attributes": "soft"}})
    with pytest.raises(SkillRLError, match=r"asin A\): its entry in items_ins_v2"):
        _one({"A": [1]})


def test_goals_that_cannot_be_made_are_named() -> None:
    with pytest.raises(SkillRLError, match="product A has an instruction without"):
        Goals(_one({"A": {"instruction": "Find me a lamp"}}), kind="synthetic", seed=0)
    with pytest.raises(SkillRLError, match=r"no synthetic goals.*goals=human"):
        Goals(_one(), kind="synthetic", seed=0)
    with pytest.raises(SkillRLError, match="asin A: each of its instructions"):
        Goals(_one(human={"A": [{"instruction": "lamp"}]}), kind="human", seed=0)
    entry = {"instruction": "x", "instruction_attributes": [7], "instruction_options": []}
    with pytest.raises(SkillRLError, match="asin A: each of its instructions"):
        Goals(_one(human={"A": [entry]}), kind="human", seed=0)
    with pytest.raises(SkillRLError, match="no human goals"):
        Goals(_one(human={"B": []}), kind="human", seed=0)


def test_files_that_are_missing_or_ambiguous_are_named(tmp_path: Path) -> None:
    with pytest.raises(SkillRLError, match="no such directory"):
        find(tmp_path / "nowhere")
    with pytest.raises(SkillRLError, match=r"holds no items_shuffle\*"):
        find(tmp_path)
    (tmp_path / "items_shuffle.json").write_text("[]")
    with pytest.raises(SkillRLError, match=r"holds no items_ins_v2\*"):
        find(tmp_path)
    (tmp_path / "items_ins_v2.json").write_text("{}")
    source = find(tmp_path)
    with pytest.raises(SkillRLError, match=r"items_human_ins\.json: no such file"):
        source.human()
    (tmp_path / "items_shuffle_1000.json").write_text("[ ]")
    (tmp_path / "items_ins_v2_1000.json").write_text("{ }")
    with pytest.raises(SkillRLError, match=r"env\.webshop\.products=items_shuffle_1000\.json"):
        find(tmp_path)
    names = [path.name for path in find(tmp_path, "items_shuffle_1000.json").paths]
    assert names == ["items_shuffle_1000.json", "items_ins_v2_1000.json"]
    with pytest.raises(SkillRLError, match="does not exist"):
        find(tmp_path, "items_shuffle_7.json")


def test_files_with_a_mark_are_read_at_the_right_places(tmp_path: Path) -> None:
    for path in OFFICIAL.iterdir():
        (tmp_path / path.name).write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    _same(Catalogue(find(tmp_path)), Catalogue(find(OFFICIAL)))


def test_half_an_emoji_in_a_product(tmp_path: Path) -> None:
    products, extras, human = _contents()
    products[0] |= {"name": "half \ud83d", "full_description": "é \udc00"}
    human = {
        asin: [one | {"instruction": "\ud83d"} for one in many] for asin, many in human.items()
    }
    for name, content in zip(
        ("shuffle", "ins_v2", "human_ins"), (products, extras, human), strict=True
    ):
        (tmp_path / f"items_{name}.json").write_text(json.dumps(content))
    catalogue = Catalogue(find(tmp_path))
    assert catalogue.product(0).title == "half \ufffd"
    assert catalogue.product(0).description == "é \ufffd"
    assert Goals(catalogue, kind="human", seed=5)[0].text.startswith("\ufffd")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"pricing": "$" + "9" * 400}, "its pricing is"),
        (
            {
                "customization_options": {
                    str(n): [{"value": str(v)} for v in range(60)] for n in range(9)
                }
            },
            "can be chosen in 10,077,696,000,000,000 ways",
        ),
    ],
)
def test_numbers_beyond_reason_are_named(fields: dict[str, Any], words: str) -> None:
    products, extras, human = _contents()
    products[3] |= fields
    with pytest.raises(SkillRLError, match=words) as caught:
        Catalogue(Lists(products, extras, human, name="lists"))
    assert "product 4" in str(caught.value)
    assert len(str(caught.value)) < 400
