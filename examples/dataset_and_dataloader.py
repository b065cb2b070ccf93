"""加载数据集 Dataset 与 DataLoader · Dataset and DataLoader

Code: zoo/datasets/folder.py, zoo/datasets/csv.py
Picture: dataset_and_dataloader.png
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from zoo import datasets, lessons, plots
from zoo.datasets import csv, mnist, tables
from zoo.datasets.folder import ImageFolder, read


def images(root: Path) -> None:
    """一类一个文件夹 A folder for each class: root/7/0.png, ...; one file of it is broken."""
    digits = mnist.load_test()
    for number, (image, label) in enumerate(zip(digits.inputs[:100], digits.targets, strict=False)):
        (root / str(label)).mkdir(exist_ok=True)
        Image.fromarray(image[:, :, 0]).save(root / str(label) / f"{number}.png")
    dataset = ImageFolder(root, size=28, channels=1, background="dark")
    image, target = dataset[0]
    print(f"{len(dataset)} images, {len(dataset.labels)} classes; item 0: {image.shape}, {target}")

    # 小批量, 打乱 Mini-batches in a shuffled order, decoded by two processes.
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(dataset, 32, shuffle=True, num_workers=2, generator=generator)
    batches = list(loader)
    for number, (x, y) in enumerate(batches):
        print(f"batch {number}: {tuple(x.shape)} {x.dtype}, classes {y[:8].tolist()} ...")
    assert sum(len(y) for _, y in batches) == 100
    (x, y), names = batches[0], dataset.labels
    captions = [names[int(target)] for target in y[:20]]
    path = lessons.picture_path("dataset_and_dataloader.png")
    plots.contact_sheet(x[:20].numpy(), captions, [True] * 20, path)

    (root / "7" / "broken.png").write_bytes(b"no image")
    found = read(root, size=28, channels=1, background="dark")
    print(f"read: {found.inputs.shape}; {found.errors[0][0].name}: {found.errors[0][1]}")
    order = [int(path.stem) for path in dataset.paths]
    lessons.agree("the same pixels", found.inputs, digits.inputs[order], tolerance=0)


class Rows(Dataset):
    """自己的数据集 A data set of one's own: how many rows there are, and row number i."""

    def __init__(self, features: np.ndarray, targets: np.ndarray) -> None:
        self.features, self.targets = features, targets

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.int64]:
        return self.features[index], self.targets[index]


def table() -> None:
    """一行一个样本 A row for each sample: the breast cancer table."""
    data = datasets.load("breast-cancer")
    path = tables.FILES / "breast-cancer.csv"
    dataset = Rows(*csv.read(path, data.spec.columns, "diagnosis", data.labels))
    x, y = next(iter(DataLoader(dataset, batch_size=57)))
    print(f"{len(dataset)} rows; a batch: {tuple(x.shape)} {x.dtype}, {tuple(y.shape)} {y.dtype}")
    # 五分之三用于训练 The zoo trains on the first three of every five rows.
    train = np.arange(len(dataset)) % 5 < 3
    lessons.agree("the zoo's own features", dataset.features[train], data.train.inputs, 0)


if __name__ == "__main__":  # 多进程需要 the loader's processes import this file too
    with tempfile.TemporaryDirectory() as folder:
        images(Path(folder))
    table()
