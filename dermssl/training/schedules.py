"""Learning-rate schedules."""

import keras


def warmup_cosine(peak, steps, warmup_steps=0):
    """Linear warm-up from 0 to `peak`, then a cosine down to 0 (Loshchilov & Hutter, 2017).

    Args:
        peak: float, the highest rate.
        steps: int, all steps of the run, warm-up included.
        warmup_steps: int, under `steps`.

    Returns:
        A Keras schedule: 0 at step 0 (or `peak`, without warm-up), `peak` at
        `warmup_steps`, 0 at `steps`.
    """
    if not warmup_steps:
        return keras.optimizers.schedules.CosineDecay(peak, steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup_steps, warmup_target=peak, warmup_steps=warmup_steps
    )
