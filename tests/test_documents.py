"""What README and docs say to type, typed: each document's blocks in their order, in a folder of its own."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from corelane.processor.manifest import load_manifest
from corelane.processor.manifest.reference import table
from tests.support import onnx_models
from tests.support.server import FAST

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Python that other tests run, and output.
ELSEWHERE = {"docs/client.md": {"python"}}
OUTPUT = {"text", "json"}
_BLOCK = re.compile(r"^(?:<!-- not run: (?P<why>.+?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
_SERVE = re.compile(r"corelane serve (\S+) &")
_COMMAND_S = 300

README_MODELS = """
import tensorflow as tf

for version in (3, 4):
    model = tf.Module()
    model.table = tf.Variable(tf.random.stateless_normal([1000, 8], [1, version]))

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "user_id"),
            tf.TensorSpec([None], tf.float32, "price"),
        ]
    )
    def score(user_id, price, model=model):
        vectors = tf.gather(model.table, tf.strings.to_hash_bucket_fast(user_id, 1000))
        return {"score": tf.sigmoid(tf.reduce_sum(vectors, 1) - 0.1 * price)}

    tf.saved_model.save(model, f"models/ctr/{version}", signatures=score.get_concrete_function())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    document: str
    language: str
    text: str
    why: str | None  # it is not run

    @property
    def is_run(self) -> bool:
        elsewhere = self.language in ELSEWHERE.get(self.document, ())
        return self.why is None and self.language not in OUTPUT and not elsewhere


def blocks_of(path: Path) -> list[Block]:
    name = str(path.relative_to(ROOT))
    return [
        Block(document=name, language=match["language"], text=match["text"], why=match["why"])
        for match in _BLOCK.finditer(path.read_text())
    ]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_block_is_run_or_says_why_not(path: Path) -> None:
    blocks = blocks_of(path)
    assert path.read_text().count("\n```") >= 2 * len(blocks) - 1, "a block that the tests do not see"
    for block in blocks:
        assert block.language in {"sh", "python", "yaml", *OUTPUT} or block.why, block


class Terminal:
    """A folder in which a reader types. Servers that are started in the background end with it."""

    def __init__(self, folder: Path, ends: ExitStack) -> None:
        self.folder = folder
        self._ends = ends
        with ExitStack() as held:
            doors = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
            self._ports = [door.getsockname()[1] for door in doors]
        grpc, _, admin = (f"127.0.0.1:{port}" for port in self._ports)
        (folder / "bin").mkdir()
        command = folder / "bin/corelane"
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m corelane "$@"\n')
        command.chmod(0o755)
        self._environment = {
            **os.environ,
            **FAST,
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "CORELANE_ADMIN": admin,
            "CORELANE_SERVER": grpc,
            "CORELANE_CACHE": str(folder / "cache"),
            "CORELANE_STATE": str(folder / "state"),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }

    def type(self, block: Block) -> None:
        if block.language == "yaml":
            self._write(block.text)
        elif block.language == "python":
            # A deadline of a document is for a host that does nothing else.
            self.run([sys.executable, "-c", self._moved(block.text).replace("timeout_s=0.2", "timeout_s=20")])
        else:
            for line in block.text.splitlines():
                if served := _SERVE.match(line):
                    self._serve(self.folder / served[1])
                elif line.strip():
                    self.run(["bash", "-euo", "pipefail", "-c", self._moved(line)])

    def run(self, command: list[str]) -> None:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=_COMMAND_S,
            check=False,
        )
        assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"

    def _moved(self, text: str) -> str:
        """With ports that are free here."""
        for port, own in zip((8500, 8501, 8502), self._ports, strict=True):
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{own}").replace(f"port={port}", f"port={own}")
        return text

    def _write(self, text: str) -> None:
        """A manifest, which its first line names."""
        name = re.match(r"# (\S+\.yaml)\n", text)
        assert name is not None, text
        listen = ", ".join(
            f'{door}: "127.0.0.1:{port}"' for door, port in zip(("grpc", "http", "admin"), self._ports, strict=True)
        )
        (self.folder / name[1]).write_text(text.replace("models:", f"listen: {{{listen}}}\nmodels:", 1))

    def _serve(self, manifest: Path) -> None:
        log = self.folder / "server.log"
        with log.open("w") as output:
            command = [sys.executable, "-P", "-m", "corelane", "serve", str(manifest)]
            server = subprocess.Popen(command, cwd=self.folder, env=self._environment, stderr=output)
        self._ends.callback(server.wait, 60)
        self._ends.callback(server.terminate)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with ExitStack() as ends:
        yield Terminal(tmp_path, ends)


def type_all(terminal: Terminal, document: str) -> None:
    for block in blocks_of(ROOT / document):
        if block.is_run:
            terminal.type(block)


def test_readme(terminal: Terminal) -> None:
    terminal.run([sys.executable, "-c", README_MODELS])
    onnx_models.write_scale(terminal.folder / "models/ranker/1", 1)
    type_all(terminal, "README.md")
    type_all(terminal, "docs/models.md")
    assert "</html>" in (terminal.folder / "cores.html").read_text()


def test_tutorial(terminal: Terminal) -> None:
    type_all(terminal, "docs/tutorial.md")
    assert load_manifest(terminal.folder / "imported.yaml").models[0].name == "ctr"
    assert "traffic: 95" in (terminal.folder / "manifest.yaml").read_text()


def test_recipes(terminal: Terminal) -> None:
    type_all(terminal, "docs/recipes.md")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_other_documents_have_nothing_to_type(path: Path) -> None:
    """Else they need a test above."""
    if path.name not in ("README.md", "models.md", "tutorial.md", "recipes.md"):
        assert [block for block in blocks_of(path) if block.is_run] == []


def test_the_full_manifest_has_every_key() -> None:
    text = (ROOT / "configs/full.yaml").read_text()
    load_manifest(ROOT / "configs/full.yaml")
    keys = [match.rpartition(".")[2] for match in re.findall(r"^\| `([\w.\[\]]+)` \|", table(), re.M)]
    assert len(keys) > 50
    assert [key for key in keys if not re.search(rf"\b{key}:", text)] == []


@pytest.mark.parametrize("path", [*DOCUMENTS, ROOT / "ARCHITECTURE.md"], ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        assert linked.exists(), f"{path.name} links to {target}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", linked.read_text(), re.M)
            anchors = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
            assert anchor in anchors, f"{path.name} links to {target}"
