"""The arithmetic of slots: no window holds more than the budget, whatever the jitter and the delays."""

import itertools
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audioset_batch.egress import slots
from audioset_batch.egress.slots import Grid, Reservation
from tests.support.egress import most_in_a_window

GRIDS = st.builds(
    Grid,
    start=st.floats(0, 2e9),
    budget=st.one_of(st.floats(0.05, 50), st.integers(1, 400).map(float)),
    window=st.floats(1, 7200),
)


@settings(max_examples=150, deadline=None)
@given(grid=GRIDS, seed=st.integers(0, 2**32), extremes=st.booleans())
def test_no_window_holds_more_than_the_budget(grid: Grid, seed: int, extremes: bool) -> None:
    rng = random.Random(seed)
    late = grid.spread + grid.slack
    starts = [
        grid.begin(k) - grid.start + (rng.choice([0.0, late]) if extremes else rng.uniform(0, late))
        for k in range(int(3 * grid.per_window) + 5)
    ]
    tolerance = 1e-6 * grid.window
    assert most_in_a_window(starts, grid.window - tolerance) <= max(1, grid.budget)
    if grid.budget < 1:
        gaps = [b - a for a, b in itertools.pairwise(starts)]
        assert min(gaps) >= grid.window / grid.budget - tolerance


@given(grid=GRIDS)
def test_little_of_the_budget_is_lost_to_jitter(grid: Grid) -> None:
    reached = grid.window / grid.interval
    assert reached <= grid.per_window
    assert reached >= 0.9 * grid.per_window
    if grid.budget == 300 and grid.window == 3600:
        assert reached > 298


def test_three_hundred_an_hour() -> None:
    grid = Grid(0, 300, 3600)
    assert 298 < 3600 / grid.interval < 300
    assert grid.slack == 10


@given(grid=GRIDS, ahead=st.floats(-100, 10000))
def test_draws_lie_in_their_slot(grid: Grid, ahead: float) -> None:
    now = grid.start + ahead
    slot = grid.first_usable(now)
    due = grid.draw(slot, now)
    tolerance = 1e-5
    assert due >= now - tolerance
    assert grid.begin(slot) - tolerance <= due <= grid.begin(slot) + grid.spread + tolerance
    assert due <= grid.last_issue(Reservation(0, slot, due))
    assert slot >= 0
    assert slot == 0 or grid.begin(slot - 1) + grid.spread <= now + tolerance


def test_a_slot_is_had_once_and_can_be_given_back(tmp_path: Path) -> None:
    assert slots.claim(tmp_path, 3, 7)
    assert not slots.claim(tmp_path, 3, 7)
    assert slots.claim(tmp_path, 4, 7)
    names = [p.name for p in tmp_path.iterdir()] + ["state.3", ".slot.3.1.tmp", "slot.33.1", "slot.3.x"]
    assert slots.claimed(names, 3) == {7}
    slots.give_back(tmp_path, Reservation(3, 7, 0.0))
    assert slots.claim(tmp_path, 3, 7)


def test_old_slots_go_and_the_folder_stays_small(tmp_path: Path) -> None:
    grid = Grid(0, 100, 1000)
    now = grid.begin(250)
    for slot in range(251):
        slots.claim(tmp_path, 2, slot)
    slots.claim(tmp_path, 1, 9)
    for _ in range(3):
        names = [p.name for p in tmp_path.iterdir()]
        slots.prune(tmp_path, grid, 2, names, now)
    names = [p.name for p in tmp_path.iterdir()]
    left = slots.claimed(names, 2)
    assert not slots.claimed(names, 1)
    assert 99 <= len(left) <= 103
    assert slots.used(grid, left, now) == grid.at(now) - grid.at(now - grid.window) > 90
    assert max(left) == 250


def test_the_last_400_slots_stand_for_a_longer_window() -> None:
    grid = Grid(0, 1000, 1000)
    now = grid.begin(1500)
    of_a_window = grid.at(now) - grid.at(now - grid.window)
    assert slots.used(grid, set(range(1501)), now) == pytest.approx(of_a_window)
    assert slots.used(grid, set(range(0, 1501, 2)), now) == pytest.approx(of_a_window / 2)
    assert slots.used(grid, set(), now) == 0


def test_next_free_skips_what_is_taken() -> None:
    grid = Grid(0, 10, 100)
    first = grid.first_usable(0.0)
    assert slots.next_free(grid, {first, first + 1, first + 3}, 0.0) == first + 2
