"""Reads the seven question sets of the paper, from files on this machine.

    data_dir/hotpotqa/train.jsonl, dev.jsonl    a folder per set, as FlashRAG's release has them
    data_dir/hotpotqa_train.jsonl               or the set in the file's name; or either .jsonl.gz
    data_dir/train.parquet, test.parquet        or sets in one file, told apart by data_source,
                                                as Search-R1's release has them; verl's scripts
                                                put searchR1_ before its values

A row has ``question`` and ``golden_answers`` (a list, or the text of one), or
``reward_model.ground_truth.target`` in their place; FlashRAG's ``metadata.type`` tells the kind of
question. ``train`` is NQ and HotpotQA. Held out are the test questions of each set, or the dev
questions of a set without test: those of NQ and HotpotQA are ``valid_seen`` (in-domain), those of
the other five ``valid_unseen``.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from skillrl.envs.search import packed
from skillrl.envs.search.categories import category_of
from skillrl.errors import SkillRLError
from skillrl.io import paths
from skillrl.io.json_text import loads
from skillrl.io.records import show
from skillrl.types import Task

_LOG = logging.getLogger(__name__)

DATASETS = ("nq", "triviaqa", "popqa", "hotpotqa", "2wikimultihopqa", "musique", "bamboogle")
TRAINED_ON = ("nq", "hotpotqa")
_HELD_OUT = ("test", "dev")  # the first that is there
_SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
_COLUMNS = (
    "question",
    "extra_info.question",
    "golden_answers",
    "reward_model.ground_truth.target",
    "metadata.type",
    "data_source",
)
_PREFIX = "searchR1_"  # verl, examples/data_preprocess/preprocess_search_r1_dataset.py
_SHOWN = 20  # values of data_source in a message


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Holds what is used of a row of a file, as it stands there.

    Attributes:
      number: of the row from 1 on; in JSONL of the line, blank ones counted.
      question: a text, if the row is sound.
      answers: a list of texts or a text, if the row is sound.
      kind: FlashRAG's ``metadata.type``, e.g. ``bridge``; None where there is none.
      source: ``data_source``; None where there is none.
    """

    number: int
    question: Any
    answers: Any
    kind: Any
    source: Any


def check_folder(directory: str | Path, datasets: Sequence[str] = ()) -> None:
    """Checks that `load_split` may find something; no file is read.

    Raises:
      SkillRLError: no such folder or set, or no file that could hold questions.
    """
    if unknown := sorted(set(datasets) - set(DATASETS)):
        raise SkillRLError(
            f"env.search.datasets names {', '.join(unknown)}; there are: {', '.join(DATASETS)}."
        )
    root = Path(paths.expand(directory))
    if not root.is_dir():
        raise SkillRLError(f"env.data_dir={root}: no such folder. {_layout()}")
    parts = ("train", *_HELD_OUT)
    if not any(_files(root, name, part) for name in DATASETS for part in parts):
        raise SkillRLError(f"env.data_dir={root}: no question sets in it. {_layout()}")


def load_split(directory: str | Path, split: str, datasets: Sequence[str] = ()) -> list[Task]:
    """Returns the tasks of a split, the sets taken in turn, so that every prefix is balanced.

    A task's payload holds ``answers`` and ``dataset``; its id is split, set and number of the
    row (in JSONL: of the line) in its file.

    Args:
      directory: of the files.
      split: ``train``, ``valid_seen`` or ``valid_unseen``.
      datasets: names out of `DATASETS`; empty means all that are there.

    Raises:
      SkillRLError: a set that was named is not there, there are files and none of their rows
        is of the split, or a row has no question or no answers.
    """
    root = Path(paths.expand(directory))
    in_domain = split != "valid_unseen"
    names = [name for name in DATASETS if (name in TRAINED_ON) == in_domain]
    names = [name for name in names if not datasets or name in datasets]
    rows = _Rows()
    found = {name: _tasks(rows, root, dataset=name, split=split) for name in names}
    missing = ", ".join(name for name, tasks in found.items() if not tasks)
    there = any(_files(root, name, part) for name in names for part in _parts(split))
    if missing and (datasets or (there and not any(found.values()))):
        named = ", which env.search.datasets names" if datasets else ", though there are files"
        raise SkillRLError(
            f"env.data_dir={root}: has no {split} questions of {missing}{named}. "
            f"{rows.seen()}{_layout()}"
        )
    if missing:
        _LOG.warning("%s: has no %s questions of %s", root, split, missing)
    return _in_turn(found.values())


def _parts(split: str) -> Sequence[str]:
    return ("train",) if split == "train" else _HELD_OUT


def _layout() -> str:
    return (
        "Put DATASET/train.jsonl, test.jsonl or dev.jsonl there (FlashRAG's layout), or "
        f"train.parquet and test.parquet with a data_source column; sets: {', '.join(DATASETS)}."
    )


def _in_turn(lists: Iterable[Sequence[Task]]) -> list[Task]:
    """Takes one of each in turn as long as they last, so that every prefix has all sets."""
    turns = itertools.zip_longest(*lists)
    return [task for turn in turns for task in turn if task is not None]


def _files(root: Path, dataset: str, part: str) -> list[Path]:
    """Finds the files of a part of a set; the last may be shared with other sets."""
    stems = (f"{dataset}/{part}", f"{dataset}_{part}", part)
    paths = [root / f"{stem}{suffix}" for stem in stems for suffix in _SUFFIXES]
    return [path for path in paths if path.is_file()]


class _Rows:
    """Reads rows of files by data set; a file that is shared by several is read once."""

    def __init__(self) -> None:
        self._shared: dict[Path, dict[str, list[Row]]] = {}

    def of(self, path: Path, dataset: str, *, shared: bool) -> Iterable[Row]:
        if not shared:
            return read_rows(path)
        if path not in self._shared:
            sets: dict[str, list[Row]] = {}
            for row in read_rows(path):
                sets.setdefault(str(row.source), []).append(row)
            self._shared[path] = sets
        sets = self._shared[path]
        return itertools.chain(sets.get(dataset, ()), sets.get(_PREFIX + dataset, ()))

    def seen(self) -> str:
        """Words the values of ``data_source`` that there are, or "" where no file has them."""
        values = sorted({value for sets in self._shared.values() for value in sets})
        if not values:
            return ""
        more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
        return f"The data_source values seen are {', '.join(values[:_SHOWN])}{more}. "


def _tasks(rows: _Rows, root: Path, *, dataset: str, split: str) -> list[Task]:
    """Returns the tasks of the first of the parts (``test``, ``dev``) that has any."""
    for part in _parts(split):
        for path in _files(root, dataset, part):
            shared = path.parent == root and path.name.partition(".")[0] == part
            found = rows.of(path, dataset, shared=shared)
            if tasks := [_task(row, dataset=dataset, split=split, path=path) for row in found]:
                return tasks
    return []


def _task(row: Row, *, dataset: str, split: str, path: Path) -> Task:
    place = _place(path, row.number)
    question = _question(row.question, place)
    return Task(
        id=f"{split}/{dataset}/{row.number:06d}",
        split=split,
        category=category_of(dataset, question, {"type": row.kind}),
        goal=question,
        payload={"answers": _answers(row.answers, place), "dataset": dataset},
    )


def _place(path: Path, number: int) -> str:
    return f"{path}, {'row' if path.suffix == '.parquet' else 'line'} {number}"


def _question(question: Any, place: str) -> str:
    """Returns a row's question with its mark; raises SkillRLError where it has none."""
    if not isinstance(question, str) or not question.strip():
        raise SkillRLError(f"{place}: question is {show(question)}; it is a text")
    question = question.strip()
    return question if question.endswith("?") else question + "?"


def _answers(found: Any, place: str) -> list[str]:
    if found is None:
        raise SkillRLError(
            f"{place}: has neither golden_answers nor reward_model.ground_truth.target"
        )
    said = _said(found) if isinstance(found, str) else found
    if isinstance(found, str) and not (isinstance(said, list) and _are_texts(said)):
        said = [found]  # one answer, like "[1]" or "AC/DC"
    if not isinstance(said, list) or not said:
        raise SkillRLError(
            f"{place}: the golden answers are {show(found)}; they are a list of texts"
        )
    if not _are_texts(said):
        raise SkillRLError(f"{place}: not all golden answers of {found!r:.80} are texts")
    answers = [answer for answer in said if answer.strip()]
    if not answers:
        raise SkillRLError(f"{place}: all golden answers are blank, which nothing can equal")
    return answers


def _are_texts(values: Sequence[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def read_rows(path: Path) -> Iterator[Row]:
    """Yields the rows of a JSONL or parquet file; of the latter no more than a batch is held.

    Raises:
      SkillRLError: the file cannot be read, a line is not JSON, a row is no object, or pyarrow,
        which parquet needs, is missing.
    """
    is_table = path.suffix == ".parquet"
    found = enumerate(_parquet(path), start=1) if is_table else _lines(path)
    for number, row in found:
        if not isinstance(row, Mapping):
            raise SkillRLError(
                f"{_place(path, number)}: not an object with question and golden_answers"
            )
        answers = row.get("golden_answers")
        if answers is None:
            answers = _inside(row, "reward_model", "ground_truth", "target")
        question = row.get("question")
        if question is None:
            question = _inside(row, "extra_info", "question")  # verl's place for it
        kind, source = _inside(row, "metadata", "type"), row.get("data_source")
        yield Row(number=number, question=question, answers=answers, kind=kind, source=source)


def _inside(value: Any, *keys: str) -> Any:
    """Returns what nested objects, or the JSON texts of such, have under `keys`, or None."""
    for key in keys:
        value = _said(value) if isinstance(value, str) else value
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _said(text: str) -> Any:
    """Reads the list or object that a cell holds as JSON or Python text; else the text.

    Tables that went through CSV or pandas hold these.
    """
    bare = text.strip()
    if bare[:1] + bare[-1:] not in ("[]", "{}"):
        return text
    for read in (loads, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            return read(bare)
    return text  # somebody's answer may well begin with a bracket


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Yields the rows of a JSONL file; the last line counts without a newline, too."""
    try:
        with packed.opened(path) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, _parse(line, path, number)
    except OSError as error:
        raise SkillRLError(f"{path}: cannot be read ({error.strerror}).") from None


def _parse(line: bytes, path: Path, number: int) -> Any:
    try:
        return loads(line)
    except (ValueError, RecursionError) as error:
        raise SkillRLError(
            f"{_place(path, number)}: not JSON ({error}). Mend or remove the line, or fetch the "
            "file again if its end is missing."
        ) from None


def _parquet(path: Path) -> Iterator[Any]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise SkillRLError(
            f"{path}: parquet files need pyarrow. Install it with pip install 'skillrl[search]', "
            "or convert the file to JSONL."
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            there = file.schema_arrow.names
            columns = [name for name in _COLUMNS if name.split(".")[0] in there]
            for batch in file.iter_batches(columns=columns):
                yield from batch.to_pylist()
    except (ArrowException, OSError) as error:
        raise SkillRLError(
            f"{path}: not a readable parquet file ({error}); fetch it again."
        ) from None
