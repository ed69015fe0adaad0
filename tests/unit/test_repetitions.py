"""Settings of single repetitions: addresses, order of sets, picks."""

from __future__ import annotations

import pytest

from flopwise.dsl import Spec, loads
from flopwise.errors import SpecError

TEXT = """
spec: 1
name: net
input: {size: 16}
classes: 4
net:
  stem: {block: conv, dim: 8}
  body: {block: convnext, depth: 3, kernel: 7}
  head: {block: classifier}
"""


def kernels(spec: Spec, **picks: object) -> list[object]:
    body = spec.network(picks).stages[1]  # type: ignore[arg-type]
    return [settings["kernel"] for settings in body.settings]


def made(*sets: tuple[str, str]) -> Spec:
    return loads(TEXT, sets=sets)


def test_one_repetition_has_a_setting_of_its_own() -> None:
    spec = made(("net.body[1].kernel", "3"))
    assert kernels(spec) == [7, 3, 7]
    assert spec.value("net.body[1].kernel") == 3
    assert loads(spec.render()).network().hash == spec.network().hash
    written = loads(TEXT.replace("kernel: 7", 'kernel: "$(pick(i, 7, 3, 7))"'))
    assert spec.network().hash == written.network().hash


def test_later_sets_win_and_a_set_of_all_forgets_single_ones() -> None:
    single, every, star = (
        ("net.body[1].kernel", "3"),
        ("net.body.kernel", "5"),
        ("net.body[*].kernel", "9"),
    )
    assert kernels(made(every, single)) == [5, 3, 5]
    assert kernels(made(single, every)) == [5, 5, 5]
    assert kernels(made(single, star)) == [9, 9, 9]
    assert kernels(made(single, ("net.body[1].kernel", "null"))) == [7, 7, 7]
    assert kernels(made(single, ("net.body", "{kernel: 11}"))) == [11, 11, 11]


def test_an_expression_of_one_repetition_sees_its_number() -> None:
    assert kernels(made(("net.body[2].kernel", "$(2*i + 1)"))) == [7, 7, 5]


def test_picks_reach_single_repetitions_and_inactive_ones_are_ignored() -> None:
    spec = made()
    assert kernels(spec, **{"net.body[0].kernel": 3, "net.body.kernel": 5}) == [3, 5, 5]
    assert kernels(spec, **{"net.body[2].kernel": 3, "net.body.depth": 2}) == [7, 7]
    assert spec.network({"net.body[2].kernel": 7}).hash == spec.network().hash


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("net.body[3].kernel", "E208"),
        ("net.body[0].depth", "E111"),
        ("net.body[1].stride", "E111"),
        ("net.body[0].kernal", "E102"),
        ("net.bodi[0].kernel", "E404"),
        ("net.body[x].kernel", "E404"),
        ("net.body[99999].kernel", "E404"),
    ],
)
def test_an_address_that_leads_nowhere_is_a_fault(path: str, code: str) -> None:
    with pytest.raises(SpecError) as error:
        made((path, "3"))
    assert [fault.code for fault in error.value.faults] == [code]


def test_a_file_cannot_write_the_key_of_a_repetition() -> None:
    with pytest.raises(SpecError) as error:
        loads(TEXT.replace("kernel: 7", '"kernel[1]": 3'))
    assert error.value.faults[0].code == "E014"
