"""What a run says of the pretraining that it starts from."""

from dataclasses import asdict

import pytest

from dermssl.core import atomic_files, runs
from dermssl.core.errors import UserError
from dermssl.core.settings import Backbone, Data
from dermssl.data import records
from dermssl.inference import finished_run
from dermssl.training import pretraining_pool


@pytest.mark.parametrize(
    ("before", "preprocess", "said"),
    [
        ([], [], None),
        (["sharpen"], ["sharpen"], None),
        (["sharpen"], [], "data.preprocess: sharpen in RUN, nothing here"),
        ([], ["hair_removal", "sharpen"], "nothing in RUN, hair_removal sharpen here"),
        (
            ["sharpen", "hair_removal"],
            ["hair_removal", "sharpen"],
            "sharpen hair_removal in RUN, hair_removal sharpen here",
        ),
    ],
)
def test_photos_prepared_in_another_way_are_told(tmp_path, caplog, before, preprocess, said):
    config = {"data": asdict(Data(preprocess=before)), "backbone": asdict(Backbone())}
    status = {"status": runs.FINISHED, "command": "pretrain", "config": config}
    atomic_files.write_json(tmp_path / "status.json", status)
    pretraining_pool.warn(tmp_path, preprocess)
    pretraining_pool.warn(None, preprocess)
    if said is None:
        assert not caplog.messages
    else:
        (message,) = caplog.messages
        assert said.replace("RUN", str(tmp_path)) in message


def pretrained_on(folder, root, names):
    """A finished pretraining run whose pool are these photos of `root`."""
    folder.mkdir()
    config = {"data": asdict(Data(path=str(root))), "backbone": asdict(Backbone())}
    status = {"status": runs.FINISHED, "command": "pretrain", "config": config}
    atomic_files.write_json(folder / "status.json", status)
    atomic_files.write_csv(
        folder / finished_run.POOL, records.make_index({"path": names, "split": "train"})
    )
    return folder


def photo(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_a_held_out_photo_is_known_by_its_bytes(tmp_path):
    data, other = tmp_path / "data", tmp_path / "other"
    photo(data / "nv" / "a.jpg", "the photo")
    photo(other / "ISIC_7.jpg", "the photo")
    photo(other / "ISIC_8.jpg", "one other")
    table = records.make_index({"path": ["nv/a.jpg"], "split": "test"})
    dataset = records.Dataset(data, table, None)
    pretraining_pool.check(pretrained_on(tmp_path / "clean", other, ["ISIC_8.jpg"]), dataset)
    run = pretrained_on(tmp_path / "leaky", other, ["ISIC_8.jpg", "ISIC_7.jpg"])
    with pytest.raises(UserError, match=r"1 validation or test photos .* the first is nv/a\.jpg"):
        pretraining_pool.check(run, dataset)


def test_another_folders_photo_of_the_same_name_is_another_photo(tmp_path):
    photo(tmp_path / "data" / "1.jpg", "this")
    photo(tmp_path / "other" / "1.jpg", "that one")
    table = records.make_index({"path": ["1.jpg"], "split": "test"})
    dataset = records.Dataset(tmp_path / "data", table, None)
    run = pretrained_on(tmp_path / "run", tmp_path / "other", ["1.jpg"])
    pretraining_pool.check(run, dataset)
    (tmp_path / "other").rename(tmp_path / "gone")  # moved: their names are all there is
    with pytest.raises(UserError, match=r"path '1\.jpg' is in both"):
        pretraining_pool.check(run, dataset)
