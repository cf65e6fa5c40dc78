"""What a run says of the pretraining that it starts from."""

import pytest

from dermssl import runs
from dermssl.training import pools


@pytest.mark.parametrize(
    ("data", "preprocess", "said"),
    [
        ({}, [], None),  # a run from before there was preprocessing
        ({"preprocess": ["sharpen"]}, ["sharpen"], None),
        ({"preprocess": ["sharpen"]}, [], "--preprocess: sharpen in RUN, nothing here"),
        ({}, ["hair_removal", "sharpen"], "nothing in RUN, hair_removal sharpen here"),
        ({"preprocess": ["a", "b"]}, ["b", "a"], "a b in RUN, b a here"),
    ],
)
def test_photos_prepared_in_another_way_are_told(tmp_path, caplog, data, preprocess, said):
    config = {"data": data, "backbone": {}}
    status = {"status": runs.FINISHED, "command": "pretrain", "config": config}
    runs.write_json(tmp_path / "status.json", status)
    pools.warn(tmp_path, preprocess)
    pools.warn(None, preprocess)
    if said is None:
        assert not caplog.messages
    else:
        (message,) = caplog.messages
        assert said.replace("RUN", str(tmp_path)) in message
