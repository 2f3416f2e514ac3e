"""The report of the gates shows refusals, and is repeatable."""

from __future__ import annotations

from typing import get_args

from application.training.config import Gate, ValidationConfig
from domain.gates import Verdict, budget
from tests.equal_challengers import SETTINGS, Rates, Setting, exceeded_bounds
from tests.leaky_tables import CASES
from tests.template.benchmarks.gates_report import ADVICE, GATES, Result, render
from tests.template.zoo import BY_MEASURE, MUTANTS, SOUND_MODELS, SPEC, Mutant

MUTANT = Mutant("a beast", "it bites", "quality")
QUALITY = Verdict("quality", False, "accuracy 0.5")
SIZE = Verdict("size", False, "far too large")
FINE = Rates(0.0, 0.0, 0.0)


def row_of(*refusals: Verdict, mutant: Mutant = MUTANT) -> str:
    """The row of a mutant in the document."""
    text = render([], [Result(mutant, refusals)], {}, [])
    (row,) = (line for line in text.splitlines() if mutant.name in line)
    return row


def test_a_row_has_the_mutant_its_gate_the_reason_and_other_refusals() -> None:
    expected = "| a beast: it bites | `quality` | refused: accuracy 0.5 | `size` |"
    assert row_of(SIZE, QUALITY) == expected
    assert row_of(QUALITY).endswith("| refused: accuracy 0.5 | — |")


def test_a_mutant_that_its_gate_accepts_is_not_refused_even_if_other_gates_refuse() -> None:
    assert row_of(SIZE).endswith("| **not refused** | `size`: far too large |")
    assert not Result(MUTANT, [SIZE]).as_expected
    assert Result(MUTANT, [SIZE, QUALITY]).as_expected


def test_a_sound_model_is_as_expected_if_no_gate_refuses() -> None:
    sound = SOUND_MODELS[0]
    assert Result(sound, []).as_expected
    assert "the first model: accepted by every gate" in render([Result(sound, [])], [], {}, [])
    assert not Result(sound, [SIZE]).as_expected
    assert "**refused** by `size`: far too large" in render([Result(sound, [SIZE])], [], {}, [])


def test_details_that_vary_between_runs_are_left_out() -> None:
    slow = Mutant("a sloth", "it sleeps", "latency")
    assert "| refused: more than 3 times as long as the champion |" in row_of(
        budget("latency", 1e-3, 1e-4, 3.0, "s"), mutant=slow
    )
    reason = "/tmp/a b/x1/1.0.0-a: MANIFEST.sha256 is not on record: its digest is 1f, recorded 2f"
    row = row_of(Verdict("quality", False, reason))
    assert "| refused: 1.0.0-a: MANIFEST.sha256 is not on record |" in row


def test_a_rate_is_shown_with_its_bound_and_must_exceed_it_significantly() -> None:
    setting = SETTINGS[0]
    assert "| 6.0 % (5 %) | 0.0 % (5 %) | 15.4 % (15 %) |" in render(
        [], [], {}, [(setting, Rates(0.154, 0.0, 0.06))]
    )
    assert not exceeded_bounds(setting, FINE)
    assert not exceeded_bounds(setting, Rates(0.154, 0.0, 0.06))
    (problem,) = exceeded_bounds(setting, Rates(0.3, 0.0, 0.0))
    assert "equal and refused in 30.0 % (15 %)" in problem
    assert len(exceeded_bounds(setting, Rates(0.3, 0.2, 0.2))) == 3


def test_the_share_of_refused_tables_is_shown_for_leaks_and_their_twins() -> None:
    text = render([], [], {}, [], [(CASES[0], 1.0), (CASES[2], 0.02)])
    assert f"| one input | {CASES[0].description} | leak | 100 % |" in text
    assert f"| one input | {CASES[2].description} | sound | 2 % |" in text


def test_a_row_of_a_measure_has_a_word_for_each_model_and_exceptions_in_bold() -> None:
    worst = Verdict("worst_slice", False, "too low")
    shuffled, _, collapsed, sound = BY_MEASURE[SPEC]
    results = [Result(shuffled, [worst]), Result(collapsed, [worst]), Result(sound, [])]
    assert "| `roc_auc` | **not refused** | refused | accepted |" in render(
        [], [], {"roc_auc": results}, []
    )
    assert "| `f1` | **refused** by `size` |" in render([], [], {"f1": [Result(sound, [SIZE])]}, [])


def test_keys_without_a_number_have_their_default_in_words() -> None:
    text = render([], [], {}, [])
    assert "`measure` `accuracy`, or `r2` of a quantity, `threshold` 0.85" in text
    assert "`margin` a quarter of what the champion gains over the baseline" in text
    assert "`slices` none" in text


def test_the_default_margin_of_challengers_is_a_quarter() -> None:
    setting = Setting("roc_auc", 1000, 0.9, None, 0.01)
    row = "| `roc_auc`, scores correlate by 0.9 | 1000 | ¼ | 0.0 % (5 %) | "
    assert row in render([], [], {}, [(setting, FINE)])


def test_every_gate_and_configuration_key_is_listed() -> None:
    assert set(get_args(Gate)) < set(GATES)
    listed = {key for _, keys in GATES.values() for key in keys}
    assert listed == set(ValidationConfig.model_fields) - {
        *("skip", "folds", "approval", "seconds", "repeat_search")
    }
    assert {mutant.gate for mutant in MUTANTS} == set(GATES) - {"loads"}


def test_every_gate_has_advice_for_its_refusal() -> None:
    assert list(ADVICE) == list(GATES)
    text = render([], [], {}, [])
    assert all(f"- `{gate}`: {advice}\n" in text for gate, advice in ADVICE.items())


def test_mutants_have_unique_names_and_faults() -> None:
    for values in ([mutant.name for mutant in MUTANTS], [mutant.fault for mutant in MUTANTS]):
        assert len(set(values)) == len(values)
