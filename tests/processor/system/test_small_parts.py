"""Histograms, knobs, statuses, ports: what is small and has rules of its own."""

import itertools
import socket
from pathlib import Path

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corelane.processor import errors
from corelane.processor.channel.histogram import BOUNDS_US, quantile_us
from corelane.processor.errors import StartError
from corelane.processor.knobs import Knobs, read_knobs
from corelane.processor.system.ports import ReservedPort, listening_socket
from corelane.processor.wire.status import code_of, error_of_number, number_of
from corelane.processor.worker.allocator import worker_environment


@given(st.lists(st.floats(1, 9e7), min_size=1), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_within_a_bucket_of_the_truth(values: list[float], fraction: float) -> None:
    counts = np.bincount(np.searchsorted(BOUNDS_US, values), minlength=len(BOUNDS_US) + 1).tolist()
    truth = float(np.quantile(values, fraction, method="inverted_cdf"))
    found = quantile_us(counts, fraction)
    assert found is not None
    assert truth * 0.999999 <= found <= max(truth * 1.150001, 1.0)


def test_a_quantile_of_nothing() -> None:
    assert quantile_us([0] * (len(BOUNDS_US) + 1), 0.5) is None


def test_the_bounds_of_histograms() -> None:
    assert BOUNDS_US[0] == 1
    assert BOUNDS_US[-2] < 100e6 <= BOUNDS_US[-1]
    assert all(after == pytest.approx(1.15 * before) for before, after in itertools.pairwise(BOUNDS_US))


def test_knobs() -> None:
    assert read_knobs({"PATH": "x", "CORELANE_ADMIN": "h:1"}) == Knobs()
    assert read_knobs({"CORELANE_SETTLE_S": "0.5"}).settle_s == 0.5
    for environment, message in (
        ({"CORELANE_SETTLE_S": "soon"}, "should be a number of seconds, not 'soon'"),
        ({"CORELANE_SETTLE_S": "-1"}, "should be greater than 0"),
        ({"CORELANE_SETTLE_S": "nan"}, "should be greater than 0"),
        ({"CORELANE_SETLE_S": "1"}, "CORELANE_SETLE_S is not a knob; known: CORELANE_HEARTBEAT_S"),
    ):
        with pytest.raises(StartError, match=message):
            read_knobs(environment)


def all_request_errors() -> list[type[errors.RequestError]]:
    return sorted(errors.RequestError.__subclasses__(), key=lambda error: error.__name__)


@pytest.mark.parametrize("error", all_request_errors())
def test_every_request_error_has_a_code_of_its_own_and_comes_back_from_it(error: type[errors.RequestError]) -> None:
    assert type(error_of_number(number_of(error("x")), "x")) is error
    codes = [code_of(other("x")) for other in all_request_errors()]
    assert codes.count(code_of(error("x"))) == 1


def test_other_errors_are_internal() -> None:
    assert code_of(ValueError("x")) is grpc.StatusCode.INTERNAL
    assert isinstance(error_of_number(15, "x"), errors.EngineFailed)


def test_the_tree_in_the_docstring_is_whole() -> None:
    for error in [*all_request_errors(), errors.ManifestError, errors.LoadError, errors.StartError]:
        assert error.__name__ in str(errors.__doc__)


def test_ports() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for take in (ReservedPort, listening_socket):
            with pytest.raises(StartError, match=f"cannot listen on {address}: Address already in use"):
                take(address)
    for take in (ReservedPort, listening_socket):
        with pytest.raises(StartError, match=r"cannot listen on nowhere.invalid:1"):
            take("nowhere.invalid:1")
    reserved = ReservedPort("127.0.0.1:0")
    assert int(reserved.address.split(":")[1]) > 0
    reserved.close()


def test_workers_run_with_the_allocator_that_is_installed_or_chosen() -> None:
    found = worker_environment({"A": "b"})
    assert found["A"] == "b"
    libraries = [Path(path) for path in found["LD_PRELOAD"].split()]
    assert [path.name.split(".")[0] for path in libraries] == ["libtbbmalloc", "libtbbmalloc_proxy"]
    assert all(path.exists() for path in libraries)
    assert worker_environment({"LD_PRELOAD": "/own.so"}) == {"LD_PRELOAD": "/own.so"}
