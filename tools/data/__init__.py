"""Datasets: list them, look into one, import one."""

from ...schemas.datasets import DatasetsAnswer, DatasetsRequest, Prepared, PrepareRequest, SplitAnswer, SplitRequest
from ..tool import Command, Steps, Tool

PATIENCE_S = 24 * 3600.0  # a person sees the progress and ends it with Ctrl-C
TOOLS = (
    Tool(
        "nnunet_datasets",
        "Datasets",
        "reads",
        DatasetsRequest,
        DatasetsAnswer,
        "Datasets: what is preprocessed and trained, problems. With dataset_id its images are looked at: shapes, "
        "intensities, labels, odd and broken cases, plans.",
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
        "Import a folder of images (DICOM, pictures too) as an nnU-Net dataset: one with dataset.json at once; of any "
        "other it first proposes layouts.",
        "data.importing:nnunet_prepare_dataset",
        Command("prepare", "import a folder as a dataset", ("source", "dataset_id", "name")),
        steps=Steps("file", every=20),
    ),
    Tool(
        "nnunet_split_dataset",
        "Split a dataset",
        "starts",
        SplitRequest,
        SplitAnswer,
        "Choose the folds: any number, patients kept together. Only shown until write=true.",
        "data.splitting:nnunet_split_dataset",
        Command("split", "choose the folds of a dataset", ("dataset_id",), more={"look_s": PATIENCE_S}),
        steps=Steps("case", stoppable=True),
    ),
)
