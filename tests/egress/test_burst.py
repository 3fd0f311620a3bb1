"""`worker.burst`: slots that were saved up are used late, and still no window holds more than the budget."""

import itertools
import math
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audioset_batch.config import Config
from audioset_batch.config.reservation import needed
from audioset_batch.config.schema import Egress
from audioset_batch.egress import EgressPool
from audioset_batch.egress.agreement import agree_on_grid
from audioset_batch.egress.limiter import EgressLimiter
from audioset_batch.egress.shared import SharedEgress
from audioset_batch.egress.slots import Grid
from audioset_batch.egress.tickets import Ticket
from audioset_batch.errors import EgressExhausted
from audioset_batch.sharedfs.clock import boot_time
from tests.support.egress import START, Clock, egress, limiter, most_in_a_window, probe


def simulate(seed: int, configs: list[tuple[float, float]], window: float, tasks: int) -> list[float]:
    """Times of requests of tasks that come, sleep, die and miss their time, with clocks a little apart.

    Args:
        seed: Of all that is left to chance.
        configs: Budget and burst, in windows, of the tasks that come in each part of the time.
        window: Of the budgets, seconds.
        tasks: At a time.
    """
    rng = random.Random(seed)
    world = [START]
    starts: list[float] = []
    part = window * (3.5 if len(configs) == 1 else rng.uniform(1.5, 3.5))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def begin(number: int) -> EgressLimiter:
            budget, burst = configs[int((world[0] - START) / part)]
            config = {"videos_per_hour": budget, "window_seconds": window}
            return limiter(folder, Clock(world, rng.uniform(-0.1, 0.1)), f"task{number}", burst * window, **config)

        alive = [begin(number) for number in range(tasks)]
        away = [0.0] * tasks
        asked = 0
        while world[0] < START + part * len(configs) and len(starts) < 150:
            if asked < int((world[0] - START) / part):
                asked += 1
                alive[0] = begin(0)  # the first one with another config
                alive[0].try_ticket()
            index = rng.randrange(tasks)
            if world[0] < away[index]:
                world[0] += rng.uniform(0, 3)
                continue
            answer = alive[index].try_ticket()
            if isinstance(answer, Ticket):
                # The request leaves at the last moment, or at once, and is on its way for a moment.
                left = answer.start_by - boot_time()
                if left > 0:
                    starts.append(world[0] + left * rng.choice([0.0, 0.5, 1.0]) + rng.uniform(0, 0.2))
                alive[index].end(answer)
            elif rng.random() < 0.02:
                away[index] = world[0] + rng.uniform(0, 1.5 * configs[0][1] * window)
                if rng.random() < 0.5:
                    alive[index].close()
                alive[index] = begin(index)
            else:
                late = rng.choice([0.0, 0.0, 0.0, 0.4, 5.0])
                world[0] += max(0.02, min(answer.seconds, 5.0) * rng.random()) + late
    return starts


def of_one_config(values: dict[str, Any]) -> None:
    budget = values["budget"]
    window = 1200.0 if budget < 60 else 600.0
    starts = simulate(values["seed"], [(budget, values["burst"])], window, values["tasks"])
    assert most_in_a_window(starts, window - 0.5) <= max(1.0, budget)
    gaps = [b - a for a, b in itertools.pairwise(sorted(starts))]
    assert starts or budget <= 7, "nothing was tried"
    assert min(gaps, default=9) >= 2.0 - 0.2, "less what the clocks differ by"


def of_several_configs(values: dict[str, Any]) -> None:
    starts = simulate(values["seed"], values["configs"], 600.0, values["tasks"])
    assert most_in_a_window(starts, 600.0 - 0.5) <= max(budget for budget, _ in values["configs"])


ONE_CONFIG: dict[str, Any] = {
    "seed": st.integers(0, 2**32),
    "budget": st.sampled_from([0.5, 1, 7, 20, 60]),
    "burst": st.sampled_from([0.3, 0.5, 1.5]),
    "tasks": st.integers(1, 6),
}
SEVERAL_CONFIGS: dict[str, Any] = {
    "seed": st.integers(0, 2**32),
    "configs": st.lists(
        st.tuples(st.sampled_from([3.0, 7.0, 20.0]), st.sampled_from([0.0, 0.3, 1.5])), min_size=2, max_size=4
    ),
    "tasks": st.integers(1, 6),
}


@settings(max_examples=6, deadline=None)
@given(values=st.fixed_dictionaries(ONE_CONFIG))
def test_no_window_exceeds_the_budget_and_starts_are_two_seconds_apart(values: dict[str, Any]) -> None:
    of_one_config(values)


@settings(max_examples=6, deadline=None)
@given(values=st.fixed_dictionaries(SEVERAL_CONFIGS))
def test_nor_does_one_while_budgets_and_bursts_change(values: dict[str, Any]) -> None:
    of_several_configs(values)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(values=st.fixed_dictionaries(ONE_CONFIG))
def test_many_cases_of_one_config(values: dict[str, Any]) -> None:
    of_one_config(values)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(values=st.fixed_dictionaries(SEVERAL_CONFIGS))
def test_many_cases_of_several_configs(values: dict[str, Any]) -> None:
    of_several_configs(values)


@pytest.mark.parametrize("burst", [0.0, 600.0, 1800.0])
def test_the_rate_that_a_burst_costs(burst: float) -> None:
    grid = Grid(0, 300, 3600, burst)
    assert 3600 / grid.interval == pytest.approx(300 * 3600 / (3600 + burst), rel=0.005)
    assert grid.tick == 3.0


def test_a_task_uses_the_old_slots_then_goes_away_for_as_long_as_they_last(tmp_path: Path) -> None:
    """With two egresses, and outside of SLURM it stays and takes the slots as they come."""
    world = [START]
    config = {"videos_per_hour": 40.0, "window_seconds": 600.0}
    hold = [60.0]
    configs = [egress(name=name, **config) for name in ("a", "b")]
    pool = EgressPool(configs, probe(), tmp_path, hold_seconds=lambda: hold[0], burst=300.0)
    for one in pool._limiters:
        one.shared.clock = Clock(world)  # type: ignore[assignment]

    def used() -> tuple[int, float]:
        """Resolves until it stops, and how long that took."""
        begun, count = world[0], 0
        with pytest.raises(EgressExhausted, match=r"worker\.hold_seconds") as caught:
            while world[0] < begun + 300:
                answer = pool.try_acquire()
                if hasattr(answer, "release"):
                    answer.release()
                    count += 1
                else:
                    world[0] += max(0.02, min(pool.poll_interval(1.0), answer.seconds))
        away = caught.value.reopens_at - time.time()
        assert 200 < away < 300
        world[0] += away
        return count, world[0] - away - begun

    used()
    interval = Grid(0, 40, 600, 300).interval
    count, seconds = used()
    assert 2 * 225 / interval - 4 <= count <= 2 * 300 / interval + 4
    assert seconds < 3.2 * count / 2 + 10, "one every three seconds and egress"
    world[0] -= 250
    hold[0] = math.inf  # as outside of SLURM: it stays, and takes slots as they come
    begun = world[0]
    while not hasattr(answer := pool.try_acquire(), "release"):
        world[0] += max(0.02, answer.seconds / 2)
    assert world[0] - begun < 100


def test_tasks_with_and_without_a_burst_do_not_take_turns_in_changing_the_slots(tmp_path: Path) -> None:
    world = [START]
    config = {"videos_per_hour": 60.0, "window_seconds": 600.0}

    def started(burst: float) -> SharedEgress:
        one = limiter(tmp_path, Clock(world), f"{burst}", burst, **config)
        one.try_ticket()
        one.close()
        return one.shared

    started(0.0)
    numbers = []
    for _ in range(3):
        numbers += [started(300.0).state.grid_number, started(0.0).state.grid_number]
        world[0] += 500
    assert numbers == [2] * 6
    shared = started(0.0)
    assert shared.state.grid is not None
    assert shared.state.grid.burst == 300.0
    world[0] += 600 + 2 * 300
    state = started(0.0).state
    assert (state.grid_number, state.grid and state.grid.burst) == (3, 0.0)
    started(300.0)
    newest = max((tmp_path / "one").glob("state.*"), key=lambda path: int(path.suffix[1:]))
    assert b'"format": 2' in newest.read_bytes(), "an older version would use slots in its own way"


@pytest.mark.parametrize(("window", "burst"), [(600.0, 1800.0), (3600.0, 86400.0)])
def test_the_budget_changes_also_with_a_burst_of_many_windows(tmp_path: Path, window: float, burst: float) -> None:
    for budget, number in ((50, 1), (60, 2), (60, 2)):
        config = Egress(name="a", videos_per_hour=budget, window_seconds=window)
        shared = SharedEgress(tmp_path / "a")
        agree_on_grid(shared, config, burst)
        read = SharedEgress(tmp_path / "a").refresh()
        assert read.grid is not None and (read.grid.budget, read.grid_number) == (budget, number)


def test_what_is_reserved_with_a_burst() -> None:
    plain, saving = (needed(Config.model_validate({"worker": {"burst": burst}})) for burst in (0, "30m"))
    assert (plain.videos_per_hour, saving.videos_per_hour) == (300.0, 200.0)
    assert plain.core_hours(1000) == pytest.approx(3.33, abs=0.01)
    assert saving.core_hours(1000) == pytest.approx(0.83, abs=0.01), "3 s a video"


def test_bursts_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="no task is away"):
        Config.model_validate({"worker": {"burst": "5m"}})
