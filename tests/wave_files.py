"""The same waves of two classes in each form that the commands read."""
import numpy as np

N_TRAIN, N_TEST, SEQ_LEN = 16, 12, 32


def waves(n, seed, offset=0.):
    "Sines of two classes [n, 1, SEQ_LEN], a third of them of class '2', and labels."
    rng, y = np.random.default_rng(seed), np.where(np.arange(n) % 3 == 2, '2', '1')
    t = np.linspace(0, 1, SEQ_LEN) + rng.uniform(0, 1, (n, 1))
    X = np.sin(2 * np.pi * t * np.where(y == '2', 3, 1)[:, None]) + offset + rng.normal(0, 0.1, (n, SEQ_LEN))
    return X[:, None].astype(np.float32), y


TRAIN, TEST = waves(N_TRAIN, 0), waves(N_TEST, 1, offset=5.)


def write_waves(folder):
    "Training and test series as .npy, .npz and a UCR set in a folder. Returns it."
    (X, y), (X_test, y_test) = TRAIN, TEST
    np.savez(folder/'parts.npz', X_train=X, y_train=y, X_valid=X_test, y_valid=y_test)
    np.savez(folder/'parts_test.npz', X_train=X, y_train=y, X_test=X_test, y_test=y_test)
    np.savez(folder/'train.npz', X=X.astype(float), y=y[:, None])
    np.savez(folder/'bytes.npz', X=X, y=y.astype('S'))
    np.savez(folder/'test.npz', X=X_test, y=y_test.astype(int))
    np.savez(folder/'unlabelled.npz', X=X)
    np.save(folder/'rows.npy', X[:, 0])
    np.save(folder/'test_rows.npy', X_test[:, 0])
    np.save(folder/'series.npy', X)
    np.save(folder/'labels.npy', y)
    ucr = folder/'data/UCR/ECG200'
    ucr.mkdir(parents=True)
    whole = dict(X=np.concatenate([X, X_test]), y=np.concatenate([y, y_test]))
    for name, array in dict(X_train=X, y_train=y, X_valid=X_test, y_valid=y_test, **whole).items():
        np.save(ucr/f'{name}.npy', array)
    return folder


def same_data(part, expected): # whether (X, y) was read as it is, in float32 and str
    (X, y), (X_expected, y_expected) = part, expected
    return (X.dtype == np.float32 and X.shape == X_expected.shape and np.allclose(X, X_expected)
            and (y is y_expected is None or y.dtype.kind == 'U' and y.tolist() == y_expected.tolist()))
