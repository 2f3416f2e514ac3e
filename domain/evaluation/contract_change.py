"""What a new contract changes for clients of the old one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from domain.contract import (
    Audio,
    Category,
    Classes,
    Datetime,
    HashedText,
    Input,
    ModelSpec,
    Number,
    Tensor,
    Text,
    format_shape,
)


@dataclass(frozen=True)
class ContractChange:
    """How two contracts differ: messages that name the input or the output.

    Attributes:
        breaking: a valid request becomes invalid, or its prediction means something else.
        compatible: valid requests stay valid, and their predictions mean the same.
        wording: descriptions that differ, which inputs are logged, and by which threshold a class
            is predicted: it is chosen in each training, as the weights are.
    """

    breaking: tuple[str, ...] = ()
    compatible: tuple[str, ...] = ()
    wording: tuple[str, ...] = ()


@dataclass
class _Changes:
    breaking: list[str] = field(default_factory=list)
    compatible: list[str] = field(default_factory=list)
    wording: list[str] = field(default_factory=list)

    def compare_limit(
        self, what: str, end: str, old: float, new: float, refuses: bool = True
    ) -> None:
        """Compare a limit; `end` is ``at least`` or ``at most``. A narrower range that refuses
        others is breaking."""
        if new != old:
            narrower = refuses and (new < old) == (end == "at most")
            message = f"{what} is now {end} {new:g}, was {old:g}"
            (self.breaking if narrower else self.compatible).append(message)

    def compare_days(self, what: str, old: Datetime, new: Datetime) -> None:
        """Compare the first and last day of a date. A narrower range is breaking."""
        (first, last), (new_first, new_last) = old.limits, new.limits
        ends = (
            ("from", first, new_first, new_first > first),
            ("to", last, new_last, new_last < last),
        )
        for word, before, after, narrower in ends:
            if after != before:
                message = f"{what} is now {word} {after}, was {before}"
                (self.breaking if narrower else self.compatible).append(message)

    def compare_value(self, what: str, old: Any, new: Any) -> None:
        """Compare a value of which every change is breaking."""
        if new != old:
            self.breaking.append(f"{what} is now {_format(new)}, was {_format(old)}")

    def compare_description(self, what: str, old: str, new: str) -> None:
        """Compare two descriptions of an input or of the model."""
        if new != old:
            self.wording.append(f"the description of {what} has changed")

    def compare_logging(self, name: str, old: bool, new: bool) -> None:
        """Compare whether the prediction log has an input."""
        if new != old:
            self.wording.append(f"{name} is {'now' if new else 'no longer'} logged")


def change_between(old: ModelSpec, new: ModelSpec) -> ContractChange:
    """Compare two contracts.

    An added input is a breaking change even if it is nullable, since a row of values needs one for
    each input. So is another order of the inputs; the order of a category's words does not matter.
    """
    found = _Changes()
    found.compare_description("the model", old.description, new.description)
    before = {item.name: item for item in old.inputs}
    after = {item.name: item for item in new.inputs}
    found.breaking += [f"{name} is no longer an input" for name in before if name not in after]
    found.breaking += [f"{name} is a new input" for name in after if name not in before]
    common = [name for name in before if name in after]
    order = [name for name in after if name in before]
    if order != common:
        found.breaking.append(f"the inputs are reordered: {', '.join(order)}")
    for name in common:
        _compare_inputs(found, before[name], after[name])
    _compare_outputs(found, old, new)
    return ContractChange(tuple(found.breaking), tuple(found.compatible), tuple(found.wording))


def _compare_inputs(found: _Changes, old: Input, new: Input) -> None:
    name = old.name
    found.compare_description(name, old.description, new.description)
    found.compare_logging(name, old.logged, new.logged)
    if old.kind != new.kind:
        found.compare_value(f"the kind of {name}", old.kind, new.kind)
        return
    if old.nullable and not new.nullable:
        found.breaking.append(f"{name} may no longer be missing")
    elif new.nullable and not old.nullable:
        found.compatible.append(f"{name} may now be missing")
    if isinstance(old, Number | Tensor) and isinstance(new, Number | Tensor):
        found.compare_value(f"the unit of {name}", old.unit, new.unit)
        refuses = getattr(new, "outside", "refuse") == "refuse"
        found.compare_limit(name, "at least", old.minimum, new.minimum, refuses)
        found.compare_limit(name, "at most", old.maximum, new.maximum, refuses)
    if isinstance(old, Number) and isinstance(new, Number):
        found.compare_value(f"the decimal mark of {name}", old.decimal, new.decimal)
        if old.outside != new.outside:
            message = f"numbers outside the range of {name}: now {new.outside}, was {old.outside}"
            (found.breaking if new.outside == "refuse" else found.compatible).append(message)
    if isinstance(old, Tensor) and isinstance(new, Tensor):
        found.compare_value(
            f"the shape of {name}", format_shape(old.shape), format_shape(new.shape)
        )
    elif isinstance(old, Category) and isinstance(new, Category):
        _compare_categories(found, old, new)
    elif isinstance(old, Datetime) and isinstance(new, Datetime):
        found.compare_value(f"the time zone of {name}", old.zone, new.zone)
        found.compare_days(name, old, new)
    elif isinstance(old, Text | HashedText) and isinstance(new, Text | HashedText):
        _compare_texts(found, old, new)
    elif isinstance(old, Audio) and isinstance(new, Audio):
        found.compare_limit(
            f"the duration of {name} in seconds", "at most", old.max_seconds, new.max_seconds
        )
        if old.sample_rate != new.sample_rate:  # requests may have any sample rate
            found.compatible.append(f"{name} is now resampled to {new.sample_rate} Hz")


def _compare_texts(found: _Changes, old: Text | HashedText, new: Text | HashedText) -> None:
    found.compare_limit(f"the length of {old.name}", "at most", old.max_length, new.max_length)
    if old.width != new.width:  # requests stay the same
        found.compatible.append(f"{old.name} now has {new.width} features")


def _compare_categories(found: _Changes, old: Category, new: Category) -> None:
    removed = [word for word in old.categories if word not in new.categories]
    added = [word for word in new.categories if word not in old.categories]
    if removed:
        found.breaking.append(f"{old.name} no longer has the categories {', '.join(removed)}")
    if added:
        found.compatible.append(f"{old.name} has the new categories {', '.join(added)}")
    if old.unseen == "missing" and new.unseen == "refuse":
        found.breaking.append(f"{old.name} now refuses unknown words; they counted as missing")
    elif new.unseen == "missing" and old.unseen == "refuse":
        found.compatible.append(
            f"unknown words of {old.name} now count as missing; they were refused"
        )


def _compare_outputs(found: _Changes, old: ModelSpec, new: ModelSpec) -> None:
    found.compare_value("the task", old.task, new.task)
    found.compare_value("the name of the output", old.output.name, new.output.name)
    if old.task != new.task:
        return
    name, removed = old.output.name, [word for word in old.classes if word not in new.classes]
    added = [word for word in new.classes if word not in old.classes]
    if removed:
        found.breaking.append(f"{name} no longer has the classes {', '.join(removed)}")
    if added:
        found.breaking.append(f"{name} has the new classes {', '.join(added)}")
    if not removed and not added and old.classes != new.classes:
        found.breaking.append(f"the classes of {name} are reordered")
    if (
        isinstance(old.output, Classes)
        and isinstance(new.output, Classes)
        and len(old.output.names) == len(new.output.names) == 2
    ):
        _compare_decisions(found, old.output, new.output)
    for what in ("unit", "coverage"):
        found.compare_value(
            f"the {what} of {name}",
            getattr(old.output, what, None),
            getattr(new.output, what, None),
        )


def _compare_decisions(found: _Changes, old: Classes, new: Classes) -> None:
    before, after = (output.names[output.positive_code] for output in (old, new))
    if before != after:
        found.wording.append(f"the positive class of {new.name} is now {after}, was {before}")
    if old.threshold != new.threshold:
        limit, previous = (
            "none" if output.threshold is None else f"{output.threshold:g}" for output in (new, old)
        )
        found.wording.append(f"the threshold of {new.name} is now {limit}, was {previous}")


def _format(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value) or "none"
