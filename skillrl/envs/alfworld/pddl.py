"""Reads PDDL problems and grounds their goals.

Only what ALFWorld games use: typed ``:objects``, positive ``:init`` facts (costs, written
``(= ...)``, are skipped) and a goal of ``and or not exists forall =``. PDDL knows no
difference between capitals and small letters, so everything here is lower-case.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from skillrl.envs.alfworld.gametext import REMEDY
from skillrl.errors import SkillRLError

Node = Any
"""A formula: a word, or a tuple of nodes whose first one is usually a word."""

Atom = tuple[str, ...]
"""A predicate and its arguments, e.g. ``("inreceptacle", "apple_bar_1", "fridge_bar_1")``."""

_TOKEN = re.compile(r"[()]|[^\s()]+")


@dataclasses.dataclass(frozen=True, slots=True)
class PddlProblem:
    """Holds one PDDL problem.

    Attributes:
      types: declared name -> type, in the order of the text.
      facts: predicate -> argument tuples that hold at the start, each once, in text order.
      goal: the goal formula.
    """

    types: Mapping[str, str]
    facts: Mapping[str, tuple[Atom, ...]]
    goal: Node

    def all(self, predicate: str) -> tuple[Atom, ...]:
        """Returns the argument tuples for which `predicate` holds at the start."""
        return self.facts.get(predicate, ())


@dataclasses.dataclass(frozen=True, slots=True)
class Clause:
    """Joins ground facts: all of `positive` hold and none of `negative`."""

    positive: frozenset[Atom] = frozenset()
    negative: frozenset[Atom] = frozenset()


def parse_problem(text: str, *, name: str = "the problem") -> PddlProblem:
    """Reads the text of a problem.

    Raises:
      SkillRLError: not a problem; the message names `name` and what is wrong.
    """
    sections: dict[str, tuple[Node, ...]] = {}
    root = _tree(text, name)
    if root[:1] != ("define",):
        raise SkillRLError(f"{name}: the PDDL problem does not start with (define ...). {REMEDY}")
    for node in root[1:]:
        if isinstance(node, tuple) and node and isinstance(node[0], str):
            sections[node[0]] = node[1:]
    for section in (":objects", ":init", ":goal"):
        if not sections.get(section):
            raise SkillRLError(f"{name}: the PDDL problem has no ({section} ...). {REMEDY}")
    types = dict(_typed(sections[":objects"], name))
    facts: dict[str, dict[Atom, None]] = {}
    for node in sections[":init"]:
        if isinstance(node, tuple) and node[:1] == ("=",):
            continue
        if not isinstance(node, tuple) or not node or not all(isinstance(a, str) for a in node):
            raise SkillRLError(f"{name}: {_show(node)} in :init is not a plain fact. {REMEDY}")
        for argument in node[1:]:
            if argument not in types:
                raise SkillRLError(
                    f"{name}: the fact {_show(node)} names {argument!r}, "
                    f"which :objects does not declare. {REMEDY}"
                )
        facts.setdefault(node[0], {})[node[1:]] = None
    return PddlProblem(
        types, {key: tuple(value) for key, value in facts.items()}, sections[":goal"][0]
    )


def ground_goal(
    problem: PddlProblem,
    *,
    dynamic: Callable[[Atom], bool | None],
    name: str = "the problem",
) -> tuple[tuple[Clause, ...], ...]:
    """Returns the goal as a conjunction of disjunctions of clauses over facts that can change.

    Args:
      problem: gives the goal, the constants of each type and the facts that never change.
      dynamic: True for a ground atom that may be true or false later, False for one that
        never becomes true, None for one that stays as ``:init`` has it.
      name: what to call the problem in errors.

    Returns:
      For each part of the goal the clauses of which one must hold. The goal is met when
      every part is. Parts that always hold are left out.

    Raises:
      SkillRLError: the goal uses a construct other than ``and or not exists forall =``,
        or a part of it can never hold.
    """
    grounder = _Grounder(problem, dynamic, name)
    parts = []
    for conjunct in _conjuncts(problem.goal):
        clauses = grounder.clauses(conjunct, {}, negated=False)
        if not clauses:
            raise SkillRLError(
                f"{name}: the goal can never be met: nothing in the game satisfies "
                f"{_show(conjunct)}. The official engine refuses such games as well; delete it."
            )
        if Clause() not in clauses:
            parts.append(tuple(dict.fromkeys(clauses)))
    return tuple(parts)


def words(node: Node) -> set[str]:
    """Returns all words in a formula."""
    if isinstance(node, str):
        return {node}
    return set().union(*(words(child) for child in node))


class _Grounder:
    """Expands quantifiers one variable at a time, dropping branches as soon as they fail."""

    def __init__(self, problem: PddlProblem, dynamic: Callable[[Atom], bool | None], name: str):
        self._dynamic = dynamic
        self._name = name
        self._facts = {(p, *args) for p, rows in problem.facts.items() for args in rows}
        self._constants: dict[str, list[str]] = {}
        used = {a for rows in problem.facts.values() for args in rows for a in args}
        for constant, kind in problem.types.items():
            if constant in used:
                self._constants.setdefault(kind, []).append(constant)

    def clauses(self, node: Node, bound: Mapping[str, str], *, negated: bool) -> list[Clause]:
        head = node[0] if isinstance(node, tuple) and node else None
        if head == "not" and len(node) == 2:
            return self.clauses(node[1], bound, negated=not negated)
        if head in ("and", "or"):
            if (head == "and") != negated:
                return self._conjunction(node[1:], bound, negated=negated)
            return [c for child in node[1:] for c in self.clauses(child, bound, negated=negated)]
        if head in ("exists", "forall") and len(node) == 3:
            variables = list(_typed(node[1], self._name))
            if (head == "exists") != negated:
                return self._exists(variables, [node[2]], bound, negated=negated)
            bodies = [{**bound, **pairs} for pairs in self._assignments(variables)]
            return _product(self.clauses(node[2], b, negated=negated) for b in bodies)
        if head == "=" and len(node) == 3:
            same = bound.get(node[1], node[1]) == bound.get(node[2], node[2])
            return [Clause()] if same != negated else []
        if isinstance(head, str) and all(isinstance(a, str) for a in node):
            return self._literal((head, *(bound.get(a, a) for a in node[1:])), negated=negated)
        raise SkillRLError(
            f"{self._name}: the goal contains {_show(node)}, which this engine cannot read; "
            "it knows and, or, not, exists, forall, = and plain facts."
        )

    def _literal(self, atom: Atom, *, negated: bool) -> list[Clause]:
        changes = self._dynamic(atom)
        if changes:
            one = frozenset([atom])
            return [Clause(negative=one) if negated else Clause(positive=one)]
        holds = changes is None and atom in self._facts
        return [Clause()] if holds != negated else []

    def _conjunction(
        self, nodes: Iterable[Node], bound: Mapping[str, str], *, negated: bool
    ) -> list[Clause]:
        return _product(self.clauses(node, bound, negated=negated) for node in nodes)

    def _exists(
        self,
        variables: list[tuple[str, str]],
        waiting: list[Node],
        bound: Mapping[str, str],
        *,
        negated: bool,
    ) -> list[Clause]:
        if not negated:
            waiting = [part for node in waiting for part in _conjuncts(node)]
        unbound = {variable for variable, _ in variables}
        ready = [node for node in waiting if not unbound & words(node)]
        first = self._conjunction(ready, bound, negated=negated)
        if not first or not variables:
            return first
        (variable, kind), *others = variables
        later = [node for node in waiting if unbound & words(node)]
        rest = []
        for constant in self._constants.get(kind, ()):
            bound_now = {**bound, variable: constant}
            rest += self._exists(others, later, bound_now, negated=negated)
        return _product([first, rest])

    def _assignments(self, variables: list[tuple[str, str]]) -> Iterator[dict[str, str]]:
        domains = [self._constants.get(kind, ()) for _, kind in variables]
        names = [variable for variable, _ in variables]
        return (dict(zip(names, row, strict=True)) for row in itertools.product(*domains))


def _product(groups: Iterable[list[Clause]]) -> list[Clause]:
    """Clauses that say: one clause of every group. Stops at the first empty group."""
    result = [Clause()]
    for group in groups:
        pairs = itertools.product(result, group)
        result = [Clause(a.positive | b.positive, a.negative | b.negative) for a, b in pairs]
        result = [c for c in result if not c.positive & c.negative]
        if not result:
            break
    return result


def _conjuncts(node: Node) -> list[Node]:
    if isinstance(node, tuple) and node[:1] == ("and",):
        return [part for child in node[1:] for part in _conjuncts(child)]
    return [node]


def _typed(words: Iterable[Node], name: str) -> Iterator[tuple[str, str]]:
    """Yields pairs of ``a b - type`` lists."""
    pending: list[str] = []
    stream = iter(words)
    for word in stream:
        if not isinstance(word, str):
            raise SkillRLError(f"{name}: {_show(word)} stands in a list of names. {REMEDY}")
        if word != "-":
            pending.append(word)
            continue
        kind = next(stream, None)
        if not isinstance(kind, str):
            raise SkillRLError(f"{name}: the dash after {pending} has no type. {REMEDY}")
        yield from ((item, kind) for item in pending)
        pending = []
    yield from ((item, "object") for item in pending)


def _tree(text: str, name: str) -> tuple[Node, ...]:
    """Returns the one parenthesised expression of `text` as nested tuples."""
    stack: list[list[Node]] = [[]]
    plain = re.sub(r";[^\n]*", "", text).lower()
    for token in _TOKEN.findall(plain):
        if token == "(":
            stack.append([])
        elif token != ")":
            stack[-1].append(token)
        elif len(stack) > 1:
            done = tuple(stack.pop())
            stack[-1].append(done)
        else:
            raise SkillRLError(f"{name}: the PDDL text closes more brackets than it opens.")
    if len(stack) > 1:
        raise SkillRLError(
            f"{name}: the PDDL text ends with {len(stack) - 1} open brackets; it was probably "
            f"cut off. {REMEDY}"
        )
    if len(stack[0]) != 1 or not isinstance(stack[0][0], tuple):
        raise SkillRLError(f"{name}: the PDDL text is not one (define ...) expression. {REMEDY}")
    return stack[0][0]


def _show(node: Node) -> str:
    text = node if isinstance(node, str) else f"({' '.join(map(_show, node))})"
    return text if len(text) <= 200 else f"{text[:200]}..."
