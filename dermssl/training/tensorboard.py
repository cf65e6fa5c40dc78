"""What TensorBoard shows besides curves: pictures."""

import shutil

import tensorflow as tf


def images(folder, pictures):
    """Image summaries, without those of an attempt before.

    Args:
        folder: Path, such as RUN/tensorboard/explain.
        pictures: list of (tag, uint8 (h, w, 3) RGB, description in Markdown).
    """
    shutil.rmtree(folder, ignore_errors=True)
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default():
        for tag, picture, description in pictures:
            tf.summary.image(tag, picture[None], step=0, description=description)
    writer.close()
