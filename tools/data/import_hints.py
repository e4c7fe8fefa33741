"""What to do with files in which data sets keep masks or images, and which are no images."""

from collections.abc import Collection
from pathlib import PurePath

from ...texts import some

HINTS = {
    (".npz", ".npy", ".h5", ".hdf5", ".mat", ".pkl"): "arrays without spacing: save each volume as .nii.gz",
    (".xml", ".json", ".geojson", ".roi"): "if these hold outlines or polygons, draw them into masks, as PNG or NIfTI",
    (".svs", ".ndpi", ".mrxs", ".czi", ".lif", ".nd2"): "slides and stacks of microscopes: export tiles as PNG or TIFF",
    (".zip", ".tar", ".tgz", ".gz", ".bz2", ".7z", ".rar"): "archives: unpack them",
    (".tfrecord", ".tfrecords", ".pt", ".pth", ".parquet"): "data of one framework: export images and masks",
}


def hints(others: Collection[str]) -> str:
    """A sentence for each kind of file that is there, or nothing."""
    found = {
        said: [name for name in others if PurePath(name).suffix.lower() in endings] for endings, said in HINTS.items()
    }
    return "".join(f"Not read: {some(names)}; {said}. " for said, names in found.items() if names)
