"""Episodes per second, index time and memory of the native WebShop engine, by catalogue size.

    python benchmarks/webshop_engine.py [--sizes 1000,100000] [--episodes N] [--json PATH]

Catalogues are made by copying the products of the test fixtures over and over with other asins,
prices and titles and with descriptions of about 80 words of a Zipf-like vocabulary, and are
written as official files. Then a fresh process reads the files and makes the index, which only
big catalogues keep on disk; and another one starts from what is there and plays.

An episode is a reset, a search for the wanted product's title, a click on it (or on the first
hit), one on each of its options, a look at its description and back, and the purchase; every step
builds its text and its list of actions. The episodes are recorded first, in a process of their
own, so that nothing is remembered when the clock runs. On a machine that is busy with other
things, compare the numbers by CPU time.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import pathlib
import platform
import random
import resource
import string
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from absl import app, flags

from skillrl.config.settings import EnvConfig, WebshopConfig
from skillrl.envs.base import make_suite
from skillrl.envs.webshop import tables
from skillrl.envs.webshop.catalogue import Catalogue
from skillrl.envs.webshop.sources import find
from skillrl.envs.webshop.suite import WebshopSuite
from skillrl.types import Task

_SIZES = flags.DEFINE_list("sizes", ["1000", "100000"], "products of the catalogues")
_EPISODES = flags.DEFINE_integer("episodes", 1000, "episodes that are played", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "of the catalogues")
_JSON = flags.DEFINE_string("json", None, "write the numbers here as well")

FIXTURES = pathlib.Path(__file__).parents[1] / "tests" / "fixtures" / "webshop" / "catalogue"
MIB = 1 << 20


def main(_: list[str]) -> None:
    results = [measure(int(size), _EPISODES.value, _SEED.value) for size in _SIZES.value]
    width = max(len(key) for key in results[0])
    for key in results[0]:
        cells = (f"{result[key]:>14,}" for result in results)
        print(f"{key:<{width}}", *cells)
    if _JSON.value:
        machine = {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "cpu_count": os.cpu_count(),
        }
        text = json.dumps({"results": results, **machine}, indent=1) + "\n"
        pathlib.Path(_JSON.value).write_text(text)


def measure(size: int, episodes: int, seed: int) -> dict[str, Any]:
    """All numbers of one size."""
    with tempfile.TemporaryDirectory() as directory:
        folder = pathlib.Path(directory)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        written = write_catalogue(folder, size, random.Random(seed))
        result = {"products": size, "files_mib": round(written / MIB, 1)}
        result |= _in_a_process(_index, folder)
        kept = sum(path.stat().st_size for path in (folder / "cache").rglob("*.npy"))
        result["index_mib"] = round(kept / MIB, 1)
        recorded = _in_a_process(_record, folder, episodes)
        return result | _in_a_process(_play, folder, recorded)


def _in_a_process(function: Any, *arguments: Any) -> Any:
    """The answer of a function in a fresh process, whose memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def _index(folder: pathlib.Path) -> dict[str, Any]:
    before = _peak()
    start, cpu = time.perf_counter(), time.process_time()
    tables.cached(find(folder))
    return {
        "index_s": round(time.perf_counter() - start, 2),
        "index_cpu_s": round(time.process_time() - cpu, 2),
        "index_peak_mib": round(_peak() - before),
    }


def _suite(folder: pathlib.Path) -> WebshopSuite:
    config = EnvConfig(
        name="webshop", data_dir=str(folder), max_steps=100, webshop=WebshopConfig(goals="human")
    )
    suite = make_suite("webshop", config)
    assert isinstance(suite, WebshopSuite)
    return suite


def _record(folder: pathlib.Path, episodes: int) -> list[tuple[int, list[str]]]:
    """Places of tasks in the manifest, and the actions of an episode of each."""
    suite = _suite(folder)
    tasks = suite.tasks("train")
    catalogue = Catalogue(find(folder), tables=tables.cached(find(folder)))
    environment = suite.make()
    recorded = []
    for place in range(episodes):
        place %= len(tasks)
        asin = tasks[place].goal.split("asin ")[1][:10].upper()
        number = catalogue.number(asin)
        assert number is not None
        recorded.append((place, _shop(environment, tasks[place], catalogue.product(number))))
    return recorded


def _shop(environment: Any, task: Task, product: Any) -> list[str]:
    environment.reset(task)
    actions = [f"search[{product.title}]"]
    offers = environment.step(actions[0]).observation.admissible
    wanted = f"click[{product.asin.lower()}]"
    actions.append(wanted if wanted in offers else offers[2])
    offers = environment.step(actions[1]).observation.admissible
    actions += [
        f"click[{values[0]}]"
        for values in product.options.values()
        if values and f"click[{values[0]}]" in offers
    ]
    return [*actions, "click[description]", "click[< prev]", "click[buy now]"]


def _play(folder: pathlib.Path, recorded: list[tuple[int, list[str]]]) -> dict[str, Any]:
    before, start = _resident(), time.perf_counter()
    suite = _suite(folder)
    tasks = suite.tasks("train")
    load = time.perf_counter() - start
    environment = suite.make()
    searching, steps, scores = 0.0, 0, 0.0
    start, cpu = time.perf_counter(), time.process_time()
    for place, actions in recorded:
        environment.reset(tasks[place])
        first = time.process_time()
        environment.step(actions[0])
        searching += time.process_time() - first
        for action in actions[1:]:
            result = environment.step(action)
        assert result.done
        steps += len(actions)
        scores += result.score
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {
        "start_s": round(load, 2),
        "episodes": len(recorded),
        "steps": steps,
        "mean_score": round(scores / len(recorded), 3),
        "episodes_per_s": round(len(recorded) / wall),
        "episodes_per_cpu_s": round(len(recorded) / cpu),
        "search_page_cpu_ms": round(1000 * searching / len(recorded), 2),
        "other_steps_cpu_ms": round(1000 * (cpu - searching) / (steps - len(recorded)), 3),
        "resident_mib": round(_resident() - before),
    }


def write_catalogue(folder: pathlib.Path, size: int, rng: random.Random) -> int:
    """Writes the three official files with `size` products; gives their bytes."""
    contents = {}
    for name in ("items_shuffle", "items_ins_v2", "items_human_ins"):
        contents[name] = json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))
    originals = [p for p in contents["items_shuffle"] if p["asin"].startswith("B0")]
    vocabulary = ["".join(rng.choices(string.ascii_lowercase, k=7)) for _ in range(20_000)]
    extras, human = {}, {}

    def products() -> Iterator[dict[str, Any]]:
        for number in range(size):
            product = dict(originals[number % len(originals)])
            old, product["asin"] = product["asin"], f"B{number:09d}"
            product["name"] += " " + " ".join(_words(vocabulary, 2, rng))
            product["full_description"] = " ".join(_words(vocabulary, 80, rng))
            if number >= len(originals):
                product["pricing"] = f"${rng.uniform(3, 900):.2f}"
            extras[product["asin"]] = contents["items_ins_v2"][old]
            if number < 12_000:  # as many as people have written
                human[product["asin"]] = [
                    {**entry, "instruction": f"{entry['instruction']} asin {product['asin']}"}
                    for entry in contents["items_human_ins"].get(old, [])[:1]
                ]
            yield product

    with open(folder / "items_shuffle.json", "w", encoding="utf-8") as file:
        for number, product in enumerate(products()):
            file.write(("[" if number == 0 else ", ") + json.dumps(product))
        file.write("]")
    (folder / "items_ins_v2.json").write_text(json.dumps(extras))
    (folder / "items_human_ins.json").write_text(json.dumps(human))
    return sum(path.stat().st_size for path in folder.glob("*.json"))


def _words(vocabulary: list[str], count: int, rng: random.Random) -> list[str]:
    """Words of which the first of the vocabulary are the most frequent (about 1 / rank)."""
    return [vocabulary[int(len(vocabulary) ** rng.random()) - 1] for _ in range(count)]


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _resident() -> float:
    """MiB of this process in memory now, mapped files that it has read included."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MIB


if __name__ == "__main__":
    app.run(main)
