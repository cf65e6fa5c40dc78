"""No output among the photos: what is refused there, and what isn't."""

import os

import pytest

from dermssl.core import config, output_folders
from dermssl.core.errors import UserError


@pytest.fixture
def cls(tmp_path):
    """A folder of photos in class folders."""
    for name in ("mel/a.jpg", "nv/b.jpg"):
        (tmp_path / "cls" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cls" / name).write_bytes(b"\xff\xd8\xff")
    return tmp_path / "cls"


def configure(command, output, **settings):
    return config.from_keywords(command, (), settings | {"output": output})


@pytest.mark.parametrize(
    ("command", "setting"),
    [
        ("check_data", "data"), ("pretrain", "data"), ("pretrain", "unlabelled"),
        ("finetune", "data"), ("grid", "data"), ("leakage", "data"), ("label_efficiency", "data"),
        ("quickstart", "data"), ("evaluate", "data"), ("adapt", "data"), ("embeddings", "data"),
        ("explain", "photos"), ("explain", "data"), ("export", "data"), ("stress_test", "data"),
        ("shards", "photos"),
    ],
)  # fmt: skip
def test_the_photo_folder_and_its_class_folders_are_refused(cls, tmp_path, command, setting):
    value = [str(cls)] if setting == "photos" and command == "explain" else str(cls)
    value = [value] if command == "evaluate" else value
    with pytest.raises(UserError, match=r"run\.output .*cls: is the folder of the photos \("):
        configure(command, cls, **{setting: value})
    with pytest.raises(UserError, match=r"lies in .* and holds a\.jpg, which dermssl didn't"):
        configure(command, cls / "mel", **{setting: value})
    (tmp_path / "link").symlink_to(cls / "mel")
    with pytest.raises(UserError, match="give a folder outside of the photos"):
        configure(command, tmp_path / "link", **{setting: value})
    configure(command, cls / "outputs" / "new", **{setting: value})
    configure(command, tmp_path / "elsewhere", **{setting: value})


def test_an_experiment_file_s_photos_count_and_so_does_a_link_to_them(cls, tmp_path):
    (tmp_path / "link").symlink_to(cls)
    (tmp_path / "e.toml").write_text(f"[data]\npath = '{tmp_path / 'link'}'\n[arms]\n")
    for command in ("quickstart", "check_data"):
        with pytest.raises(UserError, match=r"is the folder of the photos \(data\.path\)"):
            configure(command, cls, config=tmp_path / "e.toml")


@pytest.mark.parametrize(
    "files",
    [
        (), (".lock", "config.toml"), ("check_data.json", "sizes.png"),
        ("report.md", "report.html", "a.png"), ("dermssl_shards.json", "0.tfrecord"),
        ("probe_1/.lock", "cnn_1/.lock"),
        ("label_efficiency.md", "label_efficiency.html", "label_efficiency.png"),
    ],
)  # fmt: skip
def test_folders_of_dermssl_s_own_among_the_photos_stay_allowed(cls, files):
    output = cls / "outputs" / "x"
    output.mkdir(parents=True)
    for name in files:
        (output / name).parent.mkdir(exist_ok=True)
        (output / name).touch()
    configure("check_data", output, data=cls)
    (cls / "outputs" / "mole.jpg").touch()
    with pytest.raises(UserError, match=r"holds mole\.jpg"):
        configure("check_data", cls / "outputs", data=cls)


def test_the_default_output_among_the_photos_is_looked_at_too(cls, monkeypatch):
    monkeypatch.chdir(cls)
    configure("check_data", None, data=".")
    os.makedirs("outputs/check_data")
    (cls / "outputs" / "check_data" / "mole.jpg").touch()
    with pytest.raises(UserError, match=r"run\.output outputs/check_data: lies in"):
        configure("check_data", None, data=".")
    assert not output_folders.is_ours(str(cls / "outputs" / "check_data"))
