"""The first page of Learn: every lesson, and every heading of the notes with what belongs to it."""

from __future__ import annotations

from docs.generate import exercises
from docs.generate.words import Language, pick
from zoo import lessons

#: Heading of the notes in Chinese, in English, and the lessons of it that there are to be.
HEADINGS = (
    ("张量", "Tensors", "tensors"),
    ("NumPy", "NumPy", "tensors"),
    ("数学运算", "Math operations", "math_operations"),
    ("自动求导 autograd", "Autograd", "autograd"),
    ("优化器 optim", "Optimizers (optim)", "optim"),
    ("nn 与标准流程", "nn and the standard flow", "nn_standard_flow weight_initialization"),
    ("线性模型", "Linear model", "linear_model"),
    ("梯度下降", "Gradient descent", "gradient_descent"),
    ("反向传播", "Back-propagation", "back_propagation"),
    ("线性回归", "Linear regression", "linear_regression"),
    ("逻辑斯谛回归", "Logistic regression", "logistic_regression"),
    ("Dataset 与 DataLoader", "Dataset and DataLoader", "dataset_and_dataloader"),
    ("多分类问题 Softmax", "Softmax classifier", "softmax_classifier"),
    ("GPU", "GPU", "gpu"),
    ("MNIST", "MNIST", "loading_mnist"),
    ("卷积神经网络（基础篇）", "Basic convolutional network", "basic_cnn looking_inside"),
    ("Inception 块", "Inception block", "inception_block"),
    ("GoogLeNet", "GoogLeNet", "googlenet"),
    ("残差块与 ResNet", "Residual block and ResNet", "resnet"),
    ("RNN：循环单元与整层", "RNN, both ways: cell and layer", "rnn_and_rnn_cell"),
    ("训练中常见的问题", "What goes wrong", "what_goes_wrong"),
    (
        "卷积层的前向与反向",
        "Convolution layer, forward and backward",
        "convolution_by_hand conv2d_by_hand",
    ),
    ("Conv2d", "Conv2d", "conv2d_by_hand"),
    ("MaxPool2d", "MaxPool2d", "max_pool2d_by_hand"),
    ("BatchNorm2d", "BatchNorm2d", "batch_norm2d_by_hand"),
    ("Flatten", "Flatten", "flatten_by_hand"),
    ("Linear", "Linear", "linear_by_hand"),
    ("Dropout", "Dropout", "dropout_by_hand"),
    ("激活函数的比较", "Activations compared", "activations"),
    ("激活函数 ReLU", "Activations: ReLU", "relu_by_hand"),
    ("激活函数 Tanh", "Activations: Tanh", "tanh_by_hand"),
    ("激活函数 Sigmoid", "Activations: Sigmoid", "sigmoid_by_hand"),
    (
        "损失函数",
        "Losses",
        "mse_loss_by_hand bce_loss_by_hand cross_entropy_loss_by_hand nll_loss_by_hand",
    ),
    ("优化器 SGD", "Optimizers: SGD", "sgd_by_hand"),
    ("整个网络", "A whole network", "cnn_by_hand"),
)

_INTRODUCTION_ZH = """\
讲义的每个标题一课，共 {number} 课，从第一个张量到全手写的网络。每一课就是一个离线运行的脚本，
数据随项目附带，在 CPU 上几秒到二十秒跑完；课里说的每个结论，脚本都用断言检验。网页、notebook
与脚本出自同一个文件。

```sh
zoo lesson                      # 全部标题
zoo lesson gradient_descent     # 运行一课
python examples/gradient_descent.py
```

脚本画的图存到 `lesson-output/`，或环境变量 `ZOO_LESSON_OUTPUT` 指定的文件夹。
"""
_INTRODUCTION_EN = """\
One lesson for each heading of the lecture notes, {number} in all, from the first tensor to a whole
network by hand. Each lesson is a script that runs offline, with the data of the project, in a few
seconds to twenty on a CPU, and asserts what it claims. Page, notebook and script come from one
file.

```sh
zoo lesson                      # all headings
zoo lesson gradient_descent     # run one
python examples/gradient_descent.py
```

Pictures go to `lesson-output/`, or to the folder named in `ZOO_LESSON_OUTPUT`.
"""


def page(language: Language) -> str:
    """Return the Markdown of docs/LANGUAGE/learn/index.md.

    Raises:
        ValueError: a lesson is under no heading of the notes.
    """
    title = pick(language, "课程", "The lessons")
    introduction = pick(language, _INTRODUCTION_ZH, _INTRODUCTION_EN)
    lines = [
        f"# {title}",
        "",
        introduction.format(number=len(lessons.names())),
        pick(
            language,
            "| 讲义的标题 | 脚本 | 网页 | notebook | 习题 | 图 |",
            "| heading of the notes | script | page | notebook | exercise | picture |",
        ),
        "|---|---|---|---|---|---|",
    ]
    shown: set[str] = set()
    for chinese, english, words in HEADINGS:
        heading = pick(language, chinese, english)
        names = [name for name in words.split() if name in lessons.ORDER]
        for name in names:
            lesson = lessons.get(name)
            own = pick(language, lesson.heading_zh, lesson.heading_en)
            lines.append(f"| {heading or own} | " + _row(lesson, language))
            heading = ""  # a further lesson under it has its own
        shown.update(names)
    if missing := set(lessons.ORDER) - shown:
        raise ValueError(f"without a heading of the notes in {__file__}: {sorted(missing)}")
    return "\n".join(lines) + "\n"


def _row(lesson: lessons.Lesson, language: Language) -> str:
    name = lesson.name
    pages = (f"[{it}](../../{it}/learn/{name}.md)" for it in ("zh", "en"))
    books = (f"[{it}](../../../notebooks/{it}/{name}.ipynb)" for it in ("zh", "en"))
    names = exercises.of(name)
    # Each page ends in three exercises with answers; those of `zoo exercise` check themselves.
    heading = pick(language, "练习", "exercises")
    on_page = f"[{pick(language, '页内 3 题', '3 on its page')}]({name}.md#{heading})"
    cells = [
        f"[`{name}`](../../../examples/{name}.py)",
        ", ".join(pages),
        ", ".join(books),
        ", ".join([*(f"`{exercise}`" for exercise in names), on_page]),
        f"[{pick(language, '图', 'picture')}](../../lessons/{lesson.picture})"
        if lesson.picture
        else "",
    ]
    return " | ".join(cells) + " |"
