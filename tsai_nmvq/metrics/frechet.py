"""Fréchet distances between sets of features: FID, and FID within classes."""
import numpy as np
import torch
from torch import Tensor

from ..models.layers import to_double
from .inputs import as_labels
from .rocket import RocketFeatures

__all__ = ['frechet_distance', 'fid', 'class_fids', 'conditional_fid']


def frechet_distance(
    a:Tensor, # Features [n, d], n > 1
    b:Tensor # Features [m, d], m > 1
) -> float: # >= 0; 0 for equal sets
    """‖μ₁-μ₂‖² + tr(C₁ + C₂ - 2(C₁C₂)^½) of two sets of features, in float64. [arXiv 1706.08500]

    With centred A and B, C₁ = AᵀA and C₂ = BᵀB, the trace of the root is the sum of the singular values of ABᵀ:
    a matrix of n x m, and of d x d at most, as a set with more rows than features is replaced by its R of A = QR."""
    a = to_double(torch.as_tensor(a))
    b = to_double(torch.as_tensor(b)).to(a.device)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"features have shapes {tuple(a.shape)} and {tuple(b.shape)}, expected [n, d] and [m, d]; "
                         "use one extractor for both")
    if min(len(a), len(b)) < 2:
        raise ValueError(f"sets have {len(a)} and {len(b)} rows; a covariance needs at least 2, pass more series")
    if not (a.isfinite().all() and b.isfinite().all()):
        raise ValueError("features hold NaN or inf, expected finite values; leave those rows out")
    root_a, root_b = _covariance_root(a), _covariance_root(b)
    shift = (a.mean(0) - b.mean(0)).square().sum()
    traces = root_a.square().sum() + root_b.square().sum()
    return (shift + traces - 2 * torch.linalg.matrix_norm(root_a @ root_b.T, 'nuc')).clamp_min(0).item()


def _covariance_root(x): # R with covariance RᵀR
    root = (x - x.mean(0)) / (len(x) - 1) ** 0.5
    return torch.linalg.qr(root, mode='r').R if len(root) > root.shape[1] else root


def fid(
    real, # Series [n, c_in, seq_len], original units; or ready features [n, d]
    gen, # The same of synthetic series
    features=None # Function series -> features; `RocketFeatures.fit(real)` by default
) -> float: # >= 0, 0 is best
    """Fréchet distance between the features of real and synthetic series. [arXiv 1706.08500, 2303.04743]

    It is biased by sample size: fewer series give a larger FID, even for two halves of one set. Compare at equal n,
    beside the floor FID(test, train) at that n. Pass `features` of the training split to compare over several calls."""
    return frechet_distance(*_featured(real, gen, features))


def class_fids(
    real, # Series [n, c_in, seq_len], original units; or ready features [n, d]
    y_real, # Their labels [n]
    gen, # Synthetic series or features
    y_gen, # Their labels
    features=None # Function series -> features; `RocketFeatures.fit(real)` by default
) -> dict: # {label: FID, >= 0, 0 is best}
    "FID within each class; those with fewer than two series on a side are left out. ValueError if no class is shared."
    y_real, y_gen = as_labels(y_real, real), as_labels(y_gen, gen)
    if not np.isin(y_real, y_gen).any():
        raise ValueError(f"real series are of classes {np.unique(y_real).tolist()} and synthetic ones of "
                         f"{np.unique(y_gen).tolist()}; name them alike, or use fid")
    real, gen = _featured(real, gen, features)
    classes = [c for c in np.unique(y_real) if min((y_real == c).sum(), (y_gen == c).sum()) > 1]
    rows = {c.item(): (np.flatnonzero(y_real == c), np.flatnonzero(y_gen == c)) for c in classes}
    return {label: frechet_distance(real[real_rows], gen[gen_rows]) for label, (real_rows, gen_rows) in rows.items()}


def conditional_fid(
    real, # Series [n, c_in, seq_len], original units; or ready features [n, d]
    y_real, # Their labels [n]
    gen, # Synthetic series or features
    y_gen, # Their labels
    features=None # Function series -> features; `RocketFeatures.fit(real)` by default
) -> float: # >= 0, 0 is best; NaN where no class has two series on both sides
    "Mean of the classes' own FIDs, see `class_fids`. [arXiv 2501.17553]"
    fids = list(class_fids(real, y_real, gen, y_gen, features).values())
    return float(np.mean(fids)) if fids else float('nan')


def _featured(real, gen, features): # series or ready features of both sides -> features of both
    if features is None and (real.ndim, gen.ndim) != (2, 2): features = RocketFeatures.fit(real)
    return [torch.as_tensor(x) if x.ndim == 2 else features(x) for x in (real, gen)]
