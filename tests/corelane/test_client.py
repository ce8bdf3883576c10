"""The clients against a real server: what they send, what they raise, when they try again. Both do the same."""

import asyncio
import re
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import corelane
from corelane import errors
from tests.support import onnx_models
from tests.support.server import LISTEN, Server, serving, wait_until

ROOT = Path(__file__).parent.parent.parent
ROW = {"user_id": "u1", "price": 9.5, "slots": [1, 2]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    for version in (1, 2):
        onnx_models.write_scale(folder / f"scale/{version}", version)
    onnx_models.write_slow(folder / "slow/1")
    onnx_models.write_ctr(folder / "ctr/1")
    onnx_models.write_scale(folder / "split/1", 1)
    onnx_models.write_scale(folder / "split/2", 2)
    halves = "[{version: 1, traffic: 50}, {version: 2, traffic: 50}]"
    models = [
        "{name: scale, path: scale, versions: [{version: 1, label: old}, {version: 2}]}",
        "{name: slow, path: slow}",
        "{name: ctr, path: ctr, versions: [{version: 1, label: canary}]}",
        f"{{name: split, path: split, sticky_key: user-id, versions: {halves}}}",
    ]
    # A slow call that its client has left holds a core for a while; others wait for it.
    models = [model[:-1] + ", queue: {timeout_ms: 60000}}" for model in models]
    with serving(folder, f"models: [{', '.join(models)}]") as running:
        running.wait_state("scale", 2, "AVAILABLE")
        yield running


class Waiting:
    """AsyncClient in a loop of its own, with the calls of Client."""

    def __init__(self, address: str, **options: Any) -> None:
        self._client = corelane.AsyncClient(address, **options)
        self._loop = asyncio.new_event_loop()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._client, name)
        return lambda *arguments, **options: self._loop.run_until_complete(call(*arguments, **options))

    def __enter__(self) -> "Waiting":
        return self

    def __exit__(self, *_: Any) -> None:
        self._loop.run_until_complete(self._client.close())
        self._loop.close()


@pytest.fixture(params=[corelane.Client, Waiting], ids=["Client", "AsyncClient"])
def make(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def client(make: Any, server: Server) -> Iterator[corelane.Client]:
    with make(server.grpc) as made:
        yield made


@pytest.mark.parametrize("value", [[1, 2], [1, 2.5], (1.0, 2.5), np.float64([1, 2.5]), np.int16([1, 2]), 3, [[3], [4]]])
def test_values_are_fitted(client: corelane.Client, value: Any) -> None:
    assert client.predict("scale", {"x": value}, version=2)["y"].tolist() == (np.ravel(value) * 2).tolist()


def test_scalars_rows_columns_and_outputs(client: corelane.Client) -> None:
    assert client.predict("slow", {"n": 3})["total"] == 3
    expected = {"score": [[9.5]], "user": [b"u1"], "sum": [3]}
    assert {name: array.tolist() for name, array in client.predict("ctr", ROW).items()} == expected
    columns = {"user_id": ["u1", "ü"], "price": [1, 2], "slots": [[1, 2], [3, 4]]}
    rows = [{"user_id": "u1", "price": 1, "slots": [1, 2]}, {"user_id": "ü", "price": 2, "slots": (3, 4)}]
    for inputs in (columns, rows):
        outputs = client.predict("ctr", inputs)
        assert outputs["score"].tolist() == [[1], [2]]
        assert outputs["user"].tolist() == [b"u1", "ü".encode()]
        assert outputs["sum"].tolist() == [3, 7]
    assert set(client.predict("ctr", rows, outputs=["sum"])) == {"sum"}
    assert set(client.predict("ctr", rows, outputs="sum")) == {"sum"}


def frames(library: str) -> list[Any]:
    module = pytest.importorskip(library, reason=f"{library} comes with the extra dev")
    data = {"user_id": ["a", "b"], "price": [1.5, 2.5], "slots": [[1, 2], [3, 4]]}
    frame = module.DataFrame(data)
    if library == "pandas":
        return [frame, frame.convert_dtypes(), frame.astype({"user_id": "category"}), dict(frame.items())]
    array = frame.with_columns(module.col("slots").cast(module.Array(module.Int64, 2)))
    return [frame, array, {name: frame[name] for name in frame.columns}]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames(client: corelane.Client, library: str) -> None:
    for frame in frames(library):
        outputs = client.predict("ctr", frame)
        assert [outputs[name].tolist() for name in ("score", "user", "sum")] == [[[1.5], [2.5]], [b"a", b"b"], [3, 7]]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_with_missing_values(client: corelane.Client, library: str) -> None:
    module = pytest.importorskip(library, reason=f"{library} comes with the extra dev")
    frame = module.DataFrame({"user_id": ["a", None], "price": [1.5, 2.5], "slots": [[1, 2], [3, 4]]})
    with pytest.raises(errors.InvalidRequest, match='input "user_id": row 1 has no value'):
        client.predict("ctr", frame)
    assert np.isnan(client.predict("scale", module.DataFrame({"x": [1.5, float("nan")]}))["y"][1])


def test_versions_labels_status_and_signatures(client: corelane.Client) -> None:
    assert client.predict_versioned("scale", {"x": [1.0]}, label="old")[1] == 1
    assert client.predict_versioned("scale", {"x": [1.0]})[1] == 2
    assert client.status("scale") == {1: "AVAILABLE", 2: "AVAILABLE"}
    for signatures in (client.signatures("scale"), client.metadata("scale")):
        assert signatures == {
            "serving_default": {"inputs": {"x": ("DT_FLOAT", [-1])}, "outputs": {"y": ("DT_FLOAT", [-1])}}
        }


@pytest.mark.parametrize(
    ("model", "inputs", "options", "error", "message"),
    [
        ("nonesuch", {}, {}, errors.ModelNotFound, "Servable not found"),
        ("scale", {"x": ["a"]}, {}, errors.InvalidRequest, "input \"x\": 'a' is text, the model takes float"),
        ("scale", {"x": [[1, 2]]}, {}, errors.InvalidRequest, r'input "x" takes shape \[-1\].*has \[1, 2\]'),
        ("scale", {"x": np.ones((2, 2), np.float32)}, {}, errors.InvalidRequest, 'input "x" has shape'),
        ("scale", {"x": np.zeros(1, "datetime64[s]")}, {}, errors.InvalidRequest, 'input "x": arrays of datetime64'),
        ("scale", {"z": [1]}, {}, errors.InvalidRequest, "input alias: x"),
        ("scale", {}, {"version": 1, "label": "old"}, errors.InvalidRequest, "a version or a label, not both"),
        ("scale", {"x": [1]}, {"signature": "other"}, errors.FailedPrecondition, "Serving signature key"),
        ("scale", {"x": [1]}, {"timeout_s": -1}, errors.InvalidRequest, "timeout_s should be seconds, 0 or more"),
        (
            "scale",
            {"x": [1]},
            {"timeout_s": "3"},
            errors.InvalidRequest,
            "timeout_s should be seconds, 0 or more, not '3'",
        ),
        (None, {"x": [1]}, {}, errors.InvalidRequest, "a model's name is text, not None"),
        ("\ud800", {"x": [1]}, {}, errors.InvalidRequest, "a model's name is text, not '\\\\ud800'"),
        ("scale", {"x": [1]}, {"key": "u1"}, errors.InvalidRequest, "sticky_key="),
        ("scale", {"x": [1]}, {"metadata": {"User": "x"}}, errors.InvalidRequest, "small letters"),
        ("scale", {"x": [1]}, {"metadata": [("user", "ü")]}, errors.InvalidRequest, "printable ASCII"),
        ("ctr", {**ROW, "user_id": 7}, {}, errors.InvalidRequest, r'input "user_id": 7 is int, .* str\(7\)\?'),
        ("ctr", {**ROW, "slots": [1.5, 2]}, {}, errors.InvalidRequest, r'input "slots": 1.5 \(at \[0\]\) is no int64'),
        ("ctr", [ROW, {"price": 1}], {}, errors.InvalidRequest, 'input "slots": row 1 lacks it'),
        ("ctr", "rows", {}, errors.InvalidRequest, "inputs are {name: values}"),
        ("slow", {"n": 300_000}, {"timeout_s": 0.1}, errors.DeadlinePassed, "."),
    ],
)
def test_typed_errors(client: Any, model: str, inputs: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        client.predict(model, inputs, **options)


def test_unknown_options_are_refused(make: Any, client: Any) -> None:
    with pytest.raises(TypeError, match="verison"):
        client.predict("scale", {"x": [1]}, verison=1)
    with pytest.raises(TypeError, match="retry"):
        make("127.0.0.1:1", retry=1)


def test_without_fitting_values_go_as_they_are(make: Any, server: Server) -> None:
    with make(server.grpc, fit=False) as client:
        assert client.predict("scale", {"x": [1.0]})["y"] == [2]
        with pytest.raises(errors.InvalidRequest, match="Expects arg"):
            client.predict("scale", {"x": [1, 2]})


def test_a_key_is_sticky(make: Any, server: Server) -> None:
    with make(server.grpc, sticky_key="user-id") as client:

        def version(**options: Any) -> int:
            return client.predict_versioned("split", {"x": [1]}, **options)[1]

        chosen = {key: version(key=key) for key in range(40)}
        assert set(chosen.values()) == {1, 2}
        for key, expected in chosen.items():
            assert version(key=key) == expected
            assert version(metadata={"user-id": str(key)}) == expected


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://localhost:8501", 'is a URL; .* write "host:port" without http://, such as "localhost:8500"'),
        ("https://models.example/v1", '"models.example:8500".*; for TLS, name the authority with ca='),
        ("localhost", 'has no port; write "localhost:8500"'),
        ("localhost:8500/v1", "has a path"),
        ("localhost:grpc", 'is no "host:port"'),
        ("localhost:99999", "ports go from 1 to 65535"),
        ("::1:8500", 'stands in brackets: "\\[::1\\]:8500"'),
        ("", '"host:port", such as'),
        (None, '"host:port", such as'),
    ],
)
def test_wrong_addresses(make: Any, address: Any, message: str) -> None:
    with pytest.raises(errors.InvalidAddress, match=message):
        make(address)


@pytest.mark.parametrize("address", ["localhost:8500", "10.0.0.1:1", "[::1]:8500", "unix:/run/x", "dns:///a.b:80"])
def test_right_addresses(make: Any, address: str) -> None:
    with make(address):
        pass


def test_no_server(make: Any) -> None:
    for retries in (0, 1):
        with make("127.0.0.1:9", retries=retries) as client:
            with pytest.raises(errors.Unavailable, match=r"is `corelane serve` running at 127.0.0.1:9\?"):
                client.predict("scale", {"x": [1.0]}, timeout_s=5)
            with pytest.raises(errors.Unavailable, match=r"running at 127\.0\.0\.1:9\?"):
                client.status("scale")


def test_a_server_that_is_no_grpc_server(make: Any, server: Server) -> None:
    with make(server.admin, retries=0) as client, pytest.raises(errors.Unavailable, match="is that its gRPC port"):
        client.predict("scale", {"x": [1.0]})


def test_closed_clients(make: Any, server: Server) -> None:
    with make(server.grpc) as client:
        assert client.predict("scale", {"x": 1})["y"] == [2]
        client.close()
        client.close()
        with pytest.raises(errors.ClientClosed):
            client.predict("scale", {"x": 1})


def test_closing_ends_calls(server: Server) -> None:
    client = corelane.Client(server.grpc)
    client.signatures("slow")
    with ThreadPoolExecutor() as pool:
        call = pool.submit(client.predict, "slow", {"n": 2_000_000})
        wait_until(lambda: server.version("slow", 1)["requests"]["running"] == 1, "the call")
        client.close()
        with pytest.raises(errors.ClientClosed):
            call.result(60)

    async def close() -> None:
        waiting = corelane.AsyncClient(server.grpc)
        await waiting.signatures("slow")
        call = asyncio.create_task(waiting.predict("slow", {"n": 2_000_000}))
        await asyncio.sleep(0)
        await waiting.close()
        with pytest.raises(errors.ClientClosed):
            await call

    asyncio.run(close())


def test_a_cancelled_task_and_another_loop(server: Server) -> None:
    client = corelane.AsyncClient(server.grpc)

    async def cancel() -> None:
        call = asyncio.create_task(client.predict("slow", {"n": 2_000_000}))
        await client.signatures("slow")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        many = await asyncio.gather(*[client.predict("scale", {"x": [number]}) for number in range(50)])
        assert [answer["y"].item() for answer in many] == [2 * number for number in range(50)]

    asyncio.run(cancel())
    with pytest.raises(errors.ClientClosed, match="another event loop"):
        asyncio.run(client.status("slow"))


def test_calls_wait_for_a_server_that_starts(tmp_path: Path) -> None:
    onnx_models.write_scale(tmp_path / "scale/1", 2)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    clients = [maker(address, retries=1000, timeout_s=200) for maker in (corelane.Client, Waiting)]
    with ThreadPoolExecutor() as pool:
        calls = [pool.submit(client.predict, "scale", {"x": [1]}) for client in clients]
        listen = LISTEN.replace("127.0.0.1:0", address, 1)
        with serving(tmp_path, "models: [{name: scale, path: scale}]", listen=listen):
            assert [call.result(200)["y"].tolist() for call in calls] == [[2], [2]]
    for client in clients:
        client.__exit__(None, None, None)


def test_a_signature_that_changes_is_fetched_again(tmp_path: Path) -> None:
    onnx_models.write_scale(tmp_path / "m/1", 2)
    with (
        serving(tmp_path, "models: [{name: m, path: m}]") as server,
        corelane.Client(server.grpc) as client,
        Waiting(server.grpc) as waiting,
    ):
        for each in (client, waiting):
            assert each.predict_versioned("m", {"x": [3]}) == ({"y": np.float32([6])}, 1)
        onnx_models.write_count(tmp_path / "m/2")
        server.wait_state("m", 2, "AVAILABLE")
        for each in (client, waiting):
            outputs, version = each.predict_versioned("m", {"x": [3]})
            assert (outputs["y"].dtype, outputs["y"].tolist(), version) == (np.int64, [3], 2)


def test_the_samples_of_the_reference_run(server: Server) -> None:
    """docs/client.md, from its first line to its last, with this server's address."""
    text = (ROOT / "docs/client.md").read_text()
    samples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(samples) > 5
    names: dict[str, Any] = {}
    left_out: list[str] = []
    for number, sample in enumerate(samples, 1):
        if lacking := [name for name in ("pandas", "polars") if f"import {name}" in sample and not find_spec(name)]:
            left_out.append(f"sample {number}: {lacking[0]} comes with the extra dev")
            continue
        code = compile(sample.replace("127.0.0.1:8500", server.grpc), f"docs/client.md, sample {number}", "exec")
        exec(code, names)
    names["client"].close()
    if left_out:
        pytest.skip(left_out[0])


def test_one_client_for_many_threads(server: Server) -> None:
    with corelane.Client(server.grpc) as client:
        wrong: list[float] = []

        def call(number: int) -> None:
            for _ in range(20):
                answer = client.predict("scale", {"x": number})["y"].item()
                if answer != 2 * number:
                    wrong.append(answer)

        threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
