"""Words, ranking and ties of the search."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from webshop_recordings import FOLDER

from skillrl.envs.webshop import search
from skillrl.envs.webshop.catalogue import Catalogue
from skillrl.envs.webshop.search import K1, LIMIT, B, Indexer, Ranker, lucene_words, rank_texts
from skillrl.envs.webshop.sources import find


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
    texts = ["red lamp", "red red shoe", "blue chair with arms", "lamp"]
    indexer = Indexer()
    for text in texts:
        indexer.add(text)
    postings = indexer.postings()
    ranker = Ranker(postings)
    number = ranker._number("red")
    assert number is not None
    lengths = [2, 3, 3, 1]  # "with" is a stop word
    idf = math.log(1 + (4 - 2 + 0.5) / (2 + 0.5))
    norm = [K1 * (1 - B + B * length / (sum(lengths) / 4)) for length in lengths]
    expected = [idf * 1 / (1 + norm[0]), idf * 2 / (2 + norm[1])]
    part = slice(postings.starts[number], postings.starts[number + 1])
    assert list(postings.documents[part]) == [0, 1]
    np.testing.assert_allclose(postings.scores[part], expected, rtol=1e-6)
    assert ranker.search("red") == (1, 0)
    assert ranker.search("RED lamps") == (0, 1, 3)  # stems, and both words before one
    assert ranker.search("chair the") == (2,)


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
    """With the words that are shipped: score = sum of idf * tf / (tf + norm).

    Lengths are 5, 4, 2, 5 words ("a" and "in" are stop words), 4 on average, so the norms
    0.9 (1 - 0.4 + 0.4 length / 4) are 0.99, 0.9, 0.72, 0.99. The idf of a word in n documents,
    ln(1 + (4 - n + 0.5) / (n + 0.5)), is ln(10/3) = 1.203973 for n = 1 ("7"), ln 2 = 0.693147 for
    2 ("7.5", "shoe", "lamp", "size") and ln(10/7) = 0.356675 for 3 ("red"). So "red" gives
    0.356675 / 1.99 = 0.179234 in document 0, 0.356675 / 1.9 = 0.187724 in 1 and
    0.356675 * 2 / 2.99 = 0.238579 in 3; "7" gives 1.203973 / 1.9 = 0.633670 in 1; and a word
    of two documents 0.348315, 0.364814, 0.402992 and 0.348315 where it stands once.
    """
    indexer = Indexer()
    for text in _GOLDEN:
        indexer.add(text.lower())
    postings = indexer.postings()
    ranker = Ranker(postings)
    assert ranker.search(query) == tuple(hits)
    scores = np.zeros(len(_GOLDEN))
    for word in lucene_words(query.lower()):
        number = ranker._number(ranker._stem(word))
        if number is not None:
            part = slice(postings.starts[number], postings.starts[number + 1])
            scores[postings.documents[part]] += postings.scores[part]
    expected = [hits.get(document, 0.0) for document in range(len(_GOLDEN))]
    np.testing.assert_allclose(scores, expected, atol=2e-6)


def test_scores_are_those_of_bm25s(monkeypatch: pytest.MonkeyPatch) -> None:
    import bm25s

    rng = np.random.default_rng(0)
    texts = [
        " ".join(f"w{word}" for word in rng.zipf(1.3, rng.integers(0, 40)) % 50) for _ in range(200)
    ]
    monkeypatch.setattr(search, "_BLOCK", 64)
    indexer = Indexer()
    for text in texts:
        indexer.add(text)
    postings = indexer.postings()
    ranker = Ranker(postings)
    theirs = bm25s.BM25(method="lucene", k1=K1, b=B)
    theirs.index([text.split() for text in texts], show_progress=False)
    for word in ("w0", "w1", "w7", "w49"):
        number = ranker._number(word)
        assert number is not None
        part = slice(postings.starts[number], postings.starts[number + 1])
        ours = np.zeros(len(texts))
        ours[postings.documents[part]] = postings.scores[part]
        np.testing.assert_allclose(ours, theirs.get_scores([word]), rtol=1e-6)


def test_searching_does_not_start_jax() -> None:
    code = (
        "import sys; from skillrl.envs.webshop.search import rank_texts;"
        "assert rank_texts(['red lamp']).search('lamp') == (0,); assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("query", ["", " ", "the with", "unheard of", "?"])
def test_nothing_is_found_by_nothing(query: str) -> None:
    assert rank_texts(["red lamp", "red shoe"]).search(query) == ()


def test_ties_keep_the_order_of_documents_beyond_the_limit() -> None:
    texts = ["plain lamp"] * 40 + ["lamp"] + ["plain lamp"] * 40
    assert rank_texts(texts).search("lamp") == (40, *range(40), *range(41, 41 + LIMIT - 41))


@pytest.mark.parametrize("texts", [[], [""], ["the"]])
def test_shops_without_words(texts: list[str]) -> None:
    assert rank_texts(texts).search("lamp") == ()


def test_possessives_are_the_word_itself() -> None:
    assert rank_texts(["men's shoes", "women’s shoe"]).search("men women's") == (0, 1)


def test_one_letter_words_are_searched() -> None:
    assert rank_texts(["shoe 7", "shoe 8"]).search("8") == (1,)


@pytest.fixture(scope="module")
def shop() -> Catalogue:
    return Catalogue(find(FOLDER / "catalogue"))


def test_random_search_is_a_function_of_its_seed(shop: Catalogue) -> None:
    first, again, other = (shop.find(["<r>"], seed=seed) for seed in ("0/1", "0/1", "0/2"))
    assert first is not None
    assert len(set(first)) == 50
    assert first == again != other


@pytest.mark.parametrize("keywords", [["<a>", "cotton"], ["<a>"], ["<c>"]])
def test_searches_that_the_original_cannot_answer(shop: Catalogue, keywords: list[str]) -> None:
    assert shop.find(keywords, seed="") is None


def test_shortcuts_list_by_equality(shop: Catalogue) -> None:
    assert shop.find(["<c>", "garden"], seed="")
    assert shop.find(["<c>", "gardens"], seed="") == ()
    found = shop.find(["<q>", "ankle", "boots"], seed="")
    assert found is not None
    assert {shop.product(number).query for number in found} == {"ankle boots"}
    assert shop.number("S26") is not None
    assert shop.number("s26") is None
