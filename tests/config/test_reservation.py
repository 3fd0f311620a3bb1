"""What is asked of the cluster follows from the budgets."""

import pytest

from audioset_batch.config import Config
from audioset_batch.config.reservation import cost_line, excess, needed, reserved


def config(budgets: list[float | None], **sections: object) -> Config:
    egress = [{"name": f"way{number}", "videos_per_hour": budget} for number, budget in enumerate(budgets)]
    return Config.model_validate({"egress": egress, **sections})


@pytest.mark.parametrize(
    ("budgets", "sections", "expected"),
    [
        ([300], {}, (1, 1, "600M")),
        ([300] * 10, {}, (1, 1, "600M")),
        ([9_000], {}, (1, 1, "600M")),
        ([10_000], {}, (1, 2, "650M")),
        ([100_000], {}, (3, 4, "750M")),
        ([None, 300], {}, (10, 4, "750M")),
        ([300], {"video": {"mode": "bestvideo", "cut": "copy"}}, (1, 1, "600M")),
        ([300], {"video": {"mode": "bestvideo"}}, (1, 1, "1300M")),
        ([3_000], {"video": {"mode": "bestvideo"}}, (2, 4, "3550M")),
        ([2_500], {"video": {"mode": "bestvideo", "max_height": 360}}, (1, 1, "1300M")),
    ],
)
def test_what_the_budgets_need(
    budgets: list[float | None], sections: dict[str, object], expected: tuple[int, int, str]
) -> None:
    need = needed(config(budgets, **sections))
    assert (need.tasks, need.cpus, need.mem) == expected
    assert reserved(config(budgets, **sections)) == need, "auto is what is needed"
    assert excess(need, need) == ""


def test_what_is_measured_counts_before_the_estimate() -> None:
    assert needed(config([3_000]), cpu_seconds=3.0).cpus == 4


def test_more_than_twice_the_need_is_named_with_what_to_change() -> None:
    settings = config([300], slurm={"array_parallelism": 10, "cpus_per_task": 4, "mem": "4G"})
    asked, need = reserved(settings), needed(settings)
    assert excess(asked, need) == (
        "10 tasks of 4 CPUs are asked for, and the budgets keep 1 of 1 busy: slurm.array_parallelism: auto, "
        "slurm.cpus_per_task: auto; 10 x 4096 MB of memory are asked for, 1 x 600 MB are needed: slurm.mem: auto"
    )
    assert excess(reserved(config([300], slurm={"cpus_per_task": 2})), need) == "", "twice is no excess"
    unlimited = config([None], slurm={"array_parallelism": 500})
    assert excess(reserved(unlimited), needed(unlimited)) == "", "without a budget nobody knows the need"


def test_a_budget_of_another_window_is_counted_per_hour() -> None:
    ways = [{"name": "a", "videos_per_hour": 10, "window_seconds": 60}, {"name": "b", "videos_per_hour": 400}]
    assert needed(Config.model_validate({"egress": ways})).videos_per_hour == 1000


def test_cost_of_the_whole_set() -> None:
    one, ten = reserved(config([300])), reserved(config([300] * 10))
    assert one.core_hours(1000) == pytest.approx(3.333, abs=0.001)
    assert ten.core_hours(1000) == pytest.approx(0.333, abs=0.001)
    assert cost_line(one, 2_084_320) == (
        "6,948 core-hours and 4,071 GB-hours reserved (3.3 core-hours per 1,000 segments), 174 core-hours used"
    )
    assert cost_line(reserved(config([None])), 1000) == ""
    assert cost_line(one, 0) == ""


def test_memory_follows_the_processes_that_are_asked_for() -> None:
    assert needed(config([300], worker={"processes": 4})).mem == "750M"
