# SPDX-License-Identifier: GPL-3.0-or-later
"""Codes of MATLAB files, up to version 7.2 (scipy.io)."""

from pathlib import Path

import numpy as np

from .linear import LinearCode


def from_file(path: str | Path) -> LinearCode:
    """The code of a .mat file with the parity-check matrix ``H``, and ``G`` if it is there.

    Without a variable of that name the file's only matrix is taken for H. Matrices may be
    sparse. ValueError where there is no such matrix or it is no code; OSError where the
    file cannot be read.
    """
    import scipy.io
    import scipy.sparse

    try:
        variables = scipy.io.loadmat(str(path))
    # scipy's words for a file of version 7.3 (HDF5) are a NotImplementedError.
    except (ValueError, TypeError, IndexError, NotImplementedError) as error:
        raise ValueError(f"{path}: expected a MATLAB file up to version 7.2: {error}") from error
    matrices = {}
    for name, value in variables.items():
        dense = value.toarray() if scipy.sparse.issparse(value) else value
        if not name.startswith("__") and isinstance(dense, np.ndarray) and min(dense.shape) > 1:
            matrices[name] = dense
    if "H" not in matrices and len(matrices) != 1:
        raise ValueError(
            f"{path}: expected a matrix H or only one matrix, got {sorted(matrices) or 'none'}"
        )
    (only,) = matrices.values() if "H" not in matrices else [None]
    parity_check = matrices.get("H", only)
    return LinearCode(parity_check, matrices.get("G"), name=f"mat:{path}")
