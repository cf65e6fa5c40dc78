"""Photos: one pixel for pixel the same by every road, within its budgets, aimed by its mask."""

import io
import os
import time

import cv2
import numpy as np
import pytest
from PIL import Image

from dermssl.core.errors import UserError
from dermssl.core.settings import Data
from dermssl.data import decode, masks, photos, preprocess, readers

SHAPES = [(40, 40), (33, 60), (90, 41), (200, 150)]


def picture(shape, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC)


def encoded(image, **options):
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """8 photos, JPEG and PNG, with masks of a lesion in the first six; the sixth is empty."""
    root = tmp_path_factory.mktemp("masked")
    (root / "masks").mkdir()
    (root / "images").mkdir()
    for k in range(8):
        shape = SHAPES[k % 4]
        picture(shape, k).save(root / "images" / f"p{k}.{'png' if k % 2 else 'jpg'}")
        mask = np.zeros(shape, np.uint8)
        if k < 5:
            mask[shape[0] // 4 : shape[0] // 2, shape[1] // 2 : shape[1] * 3 // 4] = 255
        if k < 6:
            Image.fromarray(mask).save(root / "masks" / f"p{k}_segmentation.png")
    return root


def dataset_of(folder, **settings):
    return readers.read(Data(path=str(folder), **settings))


# The decoder


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("min_size", [None, 50, 25, 12])
def test_quick_pixels_equal_pillow_s(tmp_path, subsampling, progressive, min_size):
    for mode in ("RGB", "L"):
        image = picture((107, 163)).convert(mode)
        data = encoded(image, subsampling=subsampling, progressive=progressive, quality=90)
        (tmp_path / "a.jpg").write_bytes(data)
        found = decode.pixels(data, min_size)
        np.testing.assert_array_equal(found, decode.decode(tmp_path / "a.jpg", min_size))
        assert found.shape[0] == -(-107 // {None: 1, 50: 2, 25: 4, 12: 8}[min_size])


def test_a_scaled_photo_is_near_the_average_of_the_whole(tmp_path):
    # Scaling in the DCT is a little sharper than averaging: the stated tolerance.
    data = encoded(picture((256, 320)), quality=95, subsampling=0)
    whole = decode.pixels(data)
    for ratio in (2, 4, 8):
        small = decode.pixels(data, 256 // ratio)
        assert small.shape == (256 // ratio, 320 // ratio, 3)
        averaged = cv2.resize(whole, small.shape[1::-1], interpolation=cv2.INTER_AREA)
        away = np.abs(small.astype(int) - averaged)
        assert away.mean() < 1
        assert np.percentile(away, 99) <= 6


def test_what_is_not_plainly_whole_is_left_to_decode(tmp_path):
    image = picture((40, 50))
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = encoded(image)
    tiny, cmyk = encoded(picture((10, 50))), encoded(image.convert("CMYK"))
    odd = [
        whole[:-2],
        whole[: len(whole) // 2],
        encoded(image, exif=exif),
        cmyk,
        tiny,
        b"",
        b"\xff",
    ]
    odd += [whole[:2] + b"\xff\xd9", b"\xff\xd8\xff\xd9", b"\xff\xd8\xff\xe0\0\0\xff\xd9"]
    assert decode.pixels(whole) is not None
    assert [decode.pixels(data) for data in odd] == [None] * len(odd)
    (tmp_path / "turned.jpg").write_bytes(odd[2])
    (tmp_path / "cut.jpg").write_bytes(odd[1])
    files = [str(tmp_path / name) for name in ("turned.jpg", "cut.jpg", "gone.jpg")]
    some = photos.Photos(files, 100)
    assert some[0].shape == (50, 40, 3)  # upright
    for number, message in ((1, "damaged"), (2, "not found")):
        with pytest.raises(decode.BadImage, match=message):
            some[number]


def test_no_cut_of_a_file_is_taken_for_whole():
    data = encoded(picture((40, 50)))
    for end in range(0, len(data), 7):
        assert decode.pixels(data[:end]) is None


# The caches


def test_disk_and_memory_give_the_same_pixels(folder, tmp_path):
    files = dataset_of(folder).files
    plain = [photos.Photos(files, 16)[k] for k in range(8)]
    for cache_mb in (0, 100):
        some = photos.Photos(files, 16, cache_mb, cache_dir=str(tmp_path), cache_disk_mb=100)
        for _ in range(2):
            assert all(np.array_equal(some[k], plain[k]) for k in range(8))
    assert len(list(tmp_path.iterdir())) == 8


def test_a_second_process_would_not_decode_again(folder, tmp_path, monkeypatch):
    files = dataset_of(folder).files
    first = photos.Photos(files, 16, 0, cache_dir=str(tmp_path), cache_disk_mb=100)
    before = [first[k] for k in range(8)]
    monkeypatch.setattr(photos.Photos, "_made", None)
    again = photos.Photos(files, 16, 0, cache_dir=str(tmp_path), cache_disk_mb=100)
    assert all(np.array_equal(again[k], before[k]) for k in range(8))
    for other in ({"steps": ["sharpen"]}, {"image_size": 17}):  # other settings, other pixels
        settings = {"image_size": 16, "cache_dir": str(tmp_path), "cache_disk_mb": 100} | other
        with pytest.raises(TypeError):
            photos.Photos(files, **settings)[0]


def test_a_changed_photo_and_a_cut_cache_file_are_read_anew(tmp_path):
    file, kept = tmp_path / "a.jpg", tmp_path / "kept"
    file.write_bytes(encoded(picture((40, 40), 1)))
    info = file.stat()

    def read():
        return photos.Photos([str(file)], 16, 0, cache_dir=str(kept), cache_disk_mb=1)[0]

    first = read()
    (cached,) = kept.iterdir()
    cached.write_bytes(cached.read_bytes()[:300])
    assert np.array_equal(read(), first)
    file.write_bytes(encoded(picture((40, 40), 2)))
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))  # the clock does not tell
    assert not np.array_equal(read(), first)


def test_a_disk_that_can_t_be_written_ends_no_run(folder, tmp_path, monkeypatch, caplog):
    def full(*args):
        raise OSError(28, "No space left on device")

    photos._disk.cache_clear()
    monkeypatch.setattr(np, "save", full)
    files = dataset_of(folder).files
    plain = photos.Photos(files, 16, 0)
    some = photos.Photos(files, 16, 0, cache_dir=str(tmp_path), cache_disk_mb=100)
    for number in (0, 1, 2):
        np.testing.assert_array_equal(some[number], plain[number])
    (said,) = caplog.messages
    assert "No space left" in said
    assert os.listdir(tmp_path) == []


def test_a_read_only_folder_with_a_half_file_can_still_be_read(
    folder, tmp_path, monkeypatch, caplog
):
    def refused(*args):
        raise PermissionError(13, "Permission denied")

    files = dataset_of(folder).files
    plain = photos.Photos(files, 16, 0)
    options = {"cache_dir": str(tmp_path), "cache_disk_mb": 1}
    photos._disk.cache_clear()
    photos.Photos(files, 16, 0, **options)[0]  # the one that is kept there
    half = tmp_path / ".tmp123.old.npy"
    half.touch()
    os.utime(half, (0, 0))
    photos._disk.cache_clear()
    for name in ("unlink", "replace"):
        monkeypatch.setattr(os, name, refused)
    some = photos.Photos(files, 16, 0, **options)
    for number in (0, 1):  # one is kept there, the other can't be
        np.testing.assert_array_equal(some[number], plain[number])
    assert "Permission denied" in caplog.text
    assert half.exists()


def test_what_killed_processes_left_takes_no_room(folder, tmp_path):
    photos._disk.cache_clear()
    sizes = {".tmp123.old.npy": 2**20, ".tmp123.new.npy": 2**20 - 5000, ".tmpl.npy": 10}
    for (name, size), age in zip(sizes.items(), (2, 0, 2)):
        file = tmp_path / name
        file.write_bytes(bytes(size))
        os.utime(file, (time.time() - age * photos.ABANDONED,) * 2)
    some = photos.Photos(dataset_of(folder).files, 16, 0, cache_dir=str(tmp_path), cache_disk_mb=1)
    assert {file.name for file in tmp_path.iterdir()} == {".tmp123.new.npy", ".tmpl.npy"}
    assert some._disk._room == 4990


def test_the_disk_keeps_to_its_budget(folder, tmp_path, monkeypatch):
    files = dataset_of(folder).files
    monkeypatch.setattr(photos, "MIB", 1)
    budget = 3 * (128 + 3 * 33 * 32) + 3000
    for fresh in (True, False, True):  # what lies there already counts, and what others wrote
        if fresh:
            photos._disk.cache_clear()
        some = photos.Photos(files, 16, 0, cache_dir=str(tmp_path), cache_disk_mb=budget)
        assert all(some[k].shape[2] == 3 for k in range(8))
        used = sum(file.stat().st_size for file in tmp_path.iterdir())
        assert 0 < used <= budget
    with pytest.raises(UserError, match=r"data.cache_dir .*: can't be used \(File exists\)"):
        photos.Photos(files, 16, cache_dir=files[0], cache_disk_mb=1)


# Masks


def test_masks_are_found_by_name_and_are_no_photos(folder, tmp_path):
    found = dataset_of(folder)
    assert len(found.index) == 8
    assert found.index["mask"].tolist() == [f"masks/p{k}_segmentation.png" for k in range(6)] + [
        "",
        "",
    ]
    assert "mask" not in dataset_of(folder, masks="ignore").index
    for place in ("nv/a.jpg", "mel/a.jpg", "mel/b.jpg"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        picture((40, 40)).save(tmp_path / place)
    light = Image.fromarray(np.full((40, 40), 255, np.uint8))
    light.save(tmp_path / "mel" / "a_Segmentation.png")
    light.save(tmp_path / "b_segmentation.png")
    table = dataset_of(tmp_path).index.set_index("path")
    assert table["mask"].to_dict() == {
        "mel/a.jpg": "mel/a_Segmentation.png",
        "mel/b.jpg": "b_segmentation.png",
        "nv/a.jpg": "",  # two photos have this name
    }
    assert set(table["fine"]) == {"mel", "nv"}


def test_a_table_may_name_masks(folder, tmp_path):
    (tmp_path / "m").mkdir()
    for name in ("a.jpg", "b.jpg", "m/x.png"):
        picture((40, 40)).save(tmp_path / name)
    (tmp_path / "labels.csv").write_text("filename,label,mask\na.jpg,nv,m/x.png\nb.jpg,nv,\n")
    found = dataset_of(tmp_path)
    assert found.index["mask"].tolist() == ["m/x.png", ""]
    assert found.mask_files == [str(tmp_path / "m/x.png"), ""]
    (tmp_path / "labels.csv").write_text("filename,label,mask\na.jpg,nv,m/y.png\n")
    with pytest.raises(UserError, match=r"labels.csv: line 2: mask 'm/y.png' not found; add"):
        dataset_of(tmp_path)
    (tmp_path / "labels.csv").write_text("filename,label,mask\na.jpg,nv,../y.png\n")
    with pytest.raises(UserError, match="leaves the data folder"):
        dataset_of(tmp_path)


def test_the_focus_is_the_mask_s_box(folder):
    some = photos.photos_of(dataset_of(folder), Data(), 16)
    for k in range(5):
        height, width = SHAPES[k % 4]
        box = (width // 2 / width, height // 4 / height,
               width * 3 // 4 / width, height // 2 / height)  # fmt: skip
        assert some.focus(k) == pytest.approx(box)
    assert [some.focus(k) for k in (5, 6, 7)] == [None] * 3
    assert photos.Photos(some.files, 16).focus(0) is None


def test_a_crop_is_a_square_around_the_lesion(folder):
    data = Data(path=str(folder), preprocess=["lesion_crop"])
    some = photos.photos_of(readers.read(data), data, 400)  # large: nothing is shrunk
    for k in range(5):
        height, width = SHAPES[k % 4]
        cut = some[k]
        assert abs(cut.shape[0] - cut.shape[1]) <= 1
        lesion = max(width * 3 // 4 - width // 2, height // 2 - height // 4)
        assert cut.shape[0] == pytest.approx(1.3 * lesion, abs=1)
        whole = decode.decode(some.files[k])
        left, top, right, bottom = some.focus(k)
        seen = cut[round(top * cut.shape[0]) : round(bottom * cut.shape[0])]
        seen = seen[:, round(left * cut.shape[1]) : round(right * cut.shape[1])]
        lesion = whole[height // 4 : height // 2, width // 2 : width * 3 // 4]
        rows, columns = (min(sides) - 2 for sides in zip(seen.shape[:2], lesion.shape[:2]))
        away = np.abs(seen[1:rows, 1:columns].astype(int) - lesion[1:rows, 1:columns])
        assert away.mean() < 12  # to a pixel: the crop's corner is rounded
    assert some[7].shape == SHAPES[3] + (3,)
    with pytest.raises(UserError, match=r"data.preprocess lesion_crop: no photo has a mask; leave"):
        readers.read(Data(path=str(folder), preprocess=["lesion_crop"], masks="ignore"))


def test_crops_stay_on_the_photo():
    rng = np.random.default_rng(0)
    for _ in range(500):
        left, top = rng.uniform(0, 0.95, 2)
        box = (left, top, rng.uniform(left + 0.01, 1), rng.uniform(top + 0.01, 1))
        aspect = rng.uniform(0.5, 2)
        crop = masks.crop_of(box, aspect)
        assert min(crop) >= -1e-9
        assert max(crop) <= 1 + 1e-9
        assert crop[0] <= box[0] + 1e-9
        assert crop[3] >= box[3] - 1e-9
        inner = masks.within_crop(box, aspect)
        assert min(inner) >= -1e-9
        assert max(inner) <= 1 + 1e-9


# Preprocessing


@pytest.fixture(scope="module")
def skin():
    """Skin under a reddish lamp with a lesion and three dark hairs, and without the hairs."""
    y, x = np.mgrid[:120, :160]
    bare = np.where(np.hypot(x - 80, y - 60)[..., None] < 25, [120, 70, 50], [205, 160, 140])
    noise = np.random.default_rng(3).normal(0, 2, bare.shape)
    bare = np.clip(bare + noise, 0, 255).astype(np.uint8)
    hairy = bare.copy()
    for start, end in (((5, 20), (150, 40)), ((10, 110), (140, 70)), ((100, 5), (60, 115))):
        cv2.line(hairy, start, end, (40, 30, 25), 1, cv2.LINE_AA)
    return bare, hairy


@pytest.mark.parametrize("name", [name for name in preprocess.STEPS if name != preprocess.CROP])
def test_each_step_does_something_and_the_same_each_time(skin, name):
    before = skin[1].copy()
    after = preprocess.apply(skin[1], [name])
    assert after.shape == before.shape
    assert after.dtype == np.uint8
    assert not np.array_equal(after, before)
    assert np.array_equal(skin[1], before)
    assert np.array_equal(preprocess.apply(skin[1], [name]), after)
    assert preprocess.apply(skin[1], []) is skin[1]


def test_shades_of_grey_by_its_definition(skin):
    image = skin[0].astype(np.float64)
    light = (image**6).mean(axis=(0, 1)) ** (1 / 6)
    gains = np.linalg.norm(light) / (np.sqrt(3) * light)
    want = np.clip(image * gains, 0, 255)
    assert np.abs(preprocess.shades_of_grey(skin[0]) - want).max() <= 0.501
    after = (want**6).mean(axis=(0, 1)) ** (1 / 6)
    assert np.ptp(after) < 0.02 * after.mean()  # the light is grey now
    grey = np.repeat(image[..., :1], 3, axis=2).astype(np.uint8)
    assert np.array_equal(preprocess.shades_of_grey(grey), grey)
    black = np.zeros((16, 16, 3), np.uint8)
    assert np.array_equal(preprocess.shades_of_grey(black), black)


def test_hair_goes_and_the_lesion_stays(skin):
    bare, hairy = (image.astype(int) for image in skin)
    after = preprocess.hair_removal(skin[1]).astype(int)
    hair = np.abs(hairy - bare).max(axis=2) > 40
    assert np.abs(after - bare)[hair].mean() < 0.25 * np.abs(hairy - bare)[hair].mean()
    away = ~cv2.dilate(hair.astype(np.uint8), np.ones((9, 9))).astype(bool)
    assert (after[away] == hairy[away]).all(axis=-1).mean() > 0.99
    assert np.abs(after[away] - hairy[away]).mean() < 0.1
    assert np.array_equal(preprocess.hair_removal(skin[0]), skin[0])  # no hair, no change


def test_sharpening_steepens_edges(skin):
    soft = cv2.GaussianBlur(skin[0], (0, 0), 2)
    sharp = preprocess.sharpen(soft)
    steepness = [np.abs(np.diff(image.astype(int), axis=1)).max() for image in (soft, sharp)]
    assert steepness[1] > 1.05 * steepness[0]


def test_settings_name_the_steps_there_are():
    (field,) = [f for f in Data.__dataclass_fields__.values() if f.name == "preprocess"]
    assert set(field.metadata["choices"]) == set(preprocess.STEPS)
    with pytest.raises(UserError, match=r"shave.*hair_removal"):
        photos.Photos([], 16, steps=["shave"])
