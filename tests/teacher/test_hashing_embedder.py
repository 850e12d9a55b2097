import subprocess
import sys

import numpy as np

from skillrl.teacher.hashing_embedder import HashingEmbedder

TEXTS = [
    "Clean the mug with the sinkbasin.",
    "Cleaning mugs needs a sinkbasin.",
    "Hold the bowl, then turn on the desklamp.",
    "",
]


def test_normalised_and_related_texts_are_closer():
    found = HashingEmbedder().embed(TEXTS)
    assert found.shape == (4, 1024)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 1, 1, 0], atol=1e-6)
    similar = found @ found.T
    assert similar[0, 1] > 0.3 > 0.1 > abs(similar[0, 2])


def test_same_vectors_in_another_process():
    code = (
        "from skillrl.teacher.hashing_embedder import HashingEmbedder as H; "
        "import hashlib; print(hashlib.sha256(H().embed(['Clean the mug']).tobytes()).hexdigest())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1


def test_a_row_does_not_depend_on_its_neighbours():
    embedder = HashingEmbedder()
    np.testing.assert_array_equal(embedder.embed(TEXTS)[1], embedder.embed(TEXTS[1:2])[0])
