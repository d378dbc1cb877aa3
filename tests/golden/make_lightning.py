#!/usr/bin/env python3
"""Writes lightning/NAME.csv for every job lightning/NAME.yaml: the rows that Lightning's CSVLogger
makes of the same job.

Run with a Python that has lightning and yaml, from anywhere: tests/golden/make_lightning.py
[NAME...]. Which columns there are, at which step and epoch a row stands and which cells it fills is
Lightning's loop alone; the numbers of losses and accuracies depend on initial weights and are
written as `x`, learning rates as they are. Where a job has a ModelCheckpoint, NAME.names lists the
checkpoints that are left at the end. The reader is tests/e2e/lightning.sh.
"""
import csv
import logging
import os
import re
import sys
import tempfile
import warnings

import lightning.pytorch as L
import torch
import yaml
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

HERE = os.path.dirname(os.path.abspath(__file__))
CALLBACKS = {"early_stopping": EarlyStopping, "lr_monitor": LearningRateMonitor,
             "model_checkpoint": ModelCheckpoint}


class Module(L.LightningModule):
    def __init__(self, job):
        super().__init__()
        self.job, self.net = job, torch.nn.Linear(6, 3)

    def training_step(self, batch, _):
        loss = torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=True, on_epoch=False, prog_bar=True)
        return loss

    def validation_step(self, batch, _):
        out = self.net(batch[0])
        self.log("val_loss", torch.nn.functional.cross_entropy(out, batch[1]), prog_bar=True)
        self.log("val_acc", (out.argmax(1) == batch[1]).float().mean(), prog_bar=True)

    def configure_optimizers(self):
        spec = dict(self.job["optimizer"])
        kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[spec.pop("class")]
        optimizer = kind(self.parameters(), **spec)
        if "lr_scheduler" not in self.job:
            return optimizer
        spec = dict(self.job["lr_scheduler"])
        interval = spec.pop("interval", "epoch")
        assert spec.pop("class") == "step"
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, **spec)
        return {"optimizer": optimizer,
                "lr_scheduler": {"scheduler": scheduler, "interval": interval}}


def callbacks_of(trainer):
    out = []
    for one in trainer.pop("callbacks", []):
        (name, options), = one.items() if isinstance(one, dict) else [(one, {})]
        out.append(CALLBACKS[name](**options))
    return out


def loader(n, size, shuffle):
    data = TensorDataset(torch.randn(n, 6), torch.randint(3, (n,)))
    return DataLoader(data, size, shuffle=shuffle)


def masked(name, value):
    return value if name in ("step", "epoch") or name.startswith("lr-") or not value else "x"


def run(path, work):
    with open(path) as f:
        job = yaml.safe_load(f)
    data, trainer = job["data"], job["trainer"]
    del trainer["logger"]
    callbacks = callbacks_of(trainer)
    saves = any(isinstance(c, ModelCheckpoint) for c in callbacks)
    logger = CSVLogger(work, flush_logs_every_n_steps=1)
    trainer = L.Trainer(logger=logger, callbacks=callbacks, accelerator="cpu", devices=1,
                        enable_progress_bar=False, enable_model_summary=False,
                        enable_checkpointing=saves, **trainer)
    L.seed_everything(1)
    trainer.fit(Module(job), loader(data["num_samples"], data["batch_size"], True),
                loader(data["num_val_samples"], data["batch_size"], False))
    if saves:
        names = os.listdir(os.path.join(logger.log_dir, "checkpoints"))
        with open(re.sub("yaml$", "names", path), "w") as out:
            out.writelines(sorted(re.sub("ckpt$", "", name).rstrip(".") + "\n" for name in names))
    with open(os.path.join(logger.log_dir, "metrics.csv")) as f:
        rows = list(csv.DictReader(f))
    with open(re.sub("yaml$", "csv", path), "w") as out:
        names = list(rows[0])
        out.write(",".join(names) + "\n")
        for row in rows:
            out.write(",".join(masked(n, row[n]) for n in names) + "\n")


def main(names):
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    folder = os.path.join(HERE, "lightning")
    for name in names or sorted(f[:-5] for f in os.listdir(folder) if f.endswith(".yaml")):
        with tempfile.TemporaryDirectory() as work:
            run(os.path.join(folder, name + ".yaml"), work)


main(sys.argv[1:])
