"""Detectors give a list with a dictionary of tensors for each image; what is served is one image's dictionary."""

import copy

import torch

from .module import Refused, call, scripted_types


def one_image(module, scripted, inputs, whole):
    """The module for one image where it is a detector, or None. `whole`: DIMS have the batch in them already."""
    types = scripted_types(scripted)
    lists = [types.get(each.name) == "List[Tensor]" for each in inputs]
    values = [each.random(None if whole or is_list else 1) for each, is_list in zip(inputs, lists)]
    if (found := found_in(call(ListsAround(module, lists), inputs, values))) is None:
        if any(lists):
            name = inputs[lists.index(True)].name
            raise Refused(f"{name} is a list of tensors in forward, whose answer is no list of dictionaries: take a tensor")
        return None
    return OneImage(module, scripted, inputs, whole, lists, found)


def found_in(answer):
    """Where one image's dictionary is in an answer: the code that gets at it, and its keys."""
    # Scripted, torchvision's detectors give their losses before what they found.
    for at, place in (("[0]", answer), ("[1][0]", second(answer))):
        if isinstance(place, list) and len(place) == 1 and isinstance(place[0], dict) and place[0]:
            if all(isinstance(value, torch.Tensor) for value in place[0].values()):
                return at, [str(key) for key in place[0]]
    return None


def second(answer):
    return answer[1] if isinstance(answer, tuple) and len(answer) == 2 and answer[0] == {} else None


class ListsAround:
    """Calls a module with those arguments in lists that it takes as such."""

    def __init__(self, module, lists):
        self.module, self.lists = module, lists

    def __call__(self, *values):
        return self.module(*([value] if is_list else value for value, is_list in zip(values, self.lists)))


class OneImage(torch.nn.Module):
    """A detector for one image, with its arguments' names."""

    def __init__(self, module, scripted, inputs, whole, lists, found):
        super().__init__()
        self.detector, self.note = resizing_alike(module, scripted)
        self.at, self.names = found
        self.compiled = scripted
        self.arguments = ", ".join(f"{each.name}: Tensor" for each in inputs)
        self.given = ", ".join(
            f"[{each.name}]" if is_list else each.name if whole else f"{each.name}.unsqueeze(0)"
            for each, is_list in zip(inputs, lists)
        )
        made = {"Tensor": torch.Tensor}
        # The names in it are those of forward's own arguments.
        exec(self.source(self.at), made)
        # A trace takes the names of its inputs from here.
        self.forward = made["forward"].__get__(self)

    def source(self, at):
        return f"def forward(self, {self.arguments}):\n    return self.detector({self.given}){at}\n"

    def scripted(self):
        """As `module.script` has it."""
        try:
            # A class of its own: TorchScript gives modules of one class one forward.
            holder = type("OneImage", (torch.nn.Module,), {})()
            holder.detector = self.compiled
            holder = torch.jit.script(holder.eval())
            # A scripted detector's type may differ from what Python gives.
            kind = self.compiled.forward.schema.returns[0].type.kind()
            holder.define(self.source("[1][0]" if kind == "TupleType" else "[0]"))
            return holder, None
        except Exception as error:
            return None, str(error).strip() or type(error).__name__


def resizing_alike(module, scripted):
    """The module to compare with, and what is to be said of it.

    torchvision computes in other digits to what size it resizes an image where it is scripted, and comes out a pixel
    lower for about half of all sizes: boxes differ by a pixel or more, though nothing is wrong with the export. So that all
    else can be held to rounding, the module resizes as TorchScript does.
    """
    transform = getattr(module, "transform", None)
    if scripted is None or not type(transform).__module__.startswith("torchvision.models.detection"):
        return module, None
    alike = copy.copy(module)
    alike._modules = {**module._modules, "transform": scripted.transform}
    return alike, "torchvision's scripted detectors may resize an image to a pixel less than in Python; compared with that"
