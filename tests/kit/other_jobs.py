"""A job of each kind that trains nothing."""

from nnunet_mcp.schemas.jobs import AnyJob, ExportedModel, ExportJob, ImportJob, PredictionJob, PredictStep, SearchJob

MODEL = "nnUNetTrainer__nnUNetPlans__2d"
STEP = PredictStep(model=f"/results/{MODEL}", folds=("0",), output="/out")
JOBS: list[AnyJob] = [
    PredictionJob(
        dataset_id=1,
        configuration="2d",
        of_run=None,
        models=(f"/results/{MODEL}",),
        folds=("0",),
        images="/images",
        output="/out",
        labels=None,
        npz=False,
        overwrite=False,
        trusted=True,
        steps={"predict": STEP},
    ),
    SearchJob(dataset_id=1, models=(MODEL,), folds=("0",), ensembling=False),
    ExportJob(
        dataset_id=1,
        configuration="2d",
        output="/model.zip",
        models=(ExportedModel(folder=f"/results/{MODEL}", folds=("0",)),),
    ),
    ImportJob(dataset_id=1, configuration="2d", zip="/model.zip", overwrite=False, models=(MODEL,)),
]
