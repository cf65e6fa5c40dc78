"""The endpoint: predict's numbers, hostile uploads, a full queue, slow photos, ports."""

import io
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

from dermssl import app, predict
from dermssl.core import ports, runs
from dermssl.core import taxonomy as taxonomies
from dermssl.core.errors import UserError
from dermssl.core.settings import Backbone
from dermssl.inference import likeness
from dermssl.models import backbones, classifier, weights

pytest.importorskip("fastapi", reason="pip install 'dermssl[app]' brings it")
httpx = pytest.importorskip("httpx", reason="make install brings httpx")
pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")

from served import served  # noqa: E402

from dermssl.studies.app import answer, page, server  # noqa: E402

BASE = "http://127.0.0.1"


def client(answerer, **settings):
    from starlette.testclient import TestClient

    model = answer.Model("run", "c", "d", "s", {})
    return TestClient(server.create(answerer, page.Page("", "", ""), model, **settings), BASE)


def send(client, data, field="file", name="photo.jpg", **more):
    return client.post("/predict", files={field: (name, data, "image/jpeg")}, **more)


@pytest.fixture(scope="module")
def answerer(finetuned):
    return answer.load(finetuned)


@pytest.fixture(scope="module")
def http(answerer):
    with client(answerer) as opened:
        yield opened


@pytest.fixture(scope="module")
def some(photos, tmp_path_factory):
    """Photos of several formats, one turned by its EXIF, and one of noise."""
    folder = tmp_path_factory.mktemp("some")
    for k in range(4):
        shutil.copy(photos / "images" / f"SYN_00000{k}.jpg", folder / f"{k}.jpg")
    image = Image.open(folder / "3.jpg").resize((400, 300))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(folder / "turned.jpg", exif=exif)
    image.save(folder / "same.png")
    image.save(folder / "same.webp")
    noise = np.random.default_rng(0).integers(0, 255, (50, 90, 3), np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    return folder


def test_answers_are_the_rows_of_predict(some, finetuned, http):
    table = predict(finetuned, some)
    kept = runs.read_json(finetuned / "status.json")
    assert len(table) == 8
    for row in table.to_dict("records"):
        response = send(http, (some / row["path"]).read_bytes())
        assert response.status_code == 200, response.text
        found = response.json()
        for name in ("fine", "coarse", "most_probable_fine", "most_probable_coarse", "unlike_run"):
            assert found[name] == row[name]
        for level, p in found["probabilities"].items():
            assert sum(p.values()) == pytest.approx(1)
            for name, value in p.items():
                assert value == pytest.approx(row[f"p_{level}_{name}"], abs=1e-6)
        assert found["p_malignant"] == pytest.approx(row["p_malignant"], abs=1e-6)
        assert found["distance_to_run"] == pytest.approx(row["distance_to_run"], abs=2e-4)
        assert found["remarks"] == [word for word in row["remark"].split("; ") if word]
        near = [f"{one['path']} ({one['fine']}, " for one in found["nearest_training"]]
        named = row["nearest_training"].split("; ")
        assert len(near) == len(named) == 3
        assert all(text.startswith(one) for text, one in zip(named, near))
        assert found["pictures"] is None
        assert found["model"]["config_hash"] == kept["config_hash"]
        assert found["notice"] == "Research software: not for diagnosis."
    (noise,) = table["remark"][table["path"] == "noise.png"]
    assert "not like the training photos" in noise


def test_pictures_are_asked_for(some, http, answerer):
    found = send(http, (some / "0.jpg").read_bytes(), params={"pictures": "true"}).json()
    for address in found["pictures"].values():
        assert address.startswith("data:image/jpeg;base64,")
    assert found["pictures"]["seen"] != found["pictures"]["heat_map"]
    assert all(one["photo"].startswith("data:image/jpeg") for one in found["nearest_training"])


def test_without_the_run_s_photos_similar_lesions_are_named_alone(
    finetuned, photos, some, tmp_path, caplog
):
    moved = shutil.copytree(finetuned, tmp_path / "run")
    status = (moved / "status.json").read_text()
    (moved / "status.json").write_text(status.replace(str(photos), str(tmp_path / "gone")))
    found = answer.load(moved)((some / "0.jpg").read_bytes(), pictures=True)
    assert "similar lesions are named and not shown: " in caplog.text
    assert [bool(one.path) for one in found.nearest_training] == [True] * 3
    assert {one.photo for one in found.nearest_training} == {""}
    (moved / likeness.NAME).unlink()
    found = answer.load(moved)((some / "0.jpg").read_bytes())
    assert (found.unlike_run, found.distance_to_run, found.nearest_training) == ("n/a", None, [])
    assert "likeness to the run's photos not checked" in found.notes
    assert str(tmp_path / "gone") in caplog.text  # who started the server is told where
    assert not any(str(tmp_path) in note for note in found.notes)


def test_other_machines_see_no_training_photo(finetuned, some):
    found = answer.load(finetuned, shows_records=False)((some / "0.jpg").read_bytes(), True)
    assert {(one.path, one.photo) for one in found.nearest_training} == {("", "")}
    assert all(one.fine for one in found.nearest_training)


def test_a_backbone_without_heat_maps_answers_without(finetuned, some, monkeypatch):
    mlp = backbones.build(Backbone(name="mlp", image_size=32))
    taxonomy = taxonomies.load("ham10000")
    monkeypatch.setattr(
        weights, "load_classifier", lambda path: classifier.LesionClassifier(mlp, taxonomy)
    )
    found = answer.load(finetuned)((some / "0.jpg").read_bytes(), pictures=True)
    assert found.pictures.seen
    assert found.pictures.heat_map == ""
    assert any(note.startswith("no heat map: ") for note in found.notes)


def png_of(width, height):
    """A PNG that states a size and has hardly any bytes."""

    def chunk(name, data):
        checksum = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + checksum

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(10_000_000)))
    return b"\x89PNG\r\n\x1a\n" + head + pixels + chunk(b"IEND", b"")


def jpeg(size=(64, 48)):
    stream = io.BytesIO()
    Image.fromarray(np.full((*size, 3), 120, np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


def animated():
    stream = io.BytesIO()
    frames = [Image.fromarray(np.full((32, 32, 3), k, np.uint8)) for k in (0, 99)]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    return stream.getvalue()


def moving_webp():
    stream = io.BytesIO()
    frames = [Image.fromarray(np.full((32, 32, 3), k, np.uint8)) for k in (0, 99)]
    frames[0].save(stream, "WEBP", save_all=True, append_images=frames[1:])
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "status", "said"),
    [
        (b"", 422, "0 bytes"),
        (b"hello, I am a text", 422, "no known image"),
        (jpeg()[:-200], 422, "can't be used as a photo"),
        (jpeg((10, 10)), 422, "a side under 16"),
        (png_of(60_000, 60_000), 422, "60000 x 60000 px, more than 64,000,000 pixels"),
        (png_of(4_000, 4_000), 422, "the pixel data ends"),
        (b"\xff\xd8\xff" + bytes(21 * 2**20), 413, "over 20 MB"),
        (bytes(20 * 2**20 + 10), 413, "over 20 MB"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", 422, "HTML"),
        (b"<!doctype html><html></html>", 422, "HTML or XML"),
        (animated(), 422, "a GIF"),
        (moving_webp(), 422, "2 frames"),
    ],
    ids=[
        "empty",
        "text",
        "cut",
        "icon",
        "bomb",
        "short",
        "21MB",
        "20MB",
        "svg",
        "html",
        "gif",
        "webp",
    ],
)
def test_hostile_uploads_are_refused_in_one_sentence(data, status, said, http, caplog, capfd):
    response = send(http, data, name="../../etc/secret<b>.jpg")
    assert response.status_code == status
    detail = response.json()["detail"]
    assert said in detail
    assert "\n" not in detail
    assert "secret" not in response.text + caplog.text + "".join(capfd.readouterr())
    health = http.get("/health").json()
    assert (health["status"], health["waiting"], health["model"]["run"]) == ("ok", 0, "run")


FORM = {"content-type": "multipart/form-data; boundary=b"}


@pytest.mark.parametrize(
    "request_of",
    [
        {"files": {"photo": jpeg()}},
        {"files": [("file", jpeg()), ("file", jpeg())]},
        {"files": {"file": jpeg()}, "data": {"more": "x"}},
        {"data": {"file": "no file"}},
        {"content": jpeg(), "headers": {"content-type": "image/jpeg"}},
        {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
        {"content": b"--b\r\nno: field", "headers": FORM},
        {"content": b"", "headers": {}},
    ],
)  # fmt: skip
def test_a_request_of_another_form_is_refused(request_of, http):
    response = http.post("/predict", **request_of)
    assert response.status_code == 400
    assert response.json() == {
        "detail": "send one photo as multipart/form-data in the field 'file'"
    }


def test_names_with_paths_have_no_part_in_it(some, http):
    response = send(http, (some / "0.jpg").read_bytes(), name="../../../tmp/x\0/evil.jpg")
    assert response.status_code == 200
    assert "evil" not in response.text


def test_a_photo_without_end_is_cut_off_by_its_bytes(http):
    def endless():
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
        for _ in range(40):
            yield bytes(2**20)

    response = http.post("/predict", content=endless(), headers=FORM)
    assert response.status_code == 413


def test_pages_of_other_sites_and_names_may_not_ask(http, some):
    data = (some / "0.jpg").read_bytes()
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200)):
        assert send(http, data, headers={"sec-fetch-site": site}).status_code == status
    assert send(http, data, headers={"host": "evil.example"}).status_code == 400
    assert http.get("/", headers={"host": "localhost:7860"}).status_code == 200
    answer_ = http.get("/")
    assert "default-src 'none'" in answer_.headers["content-security-policy"]
    assert answer_.headers["cache-control"] == "no-store"


def test_a_large_photo_stays_in_memory(http, monkeypatch):
    import tempfile

    rolled = []
    rollover = tempfile.SpooledTemporaryFile.rollover
    monkeypatch.setattr(
        tempfile.SpooledTemporaryFile, "rollover",
        lambda self: rolled.append(1) or rollover(self),
    )  # fmt: skip
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (1500, 1500, 3), np.uint8)
    Image.fromarray(noise).save(stream, "BMP")
    assert len(stream.getvalue()) > 6 * 2**20
    assert send(http, stream.getvalue()).status_code == 200
    assert not rolled


def test_a_full_queue_says_when_to_come_again():
    begun, go_on = threading.Event(), threading.Event()
    threads = set()

    def slow(data, pictures):
        threads.add(threading.get_ident())
        begun.set()
        assert go_on.wait(20)
        raise ValueError("the worker's error stays inside")

    with client(slow, queue=3) as http, ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(send, http, b"x") for _ in range(3)]
        assert begun.wait(20)
        until = time.monotonic() + 20
        while http.get("/health").json()["waiting"] < 3 and time.monotonic() < until:
            time.sleep(0.01)
        response = send(http, b"x")
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) >= 1
        assert response.json()["detail"] == "3 photos are waiting; try again later"
        go_on.set()
        assert [one.result().status_code for one in waiting] == [500] * 3
        assert http.get("/health").json()["waiting"] == 0
        assert send(http, b"x").status_code == 500  # there is room again
    assert len(threads) == 1  # one thread runs the network


def test_an_answer_that_takes_too_long_is_given_up():
    go_on = threading.Event()

    def slow(data, pictures):
        go_on.wait(20)

    with client(slow, timeout=0.1) as http:
        response = send(http, b"x")
        go_on.set()
        assert response.status_code == 503
        assert response.json()["detail"] == "no answer within 0.1 s; try again later"
        assert "retry-after" in response.headers


HEAD = (
    b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n"
    b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
    b'Content-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
)


@pytest.mark.parametrize(
    ("length", "status", "said"),
    [(5000, b"408", b"wasn't sent within 0.3 s"), (2**40, b"413", b"over 20 MB")],
)
def test_a_photo_that_never_comes_is_given_up(length, status, said):
    model = answer.Model("run", "c", "d", "s", {})
    app = server.create(lambda data, pictures: 1 / 0, page.Page("", "", ""), model, timeout=0.3)
    with served(app) as number, socket.create_connection(("127.0.0.1", number), 20) as sender:
        sender.sendall(HEAD % length + b"the first bytes")
        response = b""
        while said not in response and (part := sender.recv(4096)):
            response += part
    assert response.startswith(b"HTTP/1.1 " + status)
    assert said in response


@pytest.mark.slow
def test_the_command_answers_until_it_is_interrupted(finetuned, some, tmp_path):
    words = [sys.executable, "-m", "dermssl.app", str(finetuned), "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(tiny.ROOT), "PYTHONUNBUFFERED": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        try:
            opened = process.stdout.readline()
            base = re.match(r"open (http://127\.0\.0\.1:\d+) ", opened).group(1)
            data = (some / "0.jpg").read_bytes()
            found = httpx.post(f"{base}/predict", files={"file": data}).json()
            assert found["model"]["run"] == finetuned.name
            assert "<h1>Try finetuned</h1>" in httpx.get(base).text
            process.send_signal(signal.SIGINT)
            rest, error = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, rest, error) == (0, "ended\n", "")


def test_openapi_describes_the_upload_and_the_answer(http):
    found = http.get("/openapi.json").json()
    assert set(found["paths"]) == {"/predict", "/health"}
    post = found["paths"]["/predict"]["post"]
    schema = post["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert schema["properties"]["file"] == {"type": "string", "format": "binary"}
    assert {"200", "400", "413", "422", "503"} <= set(post["responses"])
    fields = found["components"]["schemas"]["Answer"]["properties"]
    assert {"fine", "coarse", "probabilities", "remarks", "model"} <= set(fields)
    assert http.get("/docs").status_code == 404  # it would load scripts from elsewhere


def test_a_port_in_use_is_one_line(finetuned, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        used = other.getsockname()[1]
        assert tiny.call(app, finetuned, "--port", used) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"--port {used} of 127.0.0.1: can't be used (address already in use); use --port" in said
    with pytest.raises(UserError, match=r"app\.host 203\.0\.113\.9: isn.t an address"):
        ports.listen("203.0.113.9", 0, "app")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["nowhere"], "nowhere: no run found there"),
        (["PRETRAINED"], "a run of dermssl.pretrain, not of dermssl.finetune"),
        (["RUN", "--port", "70000"], "--port is 70000"),
        (["RUN", "--host", "no such host"], "--host no such host: "),
    ],
)
def test_bad_input_is_one_line(argv, said, finetuned, pretrained, capsys):
    words = {"RUN": finetuned, "PRETRAINED": pretrained}
    words = [words.get(word, word) for word in argv]
    assert tiny.call(app, *words, *([] if "--port" in words else ["--port", 0])) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_another_host_is_warned_of_in_one_line(finetuned, monkeypatch, capsys):
    monkeypatch.setattr(server.uvicorn.Server, "run", lambda self, sockets: None)
    assert tiny.call(app, finetuned, "--port", 0, "--host", "0.0.0.0") == 0
    shown = capsys.readouterr()
    lines = [line for line in shown.err.splitlines() if "--host" in line]
    assert lines == [
        "--host 0.0.0.0: anyone who reaches the port can use it; they see no training photos"
    ]
    assert "open http://0.0.0.0:" in shown.out


def test_a_run_of_an_older_version_has_a_note(finetuned, some, tmp_path):
    old = shutil.copytree(finetuned, tmp_path / "old")
    with np.load(old / likeness.NAME) as kept:
        np.savez(old / likeness.NAME, **{k: kept[k] for k in kept if k != "records"})
    found = answer.load(old)((some / "0.jpg").read_bytes())
    assert found.nearest_training == []
    assert any("nearest training lesions not known" in note for note in found.notes)
    assert all(str(Path(old).parent) not in note for note in found.notes)
