"""What a new contract means for those who send requests by the old one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from domain.contract import Audio, Category, Input, ModelSpec, Number, Tensor, Text


@dataclass(frozen=True)
class ContractChange:
    """How two contracts differ, in words that name the input or the output.

    Attributes:
        breaking: a request that was answered is refused, or its answer means something else.
        compatible: requests that were answered still are, with answers of the same meaning.
        wording: descriptions that differ.
    """

    breaking: tuple[str, ...] = ()
    compatible: tuple[str, ...] = ()
    wording: tuple[str, ...] = ()


@dataclass
class _Found:
    breaking: list[str] = field(default_factory=list)
    compatible: list[str] = field(default_factory=list)
    wording: list[str] = field(default_factory=list)

    def limit(self, what: str, end: str, old: float, new: float) -> None:
        """Compare the largest or smallest values that are taken; `end` says which."""
        if new != old:
            narrower = (new < old) == (end == "at most")
            told = f"{what} is now {end} {new:g}, was {old:g}"
            (self.breaking if narrower else self.compatible).append(told)

    def same(self, what: str, old: Any, new: Any) -> None:
        """Note what must not differ."""
        if new != old:
            self.breaking.append(f"{what} is now {_word(new)}, was {_word(old)}")

    def described(self, what: str, old: str, new: str) -> None:
        """Note another description."""
        if new != old:
            self.wording.append(f"{what} is described otherwise")


def change_between(old: ModelSpec, new: ModelSpec) -> ContractChange:
    """Compare two contracts.

    An added input breaks requests even where it may be missing, since rows of values must have one
    for each; so does another order. That of a category's words does not matter.
    """
    found = _Found()
    found.described("the model", old.description, new.description)
    before = {item.name: item for item in old.inputs}
    after = {item.name: item for item in new.inputs}
    found.breaking += [f"{name} is no longer an input" for name in before if name not in after]
    found.breaking += [f"{name} is a new input" for name in after if name not in before]
    common = [name for name in before if name in after]
    order = [name for name in after if name in before]
    if order != common:
        found.breaking.append(f"the inputs are in another order: {', '.join(order)}")
    for name in common:
        _compare_inputs(found, before[name], after[name])
    _compare_outputs(found, old, new)
    return ContractChange(tuple(found.breaking), tuple(found.compatible), tuple(found.wording))


def _compare_inputs(found: _Found, old: Input, new: Input) -> None:
    name = old.name
    found.described(name, old.description, new.description)
    if old.kind != new.kind:
        found.same(f"the kind of {name}", old.kind, new.kind)
        return
    if old.nullable and not new.nullable:
        found.breaking.append(f"{name} may no longer be missing")
    elif new.nullable and not old.nullable:
        found.compatible.append(f"{name} may now be missing")
    if isinstance(old, Number | Tensor) and isinstance(new, Number | Tensor):
        found.same(f"the unit of {name}", old.unit, new.unit)
        found.limit(name, "at least", old.minimum, new.minimum)
        found.limit(name, "at most", old.maximum, new.maximum)
    if isinstance(old, Tensor) and isinstance(new, Tensor):
        found.same(f"the shape of {name}", _by(old.shape), _by(new.shape))
    elif isinstance(old, Category) and isinstance(new, Category):
        _compare_words(found, old, new)
    elif isinstance(old, Text) and isinstance(new, Text):
        found.limit(f"the length of {name}", "at most", old.max_length, new.max_length)
    elif isinstance(old, Audio) and isinstance(new, Audio):
        found.limit(f"the seconds of {name}", "at most", old.max_seconds, new.max_seconds)
        if old.sample_rate != new.sample_rate:  # recordings of any rate are taken
            found.compatible.append(f"{name} is now resampled to {new.sample_rate} Hz")


def _compare_words(found: _Found, old: Category, new: Category) -> None:
    gone = [word for word in old.categories if word not in new.categories]
    added = [word for word in new.categories if word not in old.categories]
    if gone:
        found.breaking.append(f"{old.name} no longer has the words {', '.join(gone)}")
    if added:
        found.compatible.append(f"{old.name} has the new words {', '.join(added)}")
    if old.unseen == "missing" and new.unseen == "refuse":
        found.breaking.append(f"{old.name} refuses unknown words, which counted as missing")
    elif new.unseen == "missing" and old.unseen == "refuse":
        found.compatible.append(f"{old.name} takes unknown words as missing, which it refused")


def _compare_outputs(found: _Found, old: ModelSpec, new: ModelSpec) -> None:
    found.same("the task", old.task, new.task)
    found.same("the name of the output", old.output.name, new.output.name)
    if old.task != new.task:
        return
    name, gone = old.output.name, [word for word in old.classes if word not in new.classes]
    added = [word for word in new.classes if word not in old.classes]
    if gone:
        found.breaking.append(f"{name} no longer has the classes {', '.join(gone)}")
    if added:
        found.breaking.append(f"{name} has the new classes {', '.join(added)}")
    if not gone and not added and old.classes != new.classes:
        found.breaking.append(f"the classes of {name} are in another order")
    for what in ("unit", "coverage"):
        found.same(
            f"the {what} of {name}",
            getattr(old.output, what, None),
            getattr(new.output, what, None),
        )


def _by(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value) or "none"
