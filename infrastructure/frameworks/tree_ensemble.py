"""Sums of decision trees: one form for every boosting library, and its ONNX operators."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from onnx import TensorProto

Link = Literal["identity", "exp", "sigmoid", "softmax"]
_LEAF = "LEAF"


class Node(NamedTuple):
    """A split or a leaf of a tree.

    Attributes:
        mode: ONNX's name of the comparison with `value`, such as ``BRANCH_LEQ``; ``LEAF`` for a
            leaf.
        true: position of the next node in the tree if the comparison is true.
        false: position of the next node if it is not.
        missing: whether a missing value counts as true.
        scores: what a leaf adds to each score, by the score's number.
    """

    mode: str = _LEAF
    feature: int = 0
    value: float = 0.0
    true: int = 0
    false: int = 0
    missing: bool = False
    scores: Sequence[tuple[int, float]] = ()


@dataclass(frozen=True)
class TreeEnsemble:
    """Trees whose leaves are added up to one or more scores.

    Attributes:
        trees: the nodes of each tree, its root first.
        base: what each score starts with.
        link: makes predictions or probabilities of the scores.
    """

    trees: Sequence[Sequence[Node]]
    base: Sequence[float]
    link: Link


def leaf(target: int, value: float) -> Node:
    """A leaf that adds to one score."""
    return Node(scores=((target, value),))


def round_down(threshold: float) -> float:
    """The largest float32 that is not above a threshold.

    A float32 value exceeds it exactly if it exceeds the threshold. The nearest float32 can be the
    value itself, which would then fall on the other side.
    """
    with np.errstate(over="ignore"):
        near = np.float32(threshold)
    return float(np.nextafter(near, np.float32(-np.inf)) if float(near) > threshold else near)


def add_membership(
    tree: list[Node], at: int, feature: int, members: Iterable[int], inside: int, outside: int
) -> None:
    """Put a split by membership of a category at a position of a tree, as a chain of comparisons.

    A missing value is outside.
    """
    chain = [Node("BRANCH_EQ", feature, float(member), inside) for member in members]
    chain = chain or [Node("BRANCH_LEQ", feature, math.inf, outside, missing=False)]
    positions = [at, *range(len(tree), len(tree) + len(chain) - 1)]
    tree.extend(chain[1:])
    for node, position, following in zip(chain, positions, [*positions[1:], outside], strict=True):
        tree[position] = node._replace(false=following)


def convert(ensemble: TreeEnsemble, scope: Any, operator: Any, container: Any) -> None:
    """Add an ensemble to a graph of skl2onnx: as a regression with one output, or as a
    classification with the outputs label and probabilities (raw scores with that option)."""

    def apply(kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or scope.get_unique_variable_name("scores")
        container.add_node(kind, list(inputs), [output], **attributes)
        return output

    (rows,) = (each.full_name for each in operator.inputs)
    # some steps give whole numbers
    rows = apply("Cast", rows, to=TensorProto.FLOAT)
    scores = apply(
        "TreeEnsembleRegressor", rows, op_domain="ai.onnx.ml", op_version=1, **_attributes(ensemble)
    )
    links = {"identity": "Identity", "exp": "Exp", "sigmoid": "Sigmoid", "softmax": "Softmax"}
    axis: dict[str, Any] = {"axis": 1} if ensemble.link == "softmax" else {}
    if len(operator.outputs) == 1:
        apply(links[ensemble.link], scores, output=operator.outputs[0].full_name, **axis)
        return
    label, probabilities = (output.full_name for output in operator.outputs)
    raw = scope.get_options(operator.raw_operator).get("raw_scores", False)
    values = scores if raw else apply(links[ensemble.link], scores, **axis)
    if ensemble.link == "sigmoid":  # of the second class
        zero_or_one = scope.get_unique_variable_name("zero_or_one")
        container.add_initializer(zero_or_one, TensorProto.FLOAT, [], [0.0 if raw else 1.0])
        values = apply("Concat", apply("Sub", zero_or_one, values), values, axis=1)
    apply("Identity", values, output=probabilities)
    apply("ArgMax", values, output=label, axis=1, keepdims=0)


def _attributes(ensemble: TreeEnsemble) -> dict[str, Any]:
    """The attributes of ONNX's TreeEnsembleRegressor."""
    places = [(t, n) for t, tree in enumerate(ensemble.trees) for n in range(len(tree))]
    nodes = [node for tree in ensemble.trees for node in tree]
    leaves = [
        (*place, target, value)
        for place, node in zip(places, nodes, strict=True)
        for target, value in node.scores
    ]
    return {
        "n_targets": len(ensemble.base),
        "base_values": list(map(float, ensemble.base)),
        "nodes_treeids": [tree for tree, _ in places],
        "nodes_nodeids": [number for _, number in places],
        "nodes_modes": [node.mode for node in nodes],
        "nodes_featureids": [node.feature for node in nodes],
        "nodes_values": [node.value for node in nodes],
        "nodes_truenodeids": [node.true for node in nodes],
        "nodes_falsenodeids": [node.false for node in nodes],
        "nodes_missing_value_tracks_true": [int(node.missing) for node in nodes],
        "target_treeids": [tree for tree, _, _, _ in leaves],
        "target_nodeids": [number for _, number, _, _ in leaves],
        "target_ids": [target for _, _, target, _ in leaves],
        "target_weights": [float(value) for _, _, _, value in leaves],
    }
