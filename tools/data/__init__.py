"""Datasets: list them, look into one, import one."""

from ...schemas.datasets import DatasetsAnswer, DatasetsRequest, Prepared, PrepareRequest
from ..tool import Command, Steps, Tool

PATIENCE_S = 24 * 3600.0  # a person sees the progress and ends it with Ctrl-C
TOOLS = (
    Tool(
        "nnunet_datasets",
        "Datasets",
        "reads",
        DatasetsRequest,
        DatasetsAnswer,
        "Datasets with cases, channels, labels, what is preprocessed and trained, and problems with their fixes. With "
        "dataset_id all images are looked at before training: shapes, spacings, intensities, label shares, plans, and "
        "broken cases by name.",
        "data.datasets:nnunet_datasets",
        Command("datasets", "list datasets, or look at one", ("dataset_id",), more={"look_s": PATIENCE_S}),
        steps=Steps("case", stoppable=True),
    ),
    Tool(
        "nnunet_prepare_dataset",
        "Import a dataset",
        "starts",
        PrepareRequest,
        Prepared,
        "Import a folder as a valid nnU-Net v2 dataset. One with dataset.json (Medical Segmentation Decathlon, nnU-Net "
        "v1, v2) at once; of any other (folders per case, images and masks, pictures, DICOM) the layouts that fit are "
        "proposed first. Then train with nnunet_training.",
        "data.importing:nnunet_prepare_dataset",
        Command("prepare", "import a folder as a dataset", ("source", "dataset_id", "name")),
        steps=Steps("file", every=20),
    ),
)
