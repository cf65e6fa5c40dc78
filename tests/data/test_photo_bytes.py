"""Photos in HDF5 and npz files: the same pixels, ids and guards as files, and one line if bad."""

import contextlib
import io
import logging
import multiprocessing
import os
import shutil
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
from PIL import Image

from dermssl.core.errors import UserError
from dermssl.core.settings import Data
from dermssl.data import (
    decode,
    paths,
    perceptual_hash,
    photo_bytes,
    photos,
    readers,
    records,
    same_files,
)
from dermssl.data.sources import npz

RANDOM = np.random.default_rng(7)


def picture(side=24):
    """uint8 (side, side, 3) of smooth colours, each call another."""
    small = Image.fromarray(RANDOM.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))


def encoded(pixels, kind="JPEG", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(picture()[:18], exif=exif)


# One photo of each kind; "turned" has an EXIF orientation.
FILES = {
    "jpeg": encoded(picture()),
    "png": encoded(picture(), "PNG"),
    "webp": encoded(picture(), "WEBP"),
    "turned": turned(),
    "large": encoded(picture(200)),
}


def as_files(folder, content=FILES):
    folder.mkdir(exist_ok=True)
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return folder


def as_hdf5(file, content=FILES, **others):
    """An HDF5 file with a dataset a photo, and other datasets."""
    with h5py.File(file, "w") as container:
        for name, data in content.items():
            container[name] = np.void(data)
        for name, values in others.items():
            container[name] = values
    return file


def as_npz(file, save=np.savez_compressed, n=4, **changes):
    """An npz file as MedMNIST's, with changed arrays; None takes one away."""
    arrays = {}
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = np.stack([picture(28) for _ in range(n)])
        arrays[f"{split}_labels"] = np.arange(n, dtype=np.uint8)[:, None] % 7
    arrays = {name: values for name, values in (arrays | changes).items() if values is not None}
    save(file, **arrays)
    return arrays


def read(root, **options):
    return readers.read(Data(path=str(root), **options))


def refused(root, match, **options):
    with pytest.raises(UserError, match=match) as error:
        read(root, **options)
    assert "\n" not in str(error.value)


def opaque(container, name, data):
    container[name] = np.void(data)


def vector(container, name, data):
    container[name] = np.frombuffer(data, np.uint8)


def compressed(container, name, data):
    container.create_dataset(name, data=np.frombuffer(data, np.uint8), compression="gzip")


@pytest.mark.parametrize("write", [opaque, vector, compressed])
def test_an_hdf5_file_gives_the_bytes_and_pixels_of_the_files(tmp_path, write):
    folder = as_files(tmp_path / "files")
    with h5py.File(tmp_path / "a.hdf5", "w") as container:
        for name, data in FILES.items():
            write(container, f"group/{name}", data)
    names = [f"{tmp_path}/a.hdf5/group/{name}" for name in FILES]
    files = [str(folder / name) for name in FILES]
    assert [photo_bytes.read(name) for name in names] == list(FILES.values())
    assert [decode.read_header(name) for name in names] == list(map(decode.read_header, files))
    pairs = zip(photos.Photos(names, 32), photos.Photos(files, 32))
    for inside, outside in pairs:
        np.testing.assert_array_equal(inside, outside)


def test_pixels_in_hdf5_and_npz_are_kept_exactly(tmp_path):
    pixels = picture()
    as_hdf5(tmp_path / "a.h5", {}, pixels=pixels)
    np.testing.assert_array_equal(decode.decode(tmp_path / "a.h5/pixels"), pixels)
    fortran, grey = (np.asfortranarray(np.stack([picture(28) for _ in range(3)])),
                     np.stack([picture(28)[..., 0] for _ in range(2)]))  # fmt: skip
    for save in (np.savez, np.savez_compressed):
        file = tmp_path / f"{save.__name__}.npz"
        arrays = as_npz(file, save, val_images=fortran, images=grey, x=fortran.copy("C"))
        for key, array in (("train", "train_images"), ("val", "val_images"), ("x", "x")):
            for k, expected in enumerate(arrays[array]):
                np.testing.assert_array_equal(decode.decode(file / f"{key}/{k:05d}"), expected)
        found = decode.decode(file / "images/00001")
        np.testing.assert_array_equal(found, np.repeat(grey[1][..., None], 3, axis=2))


def test_a_photo_in_a_container_and_as_a_file_are_found_as_duplicates(tmp_path):
    folder = as_files(tmp_path / "files")
    inside = f"{as_hdf5(tmp_path / 'a.hdf5')}/"
    files = [str(folder / name) for name in FILES]
    names = [inside + name for name in FILES]
    assert same_files.find_identical_files(names, files) == [True] * len(FILES)
    assert same_files.find_identical_files(files, names[:2]) == [True, True, False, False, False]
    arrays = as_npz(tmp_path / "d.npz")
    twin = tmp_path / "twin.png"
    Image.fromarray(arrays["test_images"][3]).save(twin)
    seen = perceptual_hash.survey([*files, *names, tmp_path / "d.npz/test/00003", twin])
    n = len(FILES)
    for column in ("file_hash", "pixel_hash"):
        assert seen.table[column][:n].tolist() == seen.table[column][n : 2 * n].tolist()
    np.testing.assert_array_equal(seen.words[:n], seen.words[n : 2 * n])
    assert seen.table["pixel_hash"].iloc[-2] == seen.table["pixel_hash"].iloc[-1]


def test_photos_of_the_second_folder_that_lie_in_the_container_are_left_out(tmp_path, caplog):
    for name in ("data", "more"):
        (tmp_path / name).mkdir()
    as_hdf5(tmp_path / "data" / "a.hdf5")
    as_files(tmp_path / "more", {"copy.jpg": FILES["jpeg"], "new.jpg": encoded(picture())})
    dataset = read(tmp_path / "data", unlabelled=str(tmp_path / "more"))
    added = dataset.index[dataset.index["source"] == "unlabelled"]
    assert added["path"].tolist() == ["../more/new.jpg"]
    assert "1 of 2 photos are copies of photos in" in caplog.text


def test_the_data_hash_knows_the_content_and_not_the_place(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    as_hdf5(tmp_path / "one" / "a.hdf5")
    arrays = as_npz(tmp_path / "other" / "dermamnist.npz")
    first = {name: records.data_hash(read(tmp_path / name)) for name in ("one", "other")}
    shutil.move(tmp_path, moved := tmp_path.with_name(f"{tmp_path.name}_moved"))
    assert {name: records.data_hash(read(moved / name)) for name in first} == first
    arrays["train_images"][2, 5, 5, 0] ^= 1  # one bit, and every size stays
    np.savez_compressed(moved / "other" / "dermamnist.npz", **arrays)
    assert records.data_hash(read(moved / "other")) != first["other"]


def test_20_000_photos_are_indexed_in_little_time(tmp_path):
    with h5py.File(tmp_path / "a.hdf5", "w") as container:
        container["ISIC_0000000"] = np.void(encoded(picture(16)))
        for k in range(1, 20_000):  # of one dataset, which is quick to write
            container[f"ISIC_{k:07d}"] = container["ISIC_0000000"]
    start = time.process_time()
    dataset = read(tmp_path)
    records.data_hash(dataset)
    seconds = time.process_time() - start
    assert len(dataset.index) == 20_000
    assert seconds < 8  # 1.3 s where it was written


@pytest.mark.skipif(
    not os.path.exists("/proc/self/io"), reason="counts the bytes read as Linux does"
)
def test_no_photo_is_read_for_the_index(tmp_path):
    def bytes_read():
        with open("/proc/self/io") as file:
            return int(file.readline().split()[1])

    as_hdf5(tmp_path / "a.hdf5", {f"p{k}": bytes(2**20) for k in range(8)})
    images = RANDOM.integers(0, 256, (10, 300, 300, 3), dtype=np.uint8)
    as_npz(tmp_path / "b.npz", np.savez, train_images=images, train_labels=np.zeros(10, int))
    before = bytes_read()
    records.data_hash(read(tmp_path))
    assert bytes_read() - before < 2**20


def test_threads_and_forked_processes_read_what_one_thread_reads(tmp_path):
    as_hdf5(tmp_path / "a.hdf5", {f"p{k}": encoded(picture()) for k in range(40)})
    as_npz(tmp_path / "b.npz", n=20)
    names = [f"{tmp_path}/{path}" for path in paths.scan(tmp_path)]
    assert len(names) == 100
    with ThreadPoolExecutor(8) as pool:
        several = list(pool.map(photo_bytes.read, names * 3))
        with multiprocessing.get_context("fork").Pool(2) as forked:
            apart = forked.map(photo_bytes.read, names)
    one = [photo_bytes.read(name) for name in names]
    assert several == one * 3
    assert apart == one


def test_groups_are_folders_and_a_container_s_name_is_no_class_alone(tmp_path):
    with h5py.File(tmp_path / "photos.hdf5", "w") as container:
        for name in ("mel", "nv"):
            for k in range(2):
                container[f"{name}/{k}"] = np.void(encoded(picture()))
    assert read(tmp_path).index["fine"].tolist() == ["mel", "mel", "nv", "nv"]
    as_hdf5(tmp_path / "photos.hdf5")
    assert set(read(tmp_path).index["fine"]) == {""}
    as_hdf5(tmp_path / "train-image.hdf5", {"one": FILES["png"]})
    (tmp_path / "photos.hdf5").rename(tmp_path / "test-image.hdf5")
    assert set(read(tmp_path).index["fine"]) == {""}


def test_a_folder_with_a_container_s_ending_is_a_folder(tmp_path):
    as_files(tmp_path / "old.hdf5", {"a.jpg": FILES["jpeg"]})
    assert read(tmp_path).files == [f"{tmp_path}/old.hdf5/a.jpg"]
    assert photo_bytes.read(f"{tmp_path}/old.hdf5/a.jpg") == FILES["jpeg"]
    assert photo_bytes.located(f"{tmp_path}/old.hdf5/a.jpg") is None


def test_keys_and_rows_that_do_not_meet(tmp_path, caplog):
    as_hdf5(tmp_path / "a.hdf5", {"one": FILES["jpeg"], "two": FILES["png"]})
    table = tmp_path / "labels.csv"
    table.write_text("filename,label\none,mel\nthree,nv\n")
    refused(tmp_path, r"labels.csv: line 3: image 'three' not found \(1 of 2 images are missing\)")
    with caplog.at_level(logging.WARNING, logger="dermssl"):
        assert read(tmp_path, on_bad="skip").index["path"].tolist() == ["a.hdf5/one"]
    assert "1 image(s) in the folder have no row and are left out, the first is 'a.hdf5/two'" in (
        caplog.text
    )


def test_what_is_no_photo_is_left_out_and_counted(tmp_path, caplog):
    file = as_hdf5(tmp_path / "a.hdf5", {"one": FILES["jpeg"], "one_segmentation": FILES["png"]},
                   features=np.zeros((3, 2), np.float32))  # fmt: skip
    with h5py.File(file, "a") as container:
        container["again"] = h5py.SoftLink("/one")
        container["elsewhere"] = h5py.ExternalLink("/x.h5", "/one")
        container["deep/loop"] = container["/"]
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_external(b"/etc/hostname", 0, 4)
        space = h5py.h5s.create_simple((4,))
        h5py.h5d.create(container.id, b"outside", h5py.h5t.NATIVE_UINT8, space, plan)
    np.savez(tmp_path / "features.npz", h=np.zeros((4, 3)))
    assert read(tmp_path).index["path"].tolist() == ["a.hdf5/one"]
    assert (
        f"{tmp_path}: 7 left out: 5 a group that is there already, or too deep, a link, "
        "float32 (3, 2), uint8 (4,), no photo (a.hdf5/again, a.hdf5/deep/loop and 3 more); 1 "
        "lesion masks or superpixels (a.hdf5/one_segmentation); 1 without photos inside "
        "(features.npz)"
    ) in caplog.text


def test_containers_without_photos_say_what_they_hold(tmp_path):
    as_hdf5(tmp_path / "a.hdf5", {}, stack=np.zeros((5, 8, 8, 3), np.uint8))
    refused(
        tmp_path, r"a.hdf5 holds no photos \(stack: uint8 \(5, 8, 8, 3\)\); write each to a dat"
    )
    (tmp_path / "a.hdf5").unlink()
    np.savez(tmp_path / "a.npz", h=np.zeros((4, 3)))
    refused(tmp_path, r"a.npz holds no photos \(h: float64 \(4, 3\)\)")


def test_a_dataset_that_is_no_photo_is_one_line_of_its_own(tmp_path):
    as_hdf5(tmp_path / "a.hdf5", {"good": FILES["jpeg"], "text": b"no photo, but opaque bytes"})
    dataset = read(tmp_path)
    (bad,) = decode.verify_all(dataset.files)
    assert bad[0] == f"{tmp_path}/a.hdf5/text"
    assert bad[1].startswith(f"{tmp_path}/a.hdf5/text: looks like no known image (first bytes")
    kept, _ = readers.checked(dataset, "skip", "data.path")
    assert kept.index["path"].tolist() == ["a.hdf5/good"]


def test_a_missing_photo_of_a_container_is_not_found(tmp_path):
    file = as_hdf5(tmp_path / "a.hdf5")
    for path in (f"{file}/nobody", f"{file}/jpeg/x", f"{tmp_path}/b.hdf5/jpeg"):
        assert not photo_bytes.is_there(path)
        with pytest.raises(decode.BadImage, match=r"not found; check the path"):
            decode.decode(path)


@pytest.mark.parametrize("keep", [0, 7, 600, 0.5, 0.999])
@pytest.mark.parametrize("name", ["a.hdf5", "a.npz"])
def test_a_cut_container_is_one_line(tmp_path, name, keep):
    whole = tmp_path / name
    as_hdf5(whole) if name == "a.hdf5" else as_npz(whole)
    data = whole.read_bytes()
    whole.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
    kind = name.removeprefix("a.").upper().replace("NPZ", "npz")
    refused(tmp_path, rf"{name}: damaged, cut or no {kind} file \(.+\); copy or download it again")


@pytest.mark.parametrize("name", ["a.hdf5", "dermamnist.npz"])
def test_flipped_bytes_of_a_container_raise_nothing_else(tmp_path, name):
    file = tmp_path / name
    as_hdf5(file) if name == "a.hdf5" else as_npz(file)
    data = np.frombuffer(file.read_bytes(), np.uint8)
    for seed in range(60):
        flips = np.random.default_rng(seed)
        hurt = data.copy()
        hurt[flips.integers(0, len(data), 20)] ^= flips.integers(1, 256, 20, dtype=np.uint8)
        file.unlink()
        file.write_bytes(hurt.tobytes())
        os.utime(file, ns=(seed, seed))  # each is another file
        with contextlib.suppress(UserError):
            dataset = read(tmp_path)
            decode.verify_all(dataset.files)
            records.data_hash(dataset)


def test_a_damaged_member_is_one_line_that_names_it(tmp_path):
    file = tmp_path / "dermamnist.npz"
    as_npz(file, np.savez)
    with zipfile.ZipFile(file) as archive:
        at = archive.getinfo("train_images.npy").header_offset + 1000
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(bytes(data))
    dataset = read(tmp_path)  # labels and headers are whole
    with pytest.raises(
        UserError, match=r"dermamnist.npz: damaged, .*Bad CRC-32 .*train_images.npy"
    ):
        decode.verify_all(dataset.files)


OBJECTS = np.array([{"a": 1}] * 4, dtype=object)
BAD_ARRAYS = {
    "float": (
        {"val_images": np.zeros((4, 28, 28, 3), np.float32)},
        r"val_images is float32 \(4, 28, 28, 3\), not photos, uint8 \(n, height, width, 3\)",
    ),
    "channels first": (
        {"val_images": np.zeros((4, 3, 28, 28), np.uint8)},
        r"val_images is uint8 \(4, 3, 28, 28\), not photos",
    ),
    "flat": (
        {"val_images": np.zeros((4, 2352), np.uint8)},
        r"val_images is uint8 \(4, 2352\), not photos",
    ),
    "pickled photos": (
        {"val_images": OBJECTS}, r"val_images is pickled Python objects \(4,\), not photos"
    ),
    "pickled labels": (
        {"val_labels": OBJECTS}, r"val_labels is pickled Python objects \(4,\), not integers"
    ),
    "no labels": (
        {"val_labels": None}, r"no val_labels for its val_images; add it, or give data\.format unl"
    ),
    "too few": (
        {"val_labels": np.zeros((3, 1), np.uint8)}, r"val_labels is uint8 \(3, 1\), not integers"
    ),
    "several": (
        {"val_labels": np.zeros((4, 14), np.uint8)},
        r"val_labels is uint8 \(4, 14\), not integers \(4, 1\) as val_images needs",
    ),
    "shares": ({"val_labels": np.zeros((4, 1))}, r"val_labels is float64 \(4, 1\), not integers"),
    "eight classes": (
        {"val_labels": np.full((4, 1), 7)},
        r"val_labels goes from 7 to 7, and DermaMNIST has the classes 0 to 6; rename the file",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_arrays_that_are_not_understood_are_refused(tmp_path, case):
    changes, match = BAD_ARRAYS[case]
    as_npz(tmp_path / "dermamnist.npz", **changes)
    refused(tmp_path, f"dermamnist.npz: {match}")


def test_a_pickled_member_is_never_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "trapped"),))

    as_npz(tmp_path / "dermamnist.npz", extra=np.array([Trap()], dtype=object))
    dataset = read(tmp_path)
    assert not decode.verify_all(dataset.files)
    assert not (tmp_path / "trapped").exists()


def test_absurd_sizes_are_refused_before_memory_is_taken(tmp_path, monkeypatch):
    as_npz(tmp_path / "dermamnist.npz")
    monkeypatch.setattr(npz, "MAX_BYTES", 1000)
    monkeypatch.setattr(npz, "loaded", None)
    match = r"train_images is uint8 \(4, 28, 28, 3\); more than 1,000 bytes"
    refused(tmp_path, match)
    monkeypatch.undo()
    # A header that promises more than the archive holds.
    header = io.BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (10**9, 28, 28, 3)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(tmp_path / "dermamnist.npz", "w") as archive:
        archive.writestr("train_images.npy", header.getvalue() + bytes(100))
    refused(tmp_path, r"train_images.npy states 2352000000128 bytes, not 228")
    # A dataset that says it is a large photo is not read.
    with h5py.File(tmp_path / "a.hdf5", "w") as container:
        container.create_dataset("huge", (10**5, 10**5, 3), np.uint8, chunks=(100, 100, 3))
    with pytest.raises(decode.BadImage, match=r"a.hdf5/huge: 30,000,000,000 bytes, not 1 to"):
        decode.decode(tmp_path / "a.hdf5/huge")


def test_two_archives_with_labels_are_refused(tmp_path):
    for name in ("dermamnist.npz", "dermamnist_64.npz"):
        as_npz(tmp_path / name)
    refused(tmp_path, r"labels: dermamnist.npz, dermamnist_64.npz; keep one, since two may have")
    assert len(read(tmp_path, format="unlabelled").index) == 24
    assert set(read(tmp_path, format="unlabelled").index["fine"]) == {""}


def test_other_archives_have_numbers_for_classes(tmp_path, caplog):
    as_npz(tmp_path / "pathmnist.npz")
    dataset = read(tmp_path)
    assert dataset.taxonomy.fine == ("0", "1", "2", "3")
    assert "pathmnist.npz: its classes are the numbers of its labels" in caplog.text


def test_a_link_to_a_container_elsewhere_is_refused(tmp_path):
    (tmp_path / "data").mkdir()
    as_hdf5(tmp_path / "a.hdf5")
    (tmp_path / "data" / "a.hdf5").symlink_to(tmp_path / "a.hdf5")
    refused(tmp_path / "data", r"'a.hdf5' is a link that leaves the folder")


def test_a_pipe_with_a_container_s_name_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "a.npz")
    as_files(tmp_path, {"b.jpg": FILES["jpeg"]})
    assert read(tmp_path).index["path"].tolist() == ["b.jpg"]


def test_odd_keys_are_refused(tmp_path):
    as_hdf5(tmp_path / "a.hdf5", {"..": FILES["jpeg"]})
    refused(tmp_path, r"a.hdf5: 'a.hdf5/..' is no plain name; rename it")


def test_a_replaced_container_is_read_anew(tmp_path):
    for pixels in (picture(), picture()):
        as_hdf5(tmp_path / "a.hdf5", {"one": encoded(pixels, "PNG")})
        np.testing.assert_array_equal(decode.decode(tmp_path / "a.hdf5/one"), pixels)
