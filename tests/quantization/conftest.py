# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest
import torch
from quantization.oracle import exact_llrs

# Small networks are slower on more threads, much slower on a busy machine.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def llrs256():
    return exact_llrs(4, 18.0, 3000).astype(np.float32)
