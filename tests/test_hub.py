"""The Hub: huggingface_hub's real client against a stand-in that answers as the Hub does."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import ModelCard

from zoo import install
from zoo.bundle.folder import Bundle, shipped
from zoo.bundle.readme import readme

TOKEN = "hf_test"


class Hub(http.server.ThreadingHTTPServer):
    """What huggingface_hub asks of the Hub: repositories, commits, LFS, files by revision."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.lfs: dict[str, bytes] = {}
        #: A repository's commits, oldest first: sha -> path -> (content, is it LFS).
        self.repos: dict[str, dict[str, dict[str, tuple[bytes, bool]]]] = {}
        self.log: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def revision(self, repo: str, name: str) -> str | None:
        commits = self.repos[repo]
        if name == "main" and commits:
            return list(commits)[-1]
        return name if name in commits else None


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def answer(self, status: int, document: Any = None, **headers: str) -> None:
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def handle_one(self) -> None:
        hub, data = self.server, self.body()
        path = unquote(urlsplit(self.path).path)
        hub.log.append(f"{self.command} {path}")
        if self.command == "PUT" and path.startswith("/lfs/"):  # its address is the secret
            hub.lfs[path.removeprefix("/lfs/")] = data
            return self.answer(200)
        if self.command == "POST" and path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if self.command == "POST":
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return self.answer(401, {"error": "Invalid username or password."})
            return self.write(path, data)
        return self.read(path)

    do_GET = do_HEAD = do_POST = do_PUT = handle_one

    def write(self, path: str, data: bytes) -> None:
        hub = self.server
        if path == "/api/repos/create":
            asked = json.loads(data)
            repo = f"{asked['organization']}/{asked['name']}"
            status = 409 if repo in hub.repos else 200
            hub.repos.setdefault(repo, {})
            return self.answer(status, {"url": f"{hub.url}/{repo}", "name": repo})
        if found := re.fullmatch(r"/(.+)\.git/info/lfs/objects/batch", path):
            objects = [
                each | {"actions": {"upload": {"href": f"{hub.url}/lfs/{each['oid']}"}}}
                for each in json.loads(data)["objects"]
            ]
            return self.answer(200, {"transfer": "basic", "objects": objects})
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", path)
        if found is None or found[1] not in hub.repos:
            return self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        if found[2] == "preupload":
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].startswith("model.") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(data)["files"]
            ]
            return self.answer(200, {"files": modes})
        commits = hub.repos[found[1]]
        files = dict(list(commits.values())[-1]) if commits else {}
        for line in map(json.loads, data.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = (base64.b64decode(value["content"]), False)
            elif line["key"] == "lfsFile":
                files[value["path"]] = (hub.lfs[value["oid"]], True)
        sha = hashlib.sha1(data).hexdigest()
        commits[sha] = files
        where = f"{hub.url}/{found[1]}/commit/{sha}"
        return self.answer(200, {"success": True, "commitUrl": where, "commitOid": sha})

    def read(self, path: str) -> None:
        hub = self.server
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/([^/]+)", path)
        found = found or re.fullmatch(r"/([^/]+/[^/]+)/(resolve)/([^/]+)/(.+)", path)
        if found is None or found[1] not in hub.repos:
            return self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        if (sha := hub.revision(found[1], found[3])) is None:
            return self.answer(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
        files = hub.repos[found[1]][sha]
        if found[2] == "revision":
            siblings = [{"rfilename": name} for name in files]
            return self.answer(200, {"id": found[1], "sha": sha, "siblings": siblings})
        if found[2] == "tree":
            return self.answer(200, [_entry(name, *file) for name, file in files.items()])
        if found[4] not in files:
            return self.answer(404, {"error": "no file"}, X_Error_Code="EntryNotFound")
        data, _ = files[found[4]]
        etag = _entry(found[4], *files[found[4]])
        tag = etag.get("lfs", etag)["oid"]
        return self.answer(200, data, ETag=f'"{tag}"', X_Repo_Commit=sha)


def _entry(name: str, data: bytes, lfs: bool) -> dict[str, Any]:
    git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    entry: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": git}
    if lfs:
        oid = hashlib.sha256(data).hexdigest()
        entry["lfs"] = {"oid": oid, "size": len(data), "pointerSize": 130}
    return entry


@pytest.fixture
def stand_in() -> Iterator[Hub]:
    server = Hub()
    yield server
    server.shutdown()
    server.server_close()


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def python(stand_in: Hub, tmp_path: Path) -> Run:
    """Run a line of Python in a process of its own, as the user of that Hub."""

    def run(code: str, **env: str) -> subprocess.CompletedProcess[str]:
        main = f"import zoo\nfrom zoo.errors import ZooError\ntry: {code}\n"
        main += "except ZooError as error: print(type(error).__name__, error)\n"
        main += "except SystemExit as end: assert not end.code"
        settings = {
            "HF_ENDPOINT": stand_in.url,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",  # Xet's storage is another service: LFS, then
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        done = subprocess.run(
            [sys.executable, "-c", main],
            env=os.environ | settings | env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done

    return run


PUSH = "from zoo.bundle.upload import push; print(push(zoo.Bundle.open({!r}), 'me/{}'))"
USE = (
    "import numpy as np; s = zoo.Session('hf://me/cnn'); x = np.zeros((2, 28, 28, 1), np.uint8); "
    "print(s.predict(x).labels == zoo.Session('cnn').predict(x).labels, zoo.card('hf://me/cnn') == "
    "zoo.card('cnn'))"
)


def test_pushed_then_loaded_back_the_same_bytes(stand_in: Hub, python: Run) -> None:
    done = python(PUSH.format("cnn", "cnn"))
    assert done.stdout == f"{stand_in.url}/me/cnn\n"
    (files,) = stand_in.repos["me/cnn"].values()
    bundle = Bundle.open("cnn").path
    for name in ("card.json", "model.onnx", "model.safetensors", "curves.png"):
        assert files[name][0] == (bundle / name).read_bytes()
        assert files[name][1] == name.startswith("model.")
    assert set(files) - {"confusion.png", "curves.png"} == {
        "README.md", "card.json", "model.onnx", "model.safetensors",
    }  # fmt: skip

    load = (
        "; a, b = (zoo.load(n).state_dict() for n in ('hf://me/cnn', 'cnn')); "
        "print(all(a[k].equal(b[k]) for k in b), len(a) == len(b))"
    )
    assert python(USE + load).stdout == "True True\nTrue True\n"
    before = len(stand_in.log)
    sha = next(iter(stand_in.repos["me/cnn"]))
    assert python(f"print(zoo.card('hf://me/cnn@{sha}').name)").stdout == "cnn\n"
    assert not [line for line in stand_in.log[before:] if "resolve" in line]  # cached
    assert python(USE, HF_HUB_OFFLINE="1").stdout == "True True\n"
    stand_in.shutdown()
    stand_in.server_close()
    assert python(USE).stdout == "True True\n"  # unreachable: the cache, too


def test_a_second_push_is_a_second_commit(stand_in: Hub, python: Run) -> None:
    for model in ("linear", "logistic"):
        python(PUSH.format(model, "table"))
    first, second = stand_in.repos["me/table"]
    cards = "; ".join(
        f"print(zoo.card('hf://me/table{address}').name)"
        for address in (f"@{first}", f"@{second}", "")
    )
    assert python(cards).stdout == "linear\nlogistic\nlogistic\n"


def test_the_command_pushes_and_others_take_the_address(stand_in: Hub, python: Run) -> None:
    run = "import sys, cli; sys.argv = 'zoo {}'.split(); cli.main()"
    assert (
        python(run.format("push linear me/table --private")).stdout == f"{stand_in.url}/me/table\n"
    )
    out = python(run.format("info hf://me/table")).stdout
    assert out.startswith("model       linear: Linear regression")


def test_every_error_is_one_line(stand_in: Hub, python: Run, broken_copy: Path) -> None:
    python(PUSH.format("linear", "linear"))
    stand_in.repos["me/empty"] = {"0" * 40: {"README.md": (b"", False)}}
    push = PUSH.format("linear", "other")
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    cases = (
        ("zoo.card('hf://me/nope')", {}, f"UsageError hf://me/nope: no such repository on "
         f"{stand_in.url}, or it is private"),
        ("zoo.Session('hf://me/linear@v9')", {},
         "UsageError hf://me/linear@v9: the repository has no such revision"),
        ("zoo.card('hf://a/b/c')", {},
         "UsageError hf://a/b/c: expected hf://user/repo or hf://user/repo@revision"),
        ("zoo.card('hf://me/empty')", {},
         "UsageError hf://me/empty is not a bundle: card.json is missing"),
        ("zoo.card('hf://me/other')", {"HF_HUB_OFFLINE": "1"},
         "ZooError hf://me/other: not in the cache, and HF_HUB_OFFLINE is set"),
        ("zoo.card('hf://me/other')", nowhere,
         "ZooError hf://me/other: not in the cache, and http://127.0.0.1:9 cannot be reached"),
        (push, {"HF_HUB_OFFLINE": "1"}, "ZooError hf://me/other: HF_HUB_OFFLINE is set"),
        (push, nowhere, "ZooError hf://me/other: http://127.0.0.1:9: "),
        (push, {"HF_TOKEN": "wrong"}, "ZooError hf://me/other: Invalid username or password. "
         "(HTTP 401)"),
        (PUSH.format("nope", "other"), {}, "UsageError unknown model 'nope'"),
    )  # fmt: skip
    with ThreadPoolExecutor(4) as pool:  # most of each is waiting, or importing
        processes = list(pool.map(lambda case: python(case[0], **case[1]), cases))
    for (_, _, expected), done in zip(cases, processes, strict=True):
        assert done.stdout.startswith(expected)
        assert done.stdout.count("\n") == 1
    (broken_copy / "model.onnx").write_bytes(b"changed")
    out = python(PUSH.format(str(broken_copy), "broken")).stdout
    assert "model.onnx does not match its card (SHA-256" in out
    assert "me/broken" not in stand_in.repos


def test_a_file_changed_in_the_cache_is_found(python: Run, tmp_path: Path) -> None:
    python(PUSH.format("linear", "linear"))
    python("zoo.card('hf://me/linear')")
    (blob,) = tmp_path.glob("hf/hub/models--me--linear/snapshots/*/model.onnx")
    blob.resolve().write_bytes(b"changed")
    out = python("zoo.Session('hf://me/linear')", HF_HUB_OFFLINE="1").stdout
    assert out.startswith("VerificationError")


@pytest.mark.parametrize("name", shipped())
def test_the_model_card_says_what_the_card_says(name: str) -> None:
    card = Bundle.open(name).card
    text = readme(card, f"me/{name}")
    data = ModelCard(text).data
    assert (data.license, data.library_name, data.language) == (
        "apache-2.0", "torch-tutorial-zoo", "en",
    )  # fmt: skip
    found = {result.metric_type: result.metric_value for result in data.eval_results}
    assert found == {"r_squared" if key == "r2" else key: value for key, value in card.test.items()}
    assert {result.task_type for result in data.eval_results} == {data.pipeline_tag}
    assert [result.dataset_type for result in data.eval_results] == data.datasets * len(found)
    assert data.pipeline_tag in (
        "image-classification", "tabular-classification", "tabular-regression",
    )  # fmt: skip
    for said in (card.limits, card.training.command, f"hf://me/{name}"):
        assert said in text
    for code in re.findall(r"```python\n(.*?)```", text, re.S):
        compile(code, "README.md", "exec")


def test_a_missing_package_is_said_so() -> None:
    code = (
        "import sys; sys.modules['huggingface_hub'] = None; import cli\n"
        "sys.argv = ['zoo', 'info', 'hf://me/cnn']; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "zoo: hf://me/cnn needs the package 'huggingface_hub', which is not installed: "
        f"{install.command('hub')}\n"
    )
