"""Fixtures for all tests: a real SLURM, started on first use, one per test run (and per shape)."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.slurm_cluster import PrivateSlurm, missing_programs
from tests.support.slurm_cluster.others import forget_other_clusters

forget_other_clusters()

# A slow machine is no failure: examples may take as long as they do.
settings.register_profile("any-machine", parent=settings(), deadline=None)
settings.load_profile("any-machine")

SLURM_FIXTURES = {"slurm", "slurm_three", "make_slurm"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs SLURM, and keep all of it in one worker of xdist: two clusters slow each other down."""
    for item in items:
        if SLURM_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slurm)
        if item.get_closest_marker("slurm"):
            item.add_marker(pytest.mark.xdist_group("slurm"))
        if "finished" in getattr(item, "fixturenames", ()):  # a whole run, for all tests that only read it
            item.add_marker(pytest.mark.xdist_group("finished"))


@pytest.fixture(autouse=True)
def _no_safe_path_left_behind() -> Iterator[None]:
    """The command line sets it for its child processes, also where a test calls it in this process."""
    before = os.environ.get("PYTHONSAFEPATH")
    yield
    if before is None:
        os.environ.pop("PYTHONSAFEPATH", None)


@pytest.fixture(scope="session")
def media_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthesised media of all tests and processes of this run: encoding them anew for each test took minutes.

    Fresh in every run, so that no file made by older code passes a test.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "synthesised"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def make_slurm() -> Iterator[Callable[..., PrivateSlurm]]:
    """Return a function that starts a `PrivateSlurm` with its arguments; all are ended with the session.

    Without SLURM the test is skipped, but under CI (`CI=true`) it fails.
    """
    with ExitStack() as started:

        def make(**shape: object) -> PrivateSlurm:
            missing = missing_programs(accounting=bool(shape.get("accounting")))
            if missing:
                packages = "slurm-wlm munge; for accounting also slurmdbd mariadb-server"
                text = f"NO SLURM HERE, NOT TESTED: {', '.join(missing)} missing (apt-get install {packages})"
                if os.environ.get("CI", "").lower() in ("1", "true"):
                    pytest.fail(text)
                pytest.skip(text)
            return started.enter_context(PrivateSlurm(**shape))  # type: ignore[arg-type]

        yield make


@pytest.fixture(scope="session")
def _one_node(make_slurm: Callable[..., PrivateSlurm]) -> PrivateSlurm:
    return make_slurm()


@pytest.fixture(scope="session")
def _three_nodes(make_slurm: Callable[..., PrivateSlurm]) -> PrivateSlurm:
    return make_slurm(nodes=3)


@pytest.fixture
def slurm(_one_node: PrivateSlurm) -> Iterator[PrivateSlurm]:
    """A private SLURM with the node n1, without jobs."""
    yield from _without_traces(_one_node)


@pytest.fixture
def slurm_three(_three_nodes: PrivateSlurm) -> Iterator[PrivateSlurm]:
    """A private SLURM with the nodes n1, n2 and n3, without jobs."""
    yield from _without_traces(_three_nodes)


def _without_traces(cluster: PrivateSlurm) -> Iterator[PrivateSlurm]:
    yield cluster
    cluster.recover()
