"""The command `nmvq_evaluate`."""
from ..atomic import atomic_write, check_writable
from .script import check_at_least_one, command

__all__ = ['evaluate']


@command
def evaluate(
    generator:str, # File written by nmvq_fit, nmvq_demo or gen.save
    data:str, # Series it learnt: .npy of X; .npz with X and maybe y, or X_train, y_train, X_valid, y_valid; a UCR set
    path:str='.', # For UCR sets: folder that holds data/UCR/DATA, as tsai's get_UCR_data(DATA, path=...) leaves it
    labels:str=None, # .npy of labels for an .npy; without labels FID and novelty only
    test:str=None, # Test series, in any of these forms (of two parts the second); by default the test part of DATA
    test_labels:str=None, # .npy of labels for an .npy of test series
    n:int=None, # Series in each synthetic set; as many as training series by default, so that the floor has equal n
    n_draws:int=3, # Synthetic sets to average over
    no_tstr:bool=False, # Leave out TSTR, which takes most of the time
    seed:int=0, # Seed of samples, features and classifiers
    csv:str=None, # File for the table
    window:int=None, # As nmvq_fit was given it: the last 20 % of a recording are its test series
    stride:int=None # As nmvq_fit was given it
):
    "Score samples against test series. FID falls as n grows: compare rows, not tables of different n."
    from ..data.files import read_windows
    from ..generator import NMVQGenerator
    check_at_least_one(n=n, n_draws=n_draws, window=window, stride=stride)
    if csv: check_writable(csv)
    gen = NMVQGenerator.load(generator)
    if window or stride:
        if test: raise ValueError("the end of a recording is its test part; leave --test out, or --window and --stride")
        X, y, splits = read_windows(data, window, stride, labels)
    else: X, y, splits = _read_both_parts(data, path, labels, test, test_labels)
    gen.spec.check(X)
    has_classes = y is not None and gen.spec.vocab
    y = gen.spec.to_labels(gen.spec.to_ids(y)) if has_classes else None  # by name: files differ in the type of labels
    table = gen.evaluate(X, y, splits, n=n, n_draws=n_draws, with_tstr=not no_tstr, seed=seed)
    if csv:
        with atomic_write(csv) as aside: table.to_csv(aside, index_label='series')
    print(table.round(4).to_string())
    return table


def _read_both_parts(data, path, labels, test, test_labels): # -> X, y, splits
    from ..data.files import joined_parts, read_parts
    train, *rest = read_parts(data, path, labels)
    if test: rest = read_parts(test, path, test_labels)
    if not rest: raise ValueError(f"{data} has no test part; name test series with --test")
    return joined_parts(train, rest[-1])
