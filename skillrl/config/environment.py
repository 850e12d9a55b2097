"""Declares the settings of environments: the section ``env`` and those inside it.

Each environment has a section of its own for what no other one has. The name of an environment
is checked by their registry when a run starts, so that this module needs none of them.
"""

from __future__ import annotations

import dataclasses

from skillrl.config.strict import MAX_COUNT, MAX_SECONDS, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlfworldConfig:
    """Holds the settings of ALFWorld alone; docs/alfworld.md says more."""

    goals: str = setting("template", choices=("template", "human"))
    """The sentence that is the task: the game's own, or the first that a person wrote."""
    engine: str = setting("native", choices=("native", "textworld"), resumable=True)
    """``textworld`` plays in the real engine, slowly; a test holds both to the same answers."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WebshopConfig:
    """Says what WebShop shows and asks for; its files are in env.data_dir."""

    goals: str = setting("synthetic", choices=("synthetic", "human"))
    """Goals made from the catalogue, as the released code trains on, or written by people."""
    goal_seed: int = setting(233, low=0)
    """Seed of prices, price limits and the order of goals, hence of the splits."""
    split: str = setting("products", choices=("products", "skillrl", "original"))
    """How goals are divided: no product of valid_unseen is trained on, or as released (the
    first 500 goals are valid_unseen), or as in the WebShop paper (500 test, 1,000 development)."""
    observation: str = setting("text", choices=("text", "text_rich"))
    """Pages on one line, or a line for each piece with buttons and chosen options marked."""
    nouns: str = setting("letters", choices=("letters", "spacy"))
    """What finds the nouns of titles in rewards: a fixed rule, or the original's tagger."""
    products: str = setting("")
    """Name of the items_shuffle file in env.data_dir; empty takes the only one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Says how questions are searched for (``--env=search``)."""

    retriever: str = setting("bm25", choices=("bm25", "http"))
    """``bm25`` searches `corpus` here; ``http`` asks the servers of `urls`."""
    corpus: str = setting("", path=True)
    """JSONL of {id, contents}; empty means the passages of the generated questions."""
    urls: tuple[str, ...] = setting((), url=True, resumable=True)
    """Servers with POST /retrieve; several are dealt out in turn."""
    dialect: str = setting("single", choices=("single", "batched"))
    """What these read: ``single`` {"query": q} or, as Search-R1's, ``batched`` {"queries": [q]}."""
    top_k: int = setting(3, low=1, high=100)
    """Passages shown per search."""
    datasets: tuple[str, ...] = setting(())
    """Names of data sets in env.data_dir; empty means all."""
    timeout: float = setting(60.0, above=0, high=MAX_SECONDS, resumable=True)
    """Seconds to wait for a server."""
    retries: int = setting(9, low=0, high=1000, resumable=True)
    """Tries after the first, with growing pauses (9 are about a minute)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Names the live server of environments that are played on one."""

    url: str = setting("", url=True, resumable=True)
    """Its address; empty takes the environment's usual one (docs/servers.md)."""
    timeout: float = setting(30.0, above=0, high=MAX_SECONDS, resumable=True)
    """Seconds to wait for an answer; one that comes later counts as none."""
    retries: int = setting(6, low=0, high=1000, resumable=True)
    """Fresh sessions on which an episode is replayed before it is given up as errored."""
    backoff: float = setting(0.5, low=0, high=MAX_SECONDS, resumable=True)
    """Seconds before the first replay; doubles each time, up to 30."""
    num_tasks: int = setting(0, low=0, high=1_000_000_000)
    """How many training tasks are used, counted from the first; 0 takes all of the server's."""
    action_field: str = setting("")
    """OpenEnv: field of an action that takes the text; empty reads it from /schema."""
    text_field: str = setting("")
    """OpenEnv: field of an observation that the agent reads; empty looks for the usual ones."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnvConfig:
    """Chooses the environment; `name` is looked up in the registry of environments."""

    name: str = setting("alfworld", nonempty=True)
    data_dir: str = setting("", path=True)
    """Directory of real games; empty plays generated ones, ``env`` those of ALFWORLD_DATA."""
    max_steps: int = setting(50, low=1, high=MAX_COUNT)
    workers: int = setting(0, low=0, high=4096, resumable=True)
    """Environment threads; 0 steps in the main thread. Never changes a result."""
    module: str = setting("", path=True)
    """A Python file (``mine.py``) or module (``package.mine``) of yours that is imported first,
    to register the environment; see docs/new_environment.md."""
    alfworld: AlfworldConfig = AlfworldConfig()
    webshop: WebshopConfig = WebshopConfig()
    search: SearchConfig = SearchConfig()
    server: ServerConfig = ServerConfig()
