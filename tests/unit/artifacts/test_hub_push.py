"""`sgg export --push` against a local fake of the hub's HTTP interface: the real one asks for an account."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants
from typer.testing import CliRunner

from sgg_ray.artifacts import check_push, push
from sgg_ray.cli import app
from sgg_ray.errors import ClusterError, ConfigError

TOKEN = "hf_secretsecretsecret"


class FakeHub(BaseHTTPRequestHandler):
    """Makes repositories and takes commits whose files are in the request; refuses owners other than 'me'."""

    seen: list
    files: dict

    def answer(self, content, status=200):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        type(self).seen.append(("GET", self.path, self.headers.get("authorization"), None))
        self.answer({"error": "not found"}, 404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        type(self).seen.append(("POST", self.path, self.headers.get("authorization"), body))
        if self.path == "/api/repos/create":
            if json.loads(body).get("organization") == "others":
                self.answer({"error": f"token {TOKEN} may not write here"}, 403)
            else:
                self.answer({"url": f"http://{self.headers['host']}/me/films", "name": "me/films"})
        elif self.path.endswith("/preupload/main"):
            files = json.loads(body)["files"]
            modes = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in files]
            self.answer({"files": modes})
        elif self.path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    type(self).files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer(
                {
                    "success": True,
                    "commitOid": "abc",
                    "commitUrl": f"http://{self.headers['host']}/me/films/commit/abc",
                }
            )
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        else:
            self.answer({"error": "not found"}, 404)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(monkeypatch):
    handler = type("Handler", (FakeHub,), {"seen": [], "files": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield handler
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "out" / "3_Dense").mkdir(parents=True)
    (tmp_path / "out" / "README.md").write_text("# films\n\naccuracy 72 %\n")
    (tmp_path / "out" / "3_Dense" / "model.safetensors").write_bytes(bytes(range(256)))
    return tmp_path / "out"


def test_all_files_and_the_card_are_in_one_commit_of_a_private_repository(hub, folder):
    token = check_push("me/films")
    assert "commit" in push(folder, "me/films", token)
    assert hub.files == {
        "README.md": b"# films\n\naccuracy 72 %\n",
        "3_Dense/model.safetensors": bytes(range(256)),
    }
    created = [json.loads(body) for _, path, _, body in hub.seen if path == "/api/repos/create"]
    assert [request["name"] for request in created] == ["films"]
    assert created[0].get("private") is True or created[0].get("visibility") == "private"
    assert len([path for _, path, _, _ in hub.seen if path.endswith("/commit/main")]) == 1
    assert {key for *_, key, body in hub.seen if body} == {f"Bearer {TOKEN}"}


def test_a_refusal_is_one_line_without_the_token_and_the_folder_stays(hub, folder, caplog, capfd):
    with pytest.raises(ClusterError) as raised:
        push(folder, "others/films", check_push("others/films"))
    line = str(raised.value)
    assert line.startswith("--push: others/films was not written (")
    assert "\n" not in line
    said = line + caplog.text + "".join(capfd.readouterr())
    assert TOKEN not in said
    assert (folder / "README.md").is_file()
    assert hub.files == {}


def test_what_is_missing_is_said_before_the_model_is_loaded(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(ConfigError, match=r"--push: must be owner/name of a repository, found 'films'"):
        check_push("films")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="--push: no token for the hub; set HF_TOKEN"):
        check_push("me/films")


def test_the_command_pushes_what_it_exports(hub, finished_run, tmp_path):
    command = ["export", str(finished_run), "--to", str(tmp_path / "out"), "--push", "me/films", "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    exported = {
        file.relative_to(tmp_path / "out").as_posix(): file.read_bytes()
        for file in (tmp_path / "out").rglob("*")
        if file.is_file()
    }
    assert hub.files == exported
    assert b"## How to load it" in hub.files["README.md"]
    assert TOKEN not in result.output
    refused = CliRunner().invoke(
        app, ["export", str(finished_run), "--to", str(tmp_path / "b"), "--push", "films"]
    )
    assert refused.exit_code == 2
    assert not (tmp_path / "b").exists()
