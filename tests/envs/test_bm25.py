"""Words, scores, ties, threads and files of the ranked search."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from skillrl.envs.bm25 import K1, B, Index, Indexer, lucene_words

LIMIT = 50


def numbers(index: Index, query: str, limit: int = LIMIT) -> list[int]:
    return [number for number, _ in index.search(query, limit)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("size 7.5, color: red", ["size", "7.5", "color", "red"]),
        ("men's women’s t-shirt", ["men's", "women’s", "t", "shirt"]),
        ("don't 1,000 a.b end. next", ["don't", "1,000", "a.b", "end", "next"]),
        ("5x7 v2.0", ["5x7", "v2.0"]),
        ("  !!! ", []),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert lucene_words(text) == words


def test_scores_are_lucenes() -> None:
    index = Index.of(["red lamp", "red red shoe", "blue chair with arms", "lamp"])
    lengths = [2, 3, 3, 1]  # "with" is a stop word
    idf = math.log(1 + (4 - 2 + 0.5) / (2 + 0.5))
    norm = [K1 * (1 - B + B * length / (sum(lengths) / 4)) for length in lengths]
    expected = [(1, idf * 2 / (2 + norm[1])), (0, idf * 1 / (1 + norm[0]))]
    assert numbers(index, "red") == [1, 0]
    np.testing.assert_allclose(index.search("red", 9), expected, rtol=1e-6)
    assert numbers(index, "RED lamps") == [0, 1, 3]  # stems, and both words before one
    assert numbers(index, "chair the") == [2]
    assert len(index) == 4


_GOLDEN = ["Women's shoe, size 7.5, red", "red shoe size 7", "a blue lamp"]
_GOLDEN += ["red red lamp shade in 7.5"]


@pytest.mark.parametrize(
    ("query", "hits"),
    [
        ("red", {3: 0.238579, 1: 0.187724, 0: 0.179234}),
        ("7.5", {0: 0.348315, 3: 0.348315}),
        ("7", {1: 0.633670}),
        ("5", {}),
        ("Red shoes, 7.5", {0: 0.875864, 3: 0.586894, 1: 0.552538}),
        ("lamp size 7", {1: 0.998484, 2: 0.402992, 0: 0.348315, 3: 0.348315}),
    ],
)
def test_searches_worked_out_by_hand(query: str, hits: dict[int, float]) -> None:
    """Score = sum of idf * tf / (tf + norm).

    Lengths are 5, 4, 2, 5 words ("a" and "in" are stop words), 4 on average, so the norms
    0.9 (1 - 0.4 + 0.4 length / 4) are 0.99, 0.9, 0.72, 0.99. The idf of a word in n documents,
    ln(1 + (4 - n + 0.5) / (n + 0.5)), is ln(10/3) = 1.203973 for n = 1 ("7"), ln 2 = 0.693147 for
    2 ("7.5", "shoe", "lamp", "size") and ln(10/7) = 0.356675 for 3 ("red"). So "red" gives
    0.356675 / 1.99 = 0.179234 in document 0, 0.356675 / 1.9 = 0.187724 in 1 and
    0.356675 * 2 / 2.99 = 0.238579 in 3; "7" gives 1.203973 / 1.9 = 0.633670 in 1; and a word
    of two documents 0.348315, 0.364814, 0.402992 and 0.348315 where it stands once.
    """
    found = Index.of(_GOLDEN).search(query, LIMIT)
    assert [number for number, _ in found] == list(hits)
    assert [score for _, score in found] == pytest.approx(list(hits.values()), abs=2e-6)


@pytest.mark.parametrize("query", ["", " ", "the with", "unheard of", "?"])
def test_nothing_is_found_by_nothing(query: str) -> None:
    assert Index.of(["red lamp", "red shoe"]).search(query, LIMIT) == []


def test_ties_keep_the_order_of_documents_beyond_the_limit() -> None:
    index = Index.of(["plain lamp"] * 40 + ["lamp"] + ["plain lamp"] * 40)
    assert numbers(index, "lamp") == [40, *range(40), *range(41, 41 + LIMIT - 41)]
    assert numbers(index, "lamp", 3) == [40, 0, 1]


@pytest.mark.parametrize("texts", [[], [""], ["the"]])
def test_texts_without_words(texts: list[str], tmp_path: Path) -> None:
    index = Index.of(texts)
    index.save(tmp_path)
    for one in (index, Index.load(tmp_path)):
        assert one.search("lamp", LIMIT) == []
        assert len(one) == len(texts)


def test_possessives_are_the_word_itself() -> None:
    assert numbers(Index.of(["men's shoes", "women’s shoe"]), "men women's") == [0, 1]


def test_one_letter_words_are_searched() -> None:
    assert numbers(Index.of(["shoe 7", "shoe 8"]), "8") == [1]


def test_words_may_be_split_otherwise() -> None:
    assert numbers(Index.of(["a-b", "b c"], words=str.split), "a-b") == [0]


def test_an_index_on_disk_finds_the_same(tmp_path: Path) -> None:
    index = Index.of(_GOLDEN)
    index.save(tmp_path)
    assert Index.is_whole(tmp_path)
    loaded = Index.load(tmp_path)
    assert isinstance(loaded._scores.scores["data"], np.memmap)
    for query in ("red shoe", "7.5", "zebra"):
        assert loaded.search(query, 3) == index.search(query, 3)
    (tmp_path / "vocab.index.json").unlink()
    assert not Index.is_whole(tmp_path)
    with pytest.raises(OSError, match=r"vocab\.index"):
        Index.load(tmp_path)


def test_texts_added_one_by_one_are_the_same() -> None:
    indexer = Indexer()
    for text in _GOLDEN:
        indexer.add(text)
    assert indexer.index().search("red lamp", 9) == Index.of(iter(_GOLDEN)).search("red lamp", 9)


def test_threads_find_the_same() -> None:
    index = Index.of(_GOLDEN)
    wanted, wrong = index.search("shoes and lamps", 9), []

    def ask() -> None:
        wrong.extend(1 for _ in range(50) if index.search("shoes and lamps", 9) != wanted)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_searching_does_not_start_jax() -> None:
    code = (
        "import sys; from skillrl.envs.bm25 import Index;"
        "assert Index.of(['red lamp']).search('lamp', 1)[0][0] == 0;"
        "assert 'bm25s' in sys.modules and 'jax' not in sys.modules;"
        "import jax.lax; assert jax.lax.add"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
