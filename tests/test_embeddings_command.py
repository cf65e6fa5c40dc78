"""Embeddings of runs: pictures, coordinates, the projector's files, and what is refused."""

import numpy as np
import pages
import pandas as pd
import pytest
import tiny
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins import projector

from dermssl import embeddings
from dermssl.studies.embedding_map import figures
from dermssl.training import tensorboard


@pytest.fixture(scope="module")
def laid_out(own_run):
    flags = ["--max-photos", 60, "--n-resamples", 100, "--colour-by", "site", "age"]
    assert tiny.call(embeddings, own_run, *flags) == 0
    return own_run / "embeddings"


def test_pictures_and_coordinates(laid_out, own_run):
    assert {path.name for path in laid_out.glob("*.png")} == {
        f"tsne_{column}.png" for column in ("fine", "coarse", "split", "site", "age")
    }
    table = pd.read_csv(laid_out / "coordinates.csv")
    kept = pd.read_csv(own_run / "predictions.csv").set_index("path")
    assert len(table) == 60
    assert (kept.loc[table["path"], "fine"].to_numpy() == table["fine"]).all()
    assert table[["tsne_x", "tsne_y"]].std().min() > 0
    most = table["fine"].value_counts()
    there = kept["fine"].value_counts()
    assert ((most == there[most.index]) | (most >= most.max() - 1)).all()


def test_the_report_says_how_and_warns_of_training_photos(laid_out):
    text = (laid_out / "report.md").read_text()
    assert "perplexity 19.7, seed 0" in text  # a third of 59
    assert "are training photos, whose classes the network was told" in text
    assert "(60 of 160, chosen evenly over the fine classes)" in text
    assert "Do neighbours share their class?" in text
    assert "--colour-by site age" in text
    assert pages.check(laid_out)


def test_the_projector_s_files_fit_together(laid_out, own_run):
    folder = own_run / "tensorboard" / "embeddings"
    config = text_format.Parse(
        (folder / "projector_config.pbtxt").read_text(), projector.ProjectorConfig()
    )
    (entry,) = config.embeddings
    tensors = np.loadtxt(folder / entry.tensor_path, delimiter="\t")
    assert tensors.shape == (60, 256)
    np.testing.assert_allclose(np.linalg.norm(tensors, axis=1), 1, atol=1e-3)
    metadata = pd.read_csv(folder / entry.metadata_path, sep="\t")
    coordinates = pd.read_csv(laid_out / "coordinates.csv")
    assert metadata["path"].tolist() == coordinates["path"].tolist()
    width, height = Image.open(folder / entry.sprite.image_path).size
    across = width // entry.sprite.single_image_dim[0]
    assert width == height
    assert across**2 >= 60 > (across - 1) ** 2
    assert list(folder.glob("events*"))  # without it TensorBoard wouldn't list the run


def test_a_pretraining_run_too(pretrained, tmp_path):
    output = tmp_path / "out"
    flags = ["--max-photos", 30, "--n-resamples", 100, "--output", output]
    assert tiny.call(embeddings, pretrained, *flags) == 0
    table = pd.read_csv(output / "coordinates.csv")
    assert set(table["split"]) == {"train"}
    assert len(table) == 30
    assert "pretraining pool" in (output / "report.md").read_text()
    assert (output / "tensorboard" / "embeddings" / "sprite.png").exists()
    assert not (pretrained / "embeddings").exists()


def test_cells_of_the_projector_are_one_line(tmp_path):
    metadata = pd.DataFrame({"fine": ["a\tb\nc", "=1+1", ""], "age": [1.0, np.nan, 3.0]})
    tensorboard.projector(tmp_path, np.eye(3), metadata, [np.zeros((8, 8, 3), np.uint8)] * 3)
    lines = (tmp_path / "metadata.tsv").read_text().splitlines()
    assert lines == ["fine\tage", "a b c\t1.0", "'=1+1\tnot known", "not known\t3.0"]


def test_the_sprite_goes_row_by_row():
    thumbnails = [np.full((8, 8, 3), 50 * k, np.uint8) for k in range(5)]
    sheet, side = tensorboard.sprite(thumbnails)
    assert (sheet.shape, side) == ((24, 24, 3), 8)
    assert sheet[::8, ::8, 0].tolist() == [[0, 50, 100], [150, 200, 255], [255, 255, 255]]


def test_rare_values_share_a_colour():
    values = pd.Series([f"v{k:02d}" for k in range(12) for _ in range(12 - k)] + [""])
    named, order = figures.kinds(values)
    assert order == [*(f"v{k:02d}" for k in range(10)), "other", "not known"]
    assert (named == "other").sum() == 2 + 1
    assert (named == "not known").sum() == 1


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["RUN", "--max-photos", "-1"], "--max-photos is -1"),
        (["RUN", "--max-photos", "5"], "5 photos; a plane of embeddings needs 8 or more"),
        (["RUN", "--perplexity", "500"], "--perplexity 500; it must be at least 1 and below"),
        (["RUN", "--colour-by", "colour"], "--colour-by 'colour'; choose of: site, sex"),
        (["RUN", "--data", "EMPTY"], "photos of the run aren't there"),
        (["PRETRAINED", "--split", "test"], "no record of split 'test' in pool.csv"),
        (["EMPTY"], "no run found there"),
    ],
)
def test_bad_input_is_one_line(own_run, pretrained, tmp_path, capsys, argv, said):
    names = {"RUN": own_run, "PRETRAINED": pretrained, "EMPTY": tmp_path}
    assert tiny.call(embeddings, *[names.get(word, word) for word in argv]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
