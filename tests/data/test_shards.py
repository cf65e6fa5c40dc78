"""Photos in shards: the bytes, records and ids of the folder, and one line where they are bad."""

import json
import shutil
import sys

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dermssl.core import file_locks
from dermssl.core.errors import UserError
from dermssl.core.settings import Data
from dermssl.core.taxonomy import BUILT_IN
from dermssl.data import (
    decode,
    masks,
    paths,
    photo_bytes,
    photos,
    pipeline,
    readers,
    records,
    same_files,
    shard_files,
    shard_writer,
    splits,
    storage,
)
from dermssl.data.augmentation.policies import AUGMENTATIONS

tf = pytest.importorskip("tensorflow")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Copies of indexes from elsewhere go into a folder of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def read(root, **options):
    return readers.read(Data(path=str(root), **options))


def write(root, folder, shard_mb=0.05, **options):
    return shard_writer.write(read(root), str(folder), shard_mb=shard_mb, **options)


@pytest.fixture(scope="module")
def written(photos, tmp_path_factory):
    """Shards of the tiny photos; nobody changes them."""
    return write(photos, tmp_path_factory.mktemp("written") / "shards")


@pytest.fixture
def own(written, tmp_path):
    """A copy of them that a test may damage."""
    return shutil.copytree(written.folder, tmp_path / "own")


def files_of(folder):
    return sorted(str(file) for file in folder.glob("*.tfrecord"))


def test_records_splits_and_data_hash_are_those_of_the_folder(photos, written):
    folder, shards = (splits.prepare(Data(path=str(root))) for root in (photos, written.folder))
    pd.testing.assert_frame_equal(shards.index, folder.index)
    assert shards.taxonomy == folder.taxonomy
    assert records.data_hash(shards) == records.data_hash(folder)
    assert len(written.sizes) > 3
    assert max(written.sizes) < 1.3 * min(written.sizes)


def test_bytes_and_pixels_are_those_of_the_files(photos, written):
    folder, shards = read(photos), read(written.folder)
    for file, inside in zip(folder.files, shards.files):
        assert photo_bytes.read(inside) == photo_bytes.read(file)
        assert photo_bytes.opened(inside).read() == photo_bytes.opened(file).read()
        assert photo_bytes.stored(inside).size == photo_bytes.stored(file).size
    np.testing.assert_array_equal(decode.decode(shards.files[7]), decode.decode(folder.files[7]))
    assert same_files.find_identical_files(shards.files[:3], folder.files) == [True] * 3


def test_tensorflow_reads_the_shards(photos, written):
    """Its own reader, which checks both checksums of each record."""
    dataset = tf.data.TFRecordDataset(files_of(paths.Path(written.folder)))
    found = sorted(data.numpy() for data in dataset)
    assert found == sorted(map(photo_bytes.read, read(photos).files))


def test_the_index_says_where_the_bytes_begin(written):
    folder = paths.Path(written.folder)
    table = pd.read_parquet(folder / "index.parquet")
    assert table["id"].is_monotonic_increasing
    names = files_of(folder)
    for row in table.head(20).itertuples():
        with open(names[row.shard], "rb") as file:
            file.seek(row.at - 12)
            assert int.from_bytes(file.read(8), "little") == row.bytes


def test_an_hdf5_file_and_shards_are_sources_too(photos, written, tmp_path):
    (tmp_path / "data").mkdir()
    with h5py.File(tmp_path / "data" / "photos.hdf5", "w") as container:
        for file in sorted((photos / "images").iterdir())[:9]:
            container[file.stem] = np.void(file.read_bytes())
    write(tmp_path / "data", tmp_path / "shards")
    first, second = read(tmp_path / "data"), read(tmp_path / "shards")
    assert second.index["path"].tolist() == first.index["path"].tolist()
    assert list(map(photo_bytes.read, second.files)) == list(map(photo_bytes.read, first.files))
    write(written.folder, tmp_path / "again")
    assert records.data_hash(read(tmp_path / "again")) == records.data_hash(read(photos))
    for name, size in zip(sorted(p.name for p in paths.Path(written.folder).iterdir()), range(99)):
        if name.endswith(".tfrecord"):
            same = [(paths.Path(root) / name).read_bytes() for root in
                    (written.folder, tmp_path / "again")]  # fmt: skip
            assert same[0] == same[1], (name, size)


def test_the_number_of_workers_changes_nothing(photos, written, tmp_path):
    write(photos, tmp_path / "one", workers=1)
    for file in paths.Path(written.folder).iterdir():
        assert file.read_bytes() == (tmp_path / "one" / file.name).read_bytes(), file.name


def test_masks_come_along(photos, tmp_path):
    """Also one that two photos share; boxes and hashes are those of the folder."""
    data = tmp_path / "data"
    data.mkdir()
    rows = ["filename,label,mask"]
    for number, file in enumerate(sorted((photos / "images").iterdir())[:12]):
        shutil.copy(file, data / f"{number}.jpg")
        mask = "m/0.png" if number < 2 else f"m/{number}.png" if number < 6 else ""
        rows.append(f"{number}.jpg,{'nv' if number % 2 else 'mel'},{mask}")
    (data / "m").mkdir()
    for number in (0, 2, 3, 4, 5):
        mask = np.zeros((32, 32), np.uint8)
        mask[number + 2 : 20, 3:25] = 255
        Image.fromarray(mask).save(data / "m" / f"{number}.png")
    (data / "labels.csv").write_text("\n".join(rows))
    made = write(data, tmp_path / "shards", 0.005)
    assert (made.photos, made.masks) == (12, 5)
    first, second = read(data), read(tmp_path / "shards")
    pd.testing.assert_frame_equal(second.index, first.index)
    assert records.data_hash(second) == records.data_hash(first)
    for one, other in zip(first.mask_files, second.mask_files):
        assert (masks.box(one) if one else "") == (masks.box(other) if other else "")
    ignored = read(tmp_path / "shards", masks="ignore")
    assert records.data_hash(ignored) == records.data_hash(read(data, masks="ignore"))
    assert len(paths.scan(second.root)) == 12


def test_shrunk_photos_are_small_jpegs_with_the_same_ids(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    rng = np.random.default_rng(0)
    for name, size in {
        "wide.png": (300, 200),
        "high.jpg": (90, 150),
        "small.png": (50, 64),
    }.items():
        grey = rng.integers(0, 256, (size[1] // 10, size[0] // 10), dtype=np.uint8)
        Image.fromarray(grey).resize(size).convert("RGB").save(data / name)
    write(data, tmp_path / "shards", shrink=64)
    shards = read(tmp_path / "shards")
    assert shards.index["path"].tolist() == ["high.jpg", "small.png", "wide.png"]
    headers = [decode.read_header(file) for file in shards.files]
    assert [(h.format, h.width, h.height) for h in headers] == [
        ("JPEG", 64, 107), ("PNG", 50, 64), ("JPEG", 96, 64),
    ]  # fmt: skip
    assert photo_bytes.read(shards.files[1]) == (data / "small.png").read_bytes()
    whole = np.asarray(Image.open(data / "wide.png").resize((96, 64), Image.Resampling.BOX), float)
    assert np.abs(decode.decode(shards.files[2]) - whole).mean() < 3


def test_bad_photos_stop_the_writing_or_are_left_out(photos, tmp_path, caplog):
    data = shutil.copytree(photos / "images", tmp_path / "data")
    names = sorted(file.name for file in data.iterdir())
    (data / names[3]).write_bytes((data / names[3]).read_bytes()[:-200])
    with pytest.raises(UserError, match=rf"{names[3]}: .*cut.*shards.on_bad skip"):
        write(data, tmp_path / "shards")
    with pytest.raises(UserError, match=r"have no index.parquet, so they aren't finished"):
        read(tmp_path / "shards")
    made = write(data, tmp_path / "skipped", on_bad="skip")
    assert made.photos == 159
    assert names[3] not in read(tmp_path / "skipped").index["path"].tolist()
    assert f"skipped: 1 of 160 photos, the first: {data / names[3]}: " in caplog.text


def test_full_paths_are_those_of_pathlib():
    index = records.make_index({"path": ["../other/a.jpg", "/data/b.jpg", "c.jpg", "d/e.jpg"]})
    for root in ("/", ".", "/data", "data"):
        root = paths.Path(root)
        dataset = records.Dataset(root, index, None)
        assert dataset.files == [str(root / path) for path in index["path"]]


# Elsewhere


def test_a_data_folder_names_no_other_place(own, tmp_path):
    (own / "home.json").write_text(json.dumps({"url": f"file://{tmp_path}/other"}))
    assert photo_bytes.read(read(own).files[0])


@pytest.mark.parametrize("scheme", ["file", "ram"])
def test_shards_elsewhere_are_read_and_written(photos, tmp_path, scheme):
    if scheme not in tf.io.gfile.get_registered_schemes():
        pytest.skip(f"TensorFlow has no {scheme}://")
    url = f"{scheme}://{tmp_path}/shards" if scheme == "file" else f"{scheme}://bucket{tmp_path}/s"
    made = write(photos, paths.Path(url))
    assert made.folder == url
    shards, folder = splits.prepare(Data(path=url)), splits.prepare(Data(path=str(photos)))
    pd.testing.assert_frame_equal(shards.index, folder.index)
    assert records.data_hash(shards) == records.data_hash(folder)
    assert list(map(photo_bytes.read, shards.files)) == list(map(photo_bytes.read, folder.files))
    assert masks.image_files(url) == shards.files
    again = write(photos, url)
    assert (again.new, again.sizes) == (0, made.sizes)


def test_pages_elsewhere_are_read_once(tmp_path, monkeypatch):
    """A record over the border of two pages, and reads of other records from the same ones."""
    data = np.random.default_rng(0).bytes(3 * storage.PAGE + 100)
    (tmp_path / "a").write_bytes(data)
    url, asked = f"file://{tmp_path}/a", []
    opener = tf.io.gfile.GFile
    monkeypatch.setattr(tf.io.gfile, "GFile", lambda *args: asked.append(args) or opener(*args))
    for at, size in ((10, 50), (storage.PAGE - 7, 20), (3 * storage.PAGE, 500), (99, 1)):
        assert storage.read_part(url, at, size) == data[at : at + size]
        assert storage.read_part(str(tmp_path / "a"), at, size) == data[at : at + size]
    assert len(asked) == 3


def test_an_unknown_scheme_and_a_place_without_shards_are_refused(tmp_path):
    with pytest.raises(
        UserError, match=r"^s9://x: TensorFlow has no such file system, but .*file:"
    ):
        read("s9://x")
    with pytest.raises(UserError, match=rf"^data.path file://{tmp_path}/none: no index.parquet"):
        read(f"file://{tmp_path}/none")


# The order of an epoch


def pages_of(n, count):
    return photos.Pages(np.random.default_rng(1).integers(0, count, n), count)


def test_an_epoch_reads_window_by_window():
    n, count = 20_000, 300
    pages = pages_of(n, count)
    orders = [pipeline.epoch_order(n, 3, epoch, pages) for epoch in (0, 1)]
    for order in orders:
        assert sorted(order) == list(range(n))
        numbers = pages.numbers[order]
        first = {page: at for at, page in reversed(list(enumerate(numbers)))}
        last = {page: at for at, page in enumerate(numbers)}
        spans = [last[page] - first[page] for page in range(count)]
        windows = -(-count // pipeline.WINDOW)
        assert max(spans) < 1.3 * n / (count / pipeline.WINDOW)
        assert len({tuple(sorted(first, key=first.get))}) == 1
        # A page begins and ends in one window: what was read before is never read again.
        sizes = np.bincount(pages.numbers)
        seen, windows_seen, at = set(), 0, 0
        while at < n:
            window = {numbers[at]}
            end = at + 1
            while end < n and len(window | {numbers[end]}) <= pipeline.WINDOW:
                window.add(numbers[end])
                end += 1
            assert not window & seen
            assert end - at == sum(sizes[list(window)])
            seen |= window
            windows_seen, at = windows_seen + 1, end
        assert windows_seen == windows
    assert not np.array_equal(*orders)
    pipeline.epoch_order.cache_clear()
    np.testing.assert_array_equal(pipeline.epoch_order(n, 3, 1, pages_of(n, count)), orders[1])


def test_records_of_one_window_have_the_order_of_a_folder():
    pages = pages_of(500, pipeline.WINDOW)
    np.testing.assert_array_equal(
        pipeline.epoch_order(500, 1, 2, pages), pipeline.epoch_order(500, 1, 2)
    )


def test_a_training_goes_on_at_any_step_and_workers_share_it(photos, written, monkeypatch):
    """With windows of a page, so that the order isn't a folder's."""
    monkeypatch.setattr(pipeline, "WINDOW", 1)
    pipeline.epoch_order.cache_clear()
    some = splits.prepare(Data(path=written.folder)).train
    shots = photos_of(some)
    assert shots.pages.count == len(written.sizes)
    order = pipeline.epoch_order(len(shots), 5, 0, shots.pages)
    assert len(set(shots.pages.numbers[order][: np.bincount(shots.pages.numbers).min()])) == 1
    policy, steps = AUGMENTATIONS["simclr"], 12

    def batches(**options):
        data = pipeline.two_view_data(photos_of(some), policy, 5, 16, 32, steps, **options)
        return [first.numpy() for first, _ in data]

    whole = batches()
    pipeline.epoch_order.cache_clear()
    for one, other in zip(whole[9:], batches(start=9), strict=True):
        np.testing.assert_array_equal(one, other)
    parts = [batches(worker=worker, workers=2) for worker in (0, 1)]
    for batch, *shares in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(batch, np.concatenate(shares))
    pipeline.epoch_order.cache_clear()


def photos_of(dataset):
    return photos.Photos(dataset.files, 32)


def test_photos_in_files_have_no_pages(photos):
    assert photos_of(read(photos)).pages is None
    assert photos_of(read(photos).with_index(read(photos).index[:0])).pages is None


# Bad input


def refused(folder, match):
    with pytest.raises(UserError, match=match) as error:
        splits.prepare(Data(path=str(folder)))
    assert "\n" not in str(error.value)


def test_a_flipped_bit_is_found_when_the_photo_is_read(own):
    shards, first = read(own), files_of(own)[0]
    data = bytearray(paths.Path(first).read_bytes())
    data[40] ^= 1
    paths.Path(first).write_bytes(data)
    bad = [file for file in shards.files if not _readable(file)]
    assert len(bad) == 1
    with pytest.raises(
        decode.BadImage,
        match=r"jpg: shard-00000-of-.* is damaged: these .* written; copy it again, or delete the",
    ):
        decode.decode(bad[0])
    with pytest.raises(decode.BadImage, match="is damaged"):
        photos.Photos(bad, 32)[0]


def _readable(file):
    try:
        return bool(photo_bytes.read(file))
    except OSError:
        return False


def test_a_shard_that_is_cut_or_missing_is_refused(own):
    first, second = map(paths.Path, files_of(own)[:2])
    data = first.read_bytes()
    first.write_bytes(data[:-1])
    refused(own, rf"{first.name}: .* bytes, not the .* of its index; copy it again, or delete")
    first.write_bytes(data)
    second.unlink()
    refused(own, rf"own: 1 of \d shards are missing, the first is {second.name}; copy them again")
    for file in files_of(own):
        paths.Path(file).unlink()
    refused(own, rf"own: (\d) of \1 shards are missing, the first is {first.name}")


def test_shards_without_their_marker_or_index_are_refused(own, photos):
    marker, index = own / "dermssl_shards.json", own / "index.parquet"
    marker.rename(own.parent / "marker")
    refused(
        own, r"own: shards without their dermssl_shards.json; copy it again, or delete the fold"
    )
    with pytest.raises(UserError, match=r"and no shards \(it has no dermssl_shards.json\); give"):
        write(photos, own)
    index.rename(own.parent / "index")
    refused(own, r"own: shards without their index.parquet \(shard-.* more\); copy it again, or")
    (own.parent / "marker").rename(marker)
    refused(own, "own: its shards have no index.parquet, so they aren't finished; give the command")
    write(photos, own)
    assert index.read_bytes() == (own.parent / "index").read_bytes()


def test_what_the_errors_advise_works(own, photos):
    """The command leaves finished shards alone: only without the folder it writes them anew."""
    file = paths.Path(files_of(own)[0])
    data = bytearray(file.read_bytes())
    data[40] ^= 1
    file.write_bytes(data)
    assert write(photos, own).new == 0
    shutil.rmtree(own)
    write(photos, own)
    assert all(map(_readable, read(own).files))


def test_two_writers_at_once(photos, tmp_path):
    """The second is refused, and takes nothing of the first away."""
    half = tmp_path / "out" / ".tmp1.shard-00000-of-00001.tfrecord"
    with file_locks.of_output(tmp_path / "out"):
        half.touch()
        with pytest.raises(UserError, match=r"run\.output .*out: another process is writing there"):
            write(photos, tmp_path / "out")
        assert half.exists()
    write(photos, tmp_path / "out")
    assert not half.exists()
    with file_locks.of_output(tmp_path / "out"):  # all is written: nothing is in the way
        assert write(photos, tmp_path / "out").new == 0


@pytest.mark.parametrize("place", ["file", "file/shards"])
def test_an_output_that_is_a_file_is_refused(photos, tmp_path, place):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(
        UserError, match=rf"run\.output .*/{place}: can't be (written|made|read) \("
    ):
        write(photos, tmp_path / place)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_file_system_that_can_t_be_reached_is_refused(photos, monkeypatch):
    def fail(path):
        raise tf.errors.AbortedError(None, None, "no network:\n  host not found")

    monkeypatch.setattr(tf.io.gfile, "exists", fail)
    with pytest.raises(
        UserError, match=r"^run\.output gs://b/x: can't be read \(.*no network: host"
    ):
        write(photos, "gs://b/x")
    with pytest.raises(
        UserError, match=r"^data\.path gs://b/x: can't be read \(.*no network: host"
    ):
        read("gs://b/x")


def test_a_shard_that_is_cut_while_it_is_in_use_is_found(own):
    shards = read(own)
    photo_bytes.read(shards.files[0])
    for file in files_of(own):
        paths.Path(file).write_bytes(b"")
    with pytest.raises(decode.BadImage, match=r"shard-.*tfrecord is cut"):
        decode.decode(shards.files[0])


def test_an_index_that_is_damaged_or_of_another_version_is_refused(own, monkeypatch):
    data = (own / "index.parquet").read_bytes()
    for damaged in (data[: len(data) // 2], data[:-30] + bytes(30), b"", b"PAR1" + data[4:-400]):
        (own / "index.parquet").write_bytes(damaged)
        refused(
            own, r"index.parquet: damaged or cut \(.*\); copy it again, or delete the folder an"
        )
    (own / "index.parquet").write_bytes(data)
    monkeypatch.setattr(shard_files, "VERSION", 2)
    refused(own, "index.parquet: shards of version 1, and this dermssl reads version 2; delete the")
    monkeypatch.undo()
    pd.DataFrame({"a": [1]}).to_parquet(own / "index.parquet")
    refused(own, "index.parquet: not an index of dermssl's shards; move it out of the folder")


def test_without_pyarrow_one_line_says_what_to_install(own, photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    refused(own, r"index.parquet: shards need pyarrow; pip install 'dermssl\[parquet\]'")
    with pytest.raises(UserError, match="new: shards need pyarrow"):
        write(photos, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_another_taxonomy_is_other_content_and_skip_goes_on_after_error(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "photos")
    out = tmp_path / "out"
    write(tmp_path / "photos", out)
    write(tmp_path / "photos", out, on_bad="skip")  # what an error advised
    with pytest.raises(UserError, match=r"\(on_bad\)"):
        write(tmp_path / "photos", out, on_bad="error")
    text = (BUILT_IN / "ham10000.toml").read_text().replace('"malignant"', '"benign"')
    (tmp_path / "photos" / "taxonomy.toml").write_text(text)
    with pytest.raises(UserError, match=r"\(taxonomy\)"):
        write(tmp_path / "photos", out, on_bad="skip")


def test_other_content_of_the_output_is_refused(photos, written, own, tmp_path):
    with pytest.raises(UserError, match=r"run.output .*shards of other photos or settings \(shri"):
        write(photos, own, shrink=16)
    with pytest.raises(UserError, match=r"\(data, taxonomy\); give another folder, or delete"):
        write(photos / "images", own)
    with pytest.raises(UserError, match=r"not empty, and no shards \(it has no derm"):
        write(photos, photos / "images")
    (own / "dermssl_shards.json").write_text("{")
    with pytest.raises(UserError, match=r"other photos or settings \(version\)"):
        write(photos, own)


def test_shards_in_a_data_folder_are_no_photos_of_it(photos, tmp_path, caplog):
    data = shutil.copytree(photos / "images", tmp_path / "data")
    write(data, data / "shards")
    assert len(read(data).index) == 160
    assert "1 left out: 1 folders that dermssl wrote (shards/)" in caplog.text


def test_a_photo_of_shards_and_folder_is_known_by_its_id(photos, written, tmp_path, caplog):
    """The second folder's photos that are in the first are left out: also shrunk ones."""
    small = tmp_path / "small"
    write(photos, small, shrink=16)
    for one, other in ((photos, written.folder), (written.folder, photos), (photos, small)):
        caplog.clear()
        assert len(read(one, unlabelled=str(other)).index) == 160
        assert "160 of 160 photos are copies" in caplog.text
    marker = json.loads((small / "dermssl_shards.json").read_text())
    assert marker["shrink"] == 16
