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
    checkpoint:str=None # File that keeps each finished stage, so that the same command goes on after it was stopped
):
    "Learn a data set (of a UCR set or an .npz with X_train the training split alone), and save the generator."
    from ..data.files import read_parts
    from ..generator import NMVQGenerator
    epochs = dict(tokenizer=epochs_tokenizer, prior=epochs_prior, mapper=epochs_mapper)
    check_at_least_one(bs=bs, **{f'epochs_{stage}': n for stage, n in epochs.items()})
    for file in filter(None, (out, checkpoint)): check_writable(file)
    gen = NMVQGenerator(preset)
    X, y = read_parts(data, path, labels)[0]
    gen.fit(X, y, epochs=epochs, bs=bs, seed=seed, checkpoint=checkpoint, cbs=[stage_lines(Clock())])
    gen.save(out)
    print(f"{gen}\n{gen.report()}\nwritten to {out}")
    return gen
