"""The local search engine: its numbers, its index on disk."""

import gzip
import json
import math
import os

import numpy as np
import pytest

from skillrl.envs.search import bm25
from skillrl.envs.search.bm25 import BM25Retriever
from skillrl.envs.search.corpus import Corpus, line_offsets
from skillrl.envs.search.documents import Document
from skillrl.errors import SkillRLError

DOCUMENTS = [
    Document("p", '"Paris"\nParis is the capital of France.'),
    Document("r", '"Rome"\nRome\'s the capital of Italy.'),
    Document("s", '"Rome"\nRome\'s the capital of Italy.'),
    Document("e", '"The"\n'),
]


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.jsonl"
    rows = [json.dumps({"id": d.id, "contents": d.contents}) for d in DOCUMENTS]
    path.write_text("\n".join([rows[0], "", *rows[1:]]))  # a blank line, no last newline
    return path


def found(retriever, query, top_k=3):
    return [(hit.document.id, hit.score) for hit in retriever.search(query, top_k)]


def test_scores_are_those_of_the_formula():
    # "capital italy": paris paris capital franc | rome rome capital itali (twice) | (nothing)
    idf = [math.log(1 + (4 - n + 0.5) / (n + 0.5)) for n in (3, 2)]
    weight = 1 / (1 + 0.9 * (1 - 0.4 + 0.4 * 4 / 3))
    rome, paris = sum(idf) * weight, idf[0] * weight
    hits = found(BM25Retriever.over(DOCUMENTS), "The capital of Italy?")
    assert [name for name, _ in hits] == ["r", "s", "p"]  # equal scores in document order
    assert [score for _, score in hits] == pytest.approx([rome, rome, paris], rel=1e-6)
    assert found(BM25Retriever.over(DOCUMENTS), "Italy", 1) == [
        ("r", pytest.approx(idf[1] * weight))
    ]


def test_an_index_on_disk_finds_the_same(corpus):
    small = BM25Retriever.open(corpus)
    assert os.listdir(corpus.parent) == ["corpus.jsonl"]
    kept = BM25Retriever.open(corpus, cached_from=1)
    again = BM25Retriever.open(corpus, cached_from=1)
    assert len(os.listdir(corpus.parent)) == 2
    assert isinstance(again._index._scores.scores["data"], np.memmap)
    for query in ("capital of Italy", "Paris", "zebra"):
        assert found(small, query) == found(kept, query) == found(again, query)


def test_a_changed_corpus_is_indexed_anew(corpus):
    BM25Retriever.open(corpus, cached_from=1)
    corpus.write_text(json.dumps({"id": 7, "title": "Zebra", "text": "Zebras run."}) + "\n")
    (hit,) = BM25Retriever.open(corpus, cached_from=1).search("zebra", 3)
    assert hit.document == Document("7", '"Zebra"\nZebras run.')


def test_a_killed_or_second_writer_leaves_a_whole_index(corpus, monkeypatch):
    def kill(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bm25.os, "rename", kill)
        with pytest.raises(KeyboardInterrupt):
            BM25Retriever.open(corpus, cached_from=1)
    assert os.listdir(corpus.parent) == ["corpus.jsonl"]
    BM25Retriever.open(corpus, cached_from=1)
    bm25._keep(  # the other was faster
        bm25.index_directory(corpus), line_offsets(corpus), bm25.build_index(DOCUMENTS)
    )
    assert len(os.listdir(corpus.parent)) == 2
    assert found(BM25Retriever.open(corpus, cached_from=1), "Paris")[0][0] == "p"


def test_a_broken_index_is_named(corpus):
    BM25Retriever.open(corpus, cached_from=1)
    (bm25.index_directory(corpus) / "offsets.npy").write_bytes(b"")
    with pytest.raises(SkillRLError, match=r"bm25-2.*Delete the folder"):
        BM25Retriever.open(corpus, cached_from=1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no documents"),
        ('{"id": 1, "contents": "a"}\nnonsense\n', "line 2: not a document.*mend or remove"),
        ('\n \t\n{"id": 1, "contents": "a"}\n\nno', r"corpus\.jsonl, line 5: not a document"),
        ('{"id": 1, "contents": "a"}\n{}', "line 2: not a document .*KeyError"),
        ("{}", "line 1: not a document"),
        (" \n\t\r\n  ", "no documents"),
        ('{"id": 1}\n', "not a document"),
        ('{"id": 1, "contents": 3}\n', "contents are 3"),
        ("[1, 2]\n", "not a document"),
    ],
)
def test_a_broken_corpus_is_named(tmp_path, content, words):
    path = tmp_path / "corpus.jsonl"
    path.write_text(content)
    with pytest.raises(SkillRLError, match=words):
        BM25Retriever.open(path)


def test_a_missing_corpus_is_named(tmp_path):
    with pytest.raises(SkillRLError, match=r"none.jsonl: .*env\.search\.corpus"):
        BM25Retriever.open(tmp_path / "none.jsonl")


def test_lines_of_blanks_are_no_documents(corpus):
    content = corpus.read_bytes()
    corpus.write_bytes(b"   \n\r\n" + content + b"\n \t \r\n    ")
    offsets = line_offsets(corpus)
    assert (offsets.dtype, offsets[0, 0]) == (np.int64, 6)
    assert list(Corpus(corpus, offsets)) == DOCUMENTS


def test_line_numbers_are_counted_across_chunks(corpus, monkeypatch):
    monkeypatch.setattr("skillrl.envs.search.corpus._CHUNK", 7)
    corpus.write_bytes(corpus.read_bytes() + b"\n{}\n")
    with pytest.raises(SkillRLError, match=r"line 6: not a document"):
        Corpus(corpus, line_offsets(corpus))[4]


@pytest.mark.parametrize("name", ["corpus.jsonl.gz", "corpus.jsonl"])
def test_a_packed_corpus_finds_the_same(corpus, tmp_path, name):
    plain = BM25Retriever.open(corpus)
    folder = tmp_path / "packed"
    folder.mkdir()
    packed = folder / name  # whatever it is called
    packed.write_bytes(gzip.compress(corpus.read_bytes()))
    small = BM25Retriever.open(packed)
    assert os.listdir(folder) == [name]
    for _ in range(2):
        kept = BM25Retriever.open(packed, cached_from=1)
        assert len(os.listdir(folder)) == 3  # unpacked beside it, and the index of that
    for query in ("capital of Italy", "Paris", "zebra"):
        assert found(plain, query) == found(small, query) == found(kept, query)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress(b'{"id": 1, "contents": "x"}\n{"id": 2}\n'), "line 2: not a document"),
        (gzip.compress(b'{"id": 1, "contents": "x"}\n' * 99)[:-9], "damaged or cut short"),
        (gzip.compress(b"\n\n"), "no documents"),
    ],
)
def test_a_broken_packed_corpus_is_named(tmp_path, content, words):
    path = tmp_path / "c.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(SkillRLError, match=words) as caught:
        BM25Retriever.open(path)
    assert str(path) in str(caught.value)
    assert os.listdir(tmp_path) == ["c.jsonl.gz"]


def test_a_corpus_with_a_mark_and_half_an_emoji(tmp_path):
    path = tmp_path / "corpus.jsonl"
    rows = [{"id": "a\ud83d", "contents": "Rome \ud83d"}, {"id": 2, "title": "T", "text": "Rome"}]
    path.write_bytes(b"\xef\xbb\xbf" + "\n".join(map(json.dumps, rows)).encode())
    hits = {hit.document for hit in BM25Retriever.open(path).search("Rome", 3)}
    assert hits == {Document("a\ufffd", "Rome \ufffd"), Document("2", '"T"\nRome')}


@pytest.mark.parametrize(
    "row", [{"id": None, "contents": "x"}, {"id": 1, "title": None, "text": ""}]
)
def test_fields_of_other_types_are_no_document(tmp_path, row):
    (tmp_path / "c.jsonl").write_text(json.dumps(row))
    with pytest.raises(SkillRLError, match="not a document"):
        BM25Retriever.open(tmp_path / "c.jsonl")
