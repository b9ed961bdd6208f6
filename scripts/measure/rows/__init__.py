"""The rows of the table, by name, in its order."""

from . import ablation, choices, connections, minilm, mlp, photograph, resnet18, shapes, start

# A module that measures, and the function of it that does.
ROWS = {
    "resnet18": resnet18.fp32,
    "resnet18-bf16": resnet18.bf16,
    "minilm": minilm.measure,
    "mlp": mlp.throughput,
    "mlp-one-client": mlp.one_client,
    "photograph": photograph.measure,
    "connections": connections.measure,
    "start": start.measure,
    "shapes": shapes.measure,
    "choices": choices.measure,
}

# Long, and of the program with a feature: measured only if they are asked for, all of them by the name `ablation`.
ABLATION = ablation.rows()
