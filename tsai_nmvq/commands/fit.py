"""The command `nmvq_fit`."""
from ..atomic import check_writable
from .script import Clock, check_at_least_one, command, stage_lines

__all__ = ['fit']


@command
def fit(
    data:str, # .npy of X [n, c_in, seq_len] or [n, seq_len]; .npz with X and maybe y, or X_train and y_train; UCR set
    out:str, # Generator file to write, usually *.nmvq
    path:str='.', # For a UCR set: folder that holds data/UCR/DATA, as tsai's get_UCR_data(DATA, path=...) leaves it
    labels:str=None, # .npy of labels [n] for an .npy; without labels there are no classes to sample by
    preset:str='fast', # 'fast' or 'paper'
    seed:int=0, # Seed of the whole fit
    bs:int=None, # Batch size of all stages; the preset's by default
    epochs_tokenizer:int=None, # Epochs of stage 1; the preset's by default
    epochs_prior:int=None, # Epochs of stage 2; the preset's by default
    epochs_mapper:int=None, # Epochs of stage 3; the preset's by default
    checkpoint:str=None, # File that keeps what is learnt, so that the same command goes on after it was stopped
    window:int=None, # The .npy is one long recording [c_in, n_steps], labels one a step: learn windows of so many steps
    stride:int=None, # Steps from one window to the next; window by default, so that none overlap
    y_kind:str=None, # 'classes', 'targets' (real numbers) or 'labels' (a matrix of 0 and 1); guessed by default
    pad_value:float=None # What stands after the end of shorter series, in all channels, where it is not NaN
):
    "Learn a data set (the training part of a UCR set or an .npz, the first 80 % of a recording); save the generator."
    from ..data.files import read_parts, read_windows
    from ..generator import NMVQGenerator
    epochs = dict(tokenizer=epochs_tokenizer, prior=epochs_prior, mapper=epochs_mapper)
    check_at_least_one(bs=bs, window=window, stride=stride, **{f'epochs_{stage}': n for stage, n in epochs.items()})
    for file in filter(None, (out, checkpoint)): check_writable(file)
    gen = NMVQGenerator(preset)
    X, y, splits = (read_windows(data, window, stride, labels) if window or stride
                    else (*read_parts(data, path, labels)[0], None))
    gen.fit(X, y, splits, epochs=epochs, bs=bs, seed=seed, checkpoint=checkpoint, cbs=[stage_lines(Clock())],
            y_kind=y_kind, pad_value=pad_value)
    gen.save(out)
    print(f"{gen}\n{gen.report()}\nwritten to {out}")
    return gen
