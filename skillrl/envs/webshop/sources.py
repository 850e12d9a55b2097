"""Reads the entries of a catalogue: from official files, or from lists in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from skillrl.envs.webshop.reading import JsonElement, Slices, entries
from skillrl.errors import SkillRLError
from skillrl.io import paths
from skillrl.io.files import read_json

PRODUCTS, EXTRAS, HUMAN = "items_shuffle", "items_ins_v2", "items_human_ins"
"""How the names of the three official files begin."""


class Source(Protocol):
    """Gives products and their extras (entries of items_ins_v2), in file order and by place.

    Attributes:
      name: how errors call it.
      paths: the files that a cache depends on; () where there are none.
    """

    name: str
    paths: tuple[Path, ...]

    def products(self) -> Iterator[JsonElement]:
        """Yields all products."""

    def extras(self) -> Iterator[JsonElement]:
        """Yields all extras, keyed by asin."""

    def product(self, start: int, size: int) -> Any:
        """Returns the product at a place that `products` told."""

    def extra(self, start: int, size: int) -> Any:
        """Returns the extra at a place that `extras` told."""

    def human(self) -> Mapping[str, Any]:
        """Returns instructions written by people: asin -> list."""


class Lists:
    """Holds a catalogue in memory, such as the generated one."""

    paths: tuple[Path, ...] = ()

    def __init__(
        self,
        products: Sequence[Mapping[str, Any]],
        extras: Mapping[str, Any],
        human: Mapping[str, Any],
        *,
        name: str,
    ):
        self.name = name
        self._products, self._human = products, human
        self._keys, self._extras = list(extras), list(extras.values())

    def products(self) -> Iterator[JsonElement]:
        """Yields all products; their place is their index."""
        return (JsonElement("", value, place, 0) for place, value in enumerate(self._products))

    def extras(self) -> Iterator[JsonElement]:
        """Yields all extras; their place is their index."""
        pairs = zip(self._keys, self._extras, strict=True)
        return (JsonElement(key, value, place, 0) for place, (key, value) in enumerate(pairs))

    def product(self, start: int, size: int) -> Any:
        """Returns the product of index `start`."""
        return self._products[start]

    def extra(self, start: int, size: int) -> Any:
        """Returns the extra of index `start`."""
        return self._extras[start]

    def human(self) -> Mapping[str, Any]:
        """Returns instructions by asin."""
        return self._human


class Files:
    """Reads official files, which are left on disk.

    Args:
      products: items_shuffle*.json.
      extras: items_ins_v2*.json.
      human: items_human_ins.json, which is needed for human goals only.

    Raises:
      SkillRLError: a file cannot be read.
    """

    def __init__(self, products: Path, extras: Path, human: Path):
        self.name = str(products)
        self.paths: tuple[Path, ...] = (products, extras)
        self._human_path = human
        self._products, self._extras = _slices(products), _slices(extras)

    def products(self) -> Iterator[JsonElement]:
        """Yields all products, read once from front to back."""
        return entries(self.paths[0], opening="[")

    def extras(self) -> Iterator[JsonElement]:
        """Yields all extras, read once from front to back."""
        return entries(self.paths[1], opening="{")

    def product(self, start: int, size: int) -> Any:
        """Returns the product whose bytes begin at `start`."""
        return self._products.read(start, size)

    def extra(self, start: int, size: int) -> Any:
        """Returns the extra whose bytes begin at `start`."""
        return self._extras.read(start, size)

    def human(self) -> Mapping[str, Any]:
        """Returns instructions by asin; raises SkillRLError where the file is missing or broken."""
        human = read_json(self._human_path)
        if not isinstance(human, dict):
            raise SkillRLError(f"{self._human_path}: should hold an object, asin -> instructions.")
        return human


def find(data_dir: str | Path, products: str = "") -> Files:
    """Returns the official files in a directory.

    Args:
      data_dir: the directory.
      products: name of the items_shuffle file; "" takes the only one.

    Raises:
      SkillRLError: a file is missing, or the choice is not clear; says how to make it.
    """
    folder = Path(paths.expand(data_dir))
    if not folder.is_dir():
        raise SkillRLError(
            f"env.data_dir={data_dir}: there is no such directory. Put WebShop's product files "
            "there (docs/webshop.md says which), or leave it empty for the generated shop."
        )
    if products:
        chosen = folder / products
        if not chosen.is_file():
            raise SkillRLError(f"env.webshop.products={products}: {chosen} does not exist.")
    else:
        chosen = _only(folder, PRODUCTS, sorted(folder.glob(f"{PRODUCTS}*.json")))
    suffix = chosen.stem.removeprefix(PRODUCTS)  # items_shuffle_1000 goes with items_ins_v2_1000
    extras = folder / f"{EXTRAS}{suffix}.json"
    if not extras.exists():
        extras = _only(folder, EXTRAS, sorted(folder.glob(f"{EXTRAS}*.json")))
    return Files(chosen, extras, folder / f"{HUMAN}.json")


def _only(folder: Path, name: str, found: Sequence[Path]) -> Path:
    if not found:
        raise SkillRLError(
            f"env.data_dir={folder}: holds no {name}*.json. WebShop's files are {PRODUCTS}.json "
            f"(or {PRODUCTS}_1000.json), {EXTRAS}.json and {HUMAN}.json; with env.data_dir empty, "
            "a generated catalogue is used."
        )
    if len(found) > 1:
        raise SkillRLError(
            f"env.data_dir={folder}: holds several {name} files: "
            f"{', '.join(path.name for path in found)}. Choose the catalogue by its name, for "
            f"example env.webshop.products={PRODUCTS}_1000.json."
        )
    return found[0]


def _slices(path: Path) -> Slices:
    try:
        return Slices(path)
    except OSError as error:
        raise SkillRLError(f"{path}: cannot be read ({error.strerror}).") from None
    except ValueError:  # what mmap says of an empty file
        raise SkillRLError(f"{path}: is empty; fetch it again.") from None
