"""Which backends the tests run on.

A test that takes `backend` runs once on every backend that is here (test_backends.py skips, and
says why, for one that is not); with the marker `cases(list)` it takes
`case` as well and runs every case on every backend that computes the case's dtypes.
"""

import hypothesis
import oracle
import pytest
from backends import BACKENDS

# Repeatable, and patient with slow machines. `backend` is the same for every example of a test.
hypothesis.settings.register_profile(
    "project",
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[
        hypothesis.HealthCheck.function_scoped_fixture,
        hypothesis.HealthCheck.too_slow,
    ],
    database=None,
)
hypothesis.settings.load_profile("project")


def pytest_addoption(parser):
    parser.addoption(
        "--backend",
        action="append",
        choices=sorted(BACKENDS),
        help="run on this backend only (may be repeated; the default is every backend)",
    )


def pytest_configure(config):
    config.addinivalue_line("markers", "cases(list): the cases that the test's `case` walks over")


def pytest_generate_tests(metafunc):
    own = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "backend" not in metafunc.fixturenames or "backend" in own:
        return
    chosen = metafunc.config.getoption("backend") or list(BACKENDS)
    marker = metafunc.definition.get_closest_marker("cases")
    cases = marker.args[0] if marker else [None]
    params = []
    for backend in (BACKENDS[name] for name in chosen if not BACKENDS[name].missing):
        for case in cases:
            if case is None:
                params.append(pytest.param(backend, None, id=backend.name))
            elif backend.supports(*case.dtypes):
                params.append(pytest.param(backend, case, id=f"{backend.name}-{case.id}"))
    if marker:
        metafunc.parametrize(("backend", "case"), params, indirect=["backend"])
    else:
        params = [pytest.param(p.values[0], id=p.id) for p in params]
        metafunc.parametrize("backend", params, indirect=True)


@pytest.fixture
def backend(request):
    """The backend, in charge while the test runs."""
    if request.param.missing:
        pytest.skip(f"{request.param}: {request.param.missing}")
    with request.param.enter(), oracle.device_that(flushes=request.param.flushes_subnormals):
        yield request.param
