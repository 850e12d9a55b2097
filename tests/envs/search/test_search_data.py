"""The field's question sets, in both layouts of file that are in use."""

import builtins
import gzip
import json

import pytest

from skillrl.config.settings import EnvConfig, SearchConfig
from skillrl.envs import SPLITS, make_suite
from skillrl.envs.search import data
from skillrl.envs.search.categories import category_of
from skillrl.envs.search.data import DATASETS, check_folder, load_split
from skillrl.errors import SkillRLError


def row(question="who wrote Emma", answers=("Jane Austen",), **more):
    """FlashRAG's form."""
    return {"id": "x_0", "question": question, "golden_answers": list(answers), **more}


def load_datasets(folder, datasets=()):
    """All splits."""
    check_folder(folder, datasets)
    return {split: load_split(folder, split, datasets) for split in SPLITS}


def write(path, rows):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))


def write_parquet(path, rows):
    pytest.importorskip("pyarrow")
    from pyarrow import Table, parquet

    path.parent.mkdir(exist_ok=True)
    parquet.write_table(Table.from_pylist(rows), path)


@pytest.fixture
def flashrag(tmp_path):
    """A folder per set; some have no test questions, as in the release."""
    for name in DATASETS:
        for part in ("train", "dev", "test"):
            if part == "test" and name in ("hotpotqa", "2wikimultihopqa", "musique"):
                continue
            if part != "test" and name == "bamboogle":
                continue
            write(tmp_path / name / f"{part}.jsonl", [row(f"{name} {part} {i}") for i in range(3)])
    return tmp_path


def search_r1(question, dataset, target):
    """Search-R1's form."""
    return {
        "question": question,
        "data_source": dataset,
        "prompt": [{"role": "user", "content": "..."}],
        "reward_model": {"style": "rule", "ground_truth": {"target": list(target)}},
        "golden_answers": None,
    }


def test_splits_are_those_of_the_paper(flashrag):
    tasks = load_datasets(flashrag)
    assert [t.goal for t in tasks["train"][:4]] == [
        "nq train 0?", "hotpotqa train 0?", "nq train 1?", "hotpotqa train 1?",
    ]  # fmt: skip
    assert [t.goal for t in tasks["valid_seen"][:2]] == ["nq test 0?", "hotpotqa dev 0?"]
    assert [t.goal for t in tasks["valid_unseen"][:5]] == [
        "triviaqa test 0?", "popqa test 0?", "2wikimultihopqa dev 0?", "musique dev 0?",
        "bamboogle test 0?",
    ]  # fmt: skip
    assert {split: len(found) for split, found in tasks.items()} == {
        "train": 6, "valid_seen": 6, "valid_unseen": 15,
    }  # fmt: skip
    every = [t for found in tasks.values() for t in found]
    assert len({t.id for t in every}) == len(every)
    first = tasks["valid_unseen"][0]
    assert (first.id, first.split) == ("valid_unseen/triviaqa/000001", "valid_unseen")
    assert first.payload == {"answers": ["Jane Austen"], "dataset": "triviaqa"}
    assert load_datasets(flashrag) == tasks


def test_sets_can_be_chosen(flashrag):
    tasks = load_datasets(flashrag, ("hotpotqa", "bamboogle"))
    assert {t.payload["dataset"] for found in tasks.values() for t in found} == {
        "hotpotqa",
        "bamboogle",
    }
    with pytest.raises(SkillRLError, match=r"names squad; there are: nq, triviaqa"):
        load_datasets(flashrag, ("squad",))
    (flashrag / "musique" / "dev.jsonl").unlink()
    assert len(load_datasets(flashrag)["valid_unseen"]) == 12
    with pytest.raises(SkillRLError, match=r"no valid_unseen questions of musique"):
        load_datasets(flashrag, ("musique", "nq"))


def test_search_r1_parquet(tmp_path):
    rows = [
        search_r1("who wrote emma", "nq", ["Jane Austen", "Austen"]),
        search_r1("Is A older than B?", "hotpotqa", ["yes"]),
    ]
    write_parquet(tmp_path / "train.parquet", rows)
    write_parquet(tmp_path / "test.parquet", [search_r1("q", "popqa", ["x"]), *rows])
    tasks = load_datasets(tmp_path)
    assert [(t.goal, t.payload["answers"]) for t in tasks["train"]] == [
        ("who wrote emma?", ["Jane Austen", "Austen"]),
        ("Is A older than B?", ["yes"]),
    ]
    assert [t.id for t in tasks["valid_unseen"]] == ["valid_unseen/popqa/000001"]
    assert [t.id for t in tasks["valid_seen"]] == [
        "valid_seen/nq/000002",
        "valid_seen/hotpotqa/000003",
    ]


def test_a_shared_file_is_read_once_and_splits_only_when_asked_for(tmp_path, monkeypatch):
    write(tmp_path / "test.jsonl", [row(data_source=name) for name in DATASETS])
    write(tmp_path / "train.jsonl", [{}])
    (tmp_path / "corpus.jsonl").write_text('{"id": 1, "contents": "x"}\n')
    reads, real = [], data.read_rows
    monkeypatch.setattr(data, "read_rows", lambda path: reads.append(path.name) or real(path))
    search = SearchConfig(corpus=str(tmp_path / "corpus.jsonl"))
    suite = make_suite("search", EnvConfig(name="search", data_dir=str(tmp_path), search=search))
    assert reads == []
    assert len(suite.tasks("valid_unseen")) == 5
    assert suite.tasks("valid_unseen") is suite.tasks("valid_unseen")
    assert reads == ["test.jsonl"]
    with pytest.raises(SkillRLError, match="values seen are None"):
        suite.tasks("train")  # its only row is of no set


def test_verl_puts_a_prefix_before_the_names(tmp_path):
    rows = [row(f"{name} q", data_source=f"searchR1_{name}") for name in DATASETS]
    write_parquet(tmp_path / "train.parquet", rows)
    write_parquet(tmp_path / "test.parquet", rows)
    tasks = load_datasets(tmp_path)
    assert [t.id for t in tasks["train"]] == ["train/nq/000001", "train/hotpotqa/000004"]
    assert [t.payload["dataset"] for t in tasks["valid_unseen"]] == [
        "triviaqa", "popqa", "2wikimultihopqa", "musique", "bamboogle",
    ]  # fmt: skip


def test_verl_has_the_question_in_extra_info(tmp_path):
    made = search_r1(None, "searchR1_nq", ["x", "y"]) | {
        "extra_info": {"index": 0, "question": "who", "need_tools_kwargs": True},
        "metadata": {"type": None, "context": ["long"]},
    }
    write_parquet(tmp_path / "train.parquet", [made])
    write(tmp_path / "test.jsonl", [made])
    tasks = [load_split(tmp_path, split) for split in ("train", "valid_seen")]
    for (task,) in tasks:
        assert (task.goal, task.payload["answers"]) == ("who?", ["x", "y"])


@pytest.mark.parametrize("datasets", [(), ("nq",)])
def test_files_without_a_question_of_the_split_say_whose_they_have(tmp_path, datasets):
    sources = ["openai/gsm8k", "searchR1_NQ", *(f"x{i:02d}" for i in range(30)), "x00"]
    write(tmp_path / "train.jsonl", [row(data_source=source) for source in sources])
    with pytest.raises(
        SkillRLError,
        match=r"no train questions of nq.* seen are openai/gsm8k, searchR1_NQ, x00, x01.*x17 and "
        r"12 more\. Put DATASET",
    ):
        load_split(tmp_path, "train", datasets)
    assert load_split(tmp_path, "valid_unseen") == []  # there are no files


def test_a_file_without_rows_is_no_split(tmp_path):
    write(tmp_path / "nq" / "train.jsonl", [])
    with pytest.raises(SkillRLError, match=r"hotpotqa, though there are files\. Put DATASET"):
        load_split(tmp_path, "train")


def test_only_what_is_used_of_a_row_is_kept(tmp_path):
    context = {"type": "bridge", "context": ["a long text"]}
    write(tmp_path / "dev.jsonl", [row(metadata=context, data_source="nq", prompt="p")])
    (found,) = data.read_rows(tmp_path / "dev.jsonl")
    assert found == data.Row(
        number=1, question="who wrote Emma", answers=["Jane Austen"], kind="bridge", source="nq"
    )


def test_a_name_in_front_and_parquet_with_metadata(tmp_path):
    write(tmp_path / "nq_test.jsonl", [row()])
    write_parquet(tmp_path / "hotpotqa_dev.parquet", [row(metadata={"type": "comparison"})])
    nq, hotpotqa = load_datasets(tmp_path)["valid_seen"]
    assert (nq.category, hotpotqa.category) == ("direct_retrieval", "comparison")


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SkillRLError, match=r"train\.parquet.*skillrl\[search\]"):
        load_datasets(tmp_path)


def test_a_broken_parquet_file_is_named(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "train.parquet").write_bytes(b"PAR1 and more")
    with pytest.raises(SkillRLError, match=r"train\.parquet: not a readable parquet file"):
        load_datasets(tmp_path)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"golden_answers": ["x"]}, r"test\.jsonl, line 2: question is None"),
        ({"question": " ", "golden_answers": ["x"]}, "line 2: question is ' '"),
        ({"question": "q"}, "line 2: has neither golden_answers"),
        ({"question": "q", "golden_answers": []}, "are \\[\\]"),
        ({"question": "q", "golden_answers": [1]}, "not all golden answers"),
        ({"question": "q", "reward_model": {"ground_truth": {}}}, "line 2: has neither"),
        ([], "line 2: not an object"),
    ],
)
def test_a_bad_row_is_named(tmp_path, bad, words):
    write(tmp_path / "nq" / "test.jsonl", [row(), bad])
    with pytest.raises(SkillRLError, match=words):
        load_datasets(tmp_path)


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n \t\n\n"])
def test_the_last_line_needs_no_newline_and_blank_lines_are_no_rows(tmp_path, end):
    lines = ["", json.dumps(row("a")), "  ", json.dumps(row("b"))]
    (tmp_path / "nq_test.jsonl").write_bytes(("\n".join(lines) + end).encode())
    tasks = load_datasets(tmp_path)["valid_seen"]
    assert [(t.id, t.goal) for t in tasks] == [
        ("valid_seen/nq/000002", "a?"),
        ("valid_seen/nq/000004", "b?"),
    ]


@pytest.mark.parametrize(
    "bad", [b'{"question": "b", "gold', b"nonsense\n", b"\xff\n", b"[" * 100_000]
)
def test_a_line_that_is_not_json_is_named(tmp_path, bad):
    (tmp_path / "nq_test.jsonl").write_bytes(json.dumps(row("a")).encode() + b"\n\n" + bad)
    with pytest.raises(SkillRLError, match=r"nq_test\.jsonl, line 3: not JSON .*Mend or remove"):
        load_datasets(tmp_path)


def test_a_single_answer_may_stand_alone(tmp_path):
    write(tmp_path / "nq" / "test.jsonl", [{"question": "q?", "golden_answers": "x"}])
    (task,) = load_datasets(tmp_path)["valid_seen"]
    assert (task.goal, task.payload["answers"]) == ("q?", ["x"])


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_without_sets_says_what_belongs_there(tmp_path, there):
    folder = tmp_path if there else tmp_path / "none"
    with pytest.raises(SkillRLError, match=r"DATASET/train\.jsonl"):
        load_datasets(folder)


@pytest.mark.parametrize(
    ("dataset", "question", "metadata", "category"),
    [
        ("nq", "who is older, A or B?", {}, "direct_retrieval"),
        ("popqa", "What is A's job?", {}, "entity_attribute_lookup"),
        ("hotpotqa", "anything", {"type": "comparison"}, "comparison"),
        ("hotpotqa", "Which is older, A or B?", {"type": "bridge"}, "multi_hop_reasoning"),
        ("2wikimultihopqa", "anything", {"type": "bridge_comparison"}, "comparison"),
        ("2wikimultihopqa", "anything", {"type": "inference"}, "multi_hop_reasoning"),
        ("hotpotqa", "Which magazine was started first, Arthur's or First for Women?", {},
         "comparison"),
        ("hotpotqa", "Were Scott Derrickson and Ed Wood of the same nationality?", {},
         "comparison"),
        ("musique", "Who is the spouse of the Green performer?", {}, "multi_hop_reasoning"),
        ("bamboogle", "Who was the first president of the country of X?", {},
         "multi_hop_reasoning"),
    ],
)  # fmt: skip
def test_categories(dataset, question, metadata, category):
    assert category_of(dataset, question, metadata) == category


def test_the_suite_plays_them_over_a_corpus(flashrag):
    corpus = flashrag / "corpus.jsonl"
    write(corpus, [{"id": "1", "contents": '"Emma"\nEmma is a novel by Jane Austen.'}])
    suite = make_suite(
        "search",
        EnvConfig(
            name="search",
            data_dir=str(flashrag),
            max_steps=4,
            search=SearchConfig(corpus=str(corpus)),
        ),
    )
    (task, *_), environment = suite.tasks("train"), suite.make()
    assert suite.expert(task) is None
    assert suite.simulated == ""
    environment.reset(task)
    assert "novel by Jane Austen" in environment.step("<search>Emma</search>").observation.text
    assert environment.step("<answer>jane austen</answer>").won


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ('["Ann", "Anne"]', ["Ann", "Anne"]),
        (" ['Ann', 'Anne'] ", ["Ann", "Anne"]),
        (["Ann", " ", ""], ["Ann"]),
        ("[1, 2]", ["[1, 2]"]),
        ("[sic]", ["[sic]"]),
        ("{}", ["{}"]),
        ("[" * 5000, ["[" * 5000]),
        ('["\\ud83d"]', ["\ufffd"]),
    ],
)
def test_answers_as_the_text_of_a_list(tmp_path, given, read):
    write(tmp_path / "nq" / "test.jsonl", [row() | {"golden_answers": given}])
    (task,) = load_split(tmp_path, "valid_seen", ["nq"])
    assert task.payload["answers"] == read


def test_answers_that_are_all_blank_are_named(tmp_path):
    write(tmp_path / "nq" / "test.jsonl", [row(answers=["", " "])])
    with pytest.raises(SkillRLError, match="line 1: all golden answers are blank"):
        load_split(tmp_path, "valid_seen")


def test_objects_as_the_texts_of_objects(tmp_path):
    cells = {
        "metadata": '{"type": "bridge"}',
        "reward_model": '{"ground_truth": {"target": ["a"]}}',
    }
    write(tmp_path / "hotpotqa" / "dev.jsonl", [{"question": "q", **cells}])
    (task,) = load_split(tmp_path, "valid_seen", ["hotpotqa"])
    assert task.payload["answers"] == ["a"]
    assert task.category == category_of("hotpotqa", "q?", {"type": "bridge"})


def test_packed_questions_with_a_mark_and_half_an_emoji(tmp_path):
    (tmp_path / "nq").mkdir()
    text = json.dumps(row("who \ud83d")) + "\n" + json.dumps(row("why"))
    packed = gzip.compress(b"\xef\xbb\xbf" + text.encode())
    (tmp_path / "nq" / "test.jsonl.gz").write_bytes(packed)
    check_folder(tmp_path)
    goals = [task.goal for task in load_split(tmp_path, "valid_seen")]
    assert goals == ["who \ufffd?", "why?"]
    (tmp_path / "nq" / "test.jsonl.gz").write_bytes(packed[:-12])
    with pytest.raises(SkillRLError, match=r"test\.jsonl\.gz: the gzip file is damaged"):
        load_split(tmp_path, "valid_seen")
