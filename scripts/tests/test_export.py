"""Tests of scripts/export, by a Python that has torch: python3 -m unittest discover -s scripts/tests -t scripts"""

import argparse
import contextlib
import importlib.machinery
import importlib.util
import io
import os
import subprocess
import sys
import tempfile
import textwrap
import unittest
import warnings
from pathlib import Path

try:
    import torch
except ImportError:
    raise unittest.SkipTest("this Python has no torch") from None

EXPORT = Path(__file__).resolve().parent.parent / "export"

MODULES = """
    from typing import Dict, List
    import torch
    from torch import Tensor, nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(3, 4)
            self.second = nn.Linear(4, 2)

        def forward(self, x):
            return self.second(self.first(x).relu())

    class Named(nn.Module):
        def forward(self, x):
            return {"scores": x.softmax(1), "best": x.argmax(1)}

    class Pair(nn.Module):
        def forward(self, x):
            return x + 1, x.sum(1)

    class Nested(nn.Module):
        def forward(self, x):
            return x * 2, {"a": (x + 1, x + 2)}

    class Lengths(nn.Module):
        def forward(self, text: List[str]) -> Tensor:
            return torch.tensor([len(each) for each in text])

    class Upper(nn.Module):
        def forward(self, text: List[str]) -> List[str]:
            return [each.upper() + "!" for each in text]

    class Total(nn.Module):
        def forward(self, x):
            return x.sum()

    class Batched(nn.Module):
        # A batch in, a list out, in Python and scripted.
        def forward(self, images: Tensor) -> List[Dict[str, Tensor]]:
            found: List[Dict[str, Tensor]] = []
            for image in images:
                keep = image.flatten() > 0
                found.append({"values": image.flatten()[keep], "mean": image.mean()})
            return found

    def unscriptable():
        class Odd(Batched):
            def forward(self, images):
                images, = [eval("images")]
                return [{"values": image.flatten()} for image in images]
        return Odd()

    class Lists(nn.Module):
        def forward(self, parts: List[Tensor]) -> Tensor:
            return torch.stack(parts).sum(0)
"""
DETECTORS = """
    import torch
    from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

    def detector():
        torch.manual_seed(5)
        return fasterrcnn_mobilenet_v3_large_320_fpn(
            weights=None, weights_backbone=None, num_classes=3, min_size=64, max_size=64
        ).eval()

    def scripted():
        return torch.jit.script(detector())
"""


def load_export():
    loader = importlib.machinery.SourceFileLoader("export_under_test", str(EXPORT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


export = load_export()


class Exported(unittest.TestCase):
    """Runs in this process: importing torch takes longer than all else."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "modules.py").write_text(textwrap.dedent(MODULES))
        (self.folder / "detectors.py").write_text(textwrap.dedent(DETECTORS))
        self.models = self.folder / "models"
        # What main changes for the whole process.
        self.addCleanup(os.umask, os.umask(0o022))
        self.addCleanup(setattr, sys, "path", list(sys.path))

    def run_export(self, what, *arguments, file="modules.py"):
        """What it printed."""
        fixed = [f"{self.folder / file}:{what}", "--name", "m", "--repository", str(self.models)]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            export.main([*fixed, *arguments])
        return printed.getvalue()

    def refused(self, what, *arguments, **others):
        """Why it refused: one line, and nothing is written."""
        with self.assertRaises(export.Refused) as caught:
            self.run_export(what, *arguments, **others)
        self.assertFalse((self.models / "m" / "1").exists())
        why = str(caught.exception)
        self.assertNotIn("\n", why)
        return why

    @property
    def config(self):
        return self.models / "m" / "config.pbtxt"

    def saved(self, version=1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.jit.load(str(self.models / "m" / str(version) / "model.pt"))

    def checkpoint(self, what, name="weights.pt"):
        torch.save(what, self.folder / name)
        return str(self.folder / name)


class Versions(Exported):
    def test_an_edited_config_stays_and_what_differs_is_said(self):
        self.run_export("Net", "--input", "x:FP32:3")
        edited = """
            name: "m"  # ours
            platform: "pytorch_libtorch"
            max_batch_size: 64
            input { name: 'x', data_type: TYPE_FP32, dims: [ -1 ] }
            output: [ { name: "logits" data_type: TYPE_FP32 dims: 2 } ]
            instance_group [ { count: 2 kind: KIND_CPU } ]
            parameters: { key: "a" value: { string_value: "}" } }
        """
        self.config.write_text(edited)
        said = self.run_export("Net", "--input", "x:FP32:3", "--version", "2")
        self.assertEqual(self.config.read_text(), edited)
        self.assertTrue((self.models / "m/2/model.pt").is_file())
        self.assertIn("config.pbtxt stays as it is (--force replaces it); the export says otherwise:\n", said)
        self.assertIn("  max_batch_size: 64 in the file, 16 by the export\n", said)
        self.assertIn("  input x: TYPE_FP32 [ -1 ] in the file, TYPE_FP32 [ 3 ] by the export\n", said)
        self.assertIn("  output OUTPUT__0: not in the file, TYPE_FP32 [ 2 ] by the export\n", said)
        self.assertIn("  output logits: TYPE_FP32 [ 2 ] in the file, not in the export\n", said)

    def test_a_config_that_says_the_same_in_other_words_stays(self):
        self.run_export("Net", "--input", "x:FP32:3")
        self.config.write_text("# ours\n" + self.config.read_text() + "\nversion_policy: { latest { num_versions: 2 } }\n")
        said = self.run_export("Net", "--input", "x:FP32:3", "--version", "2")
        self.assertTrue(self.config.read_text().startswith("# ours"))
        self.assertIn("stays as it is; it says the same of inputs and outputs", said)

    def test_nothing_is_said_of_a_config_that_nobody_edited(self):
        self.run_export("Net", "--input", "x:FP32:3")
        self.assertNotIn("config.pbtxt", self.run_export("Net", "--input", "x:FP32:3", "--version", "2"))

    def test_a_config_that_cannot_be_read_stays(self):
        self.run_export("Net", "--input", "x:FP32:3")
        self.config.write_text("input [ {\n name: = }")
        said = self.run_export("Net", "--input", "x:FP32:3", "--version", "2")
        self.assertEqual(self.config.read_text(), "input [ {\n name: = }")
        self.assertIn("can't be compared: line 2 has = where a value should be", said)

    def test_force_replaces_both(self):
        self.run_export("Net", "--input", "x:FP32:3")
        written = self.config.read_text()
        self.config.write_text("max_batch_size: 1\n")
        self.run_export("Net", "--input", "x:FP32:3", "--force")
        self.assertEqual(self.config.read_text(), written)

    def test_a_version_that_is_there_is_not_replaced(self):
        self.run_export("Net", "--input", "x:FP32:3")
        with self.assertRaisesRegex(export.Refused, "say another --version, or --force"):
            self.run_export("Net", "--input", "x:FP32:3")


class Datatypes(Exported):
    def test_strings_by_each_of_their_names(self):
        for version, datatype in enumerate(("BYTES", "STRING", "TYPE_STRING", "TYPE_BYTES"), 1):
            said = self.run_export("Lengths", "--input", f"text:{datatype}:1", "--version", str(version))
            self.assertIn("scripted; its answers are the module's", said)
        self.assertIn('{ name: "text" data_type: TYPE_STRING dims: [ 1 ] }', self.config.read_text())
        self.assertIn('{ name: "OUTPUT__0" data_type: TYPE_INT64 dims: [ 1 ] reshape: { shape: [ ] } }', self.config.read_text())
        self.assertEqual(self.saved()(["ab", ""]).tolist(), [2, 0])

    def test_strings_come_out(self):
        self.run_export("Upper", "--input", "text:BYTES:")
        self.assertIn('{ name: "OUTPUT__0" data_type: TYPE_STRING dims: [ 1 ] reshape: { shape: [ ] } }', self.config.read_text())

    def test_lists_of_strings_without_a_batch(self):
        self.run_export("Lengths", "--input", "text:BYTES:-1", "--max-batch-size", "0")
        self.assertIn('{ name: "text" data_type: TYPE_STRING dims: [ -1 ] }', self.config.read_text())
        self.assertIn('{ name: "OUTPUT__0" data_type: TYPE_INT64 dims: [ -1 ] }', self.config.read_text())

    def test_configs_words_for_numbers(self):
        self.run_export("Net", "--input", "x:TYPE_FP32:3")
        self.assertIn('{ name: "x" data_type: TYPE_FP32 dims: [ 3 ] }', self.config.read_text())

    def test_strings_and_tensors_are_not_mixed_up(self):
        self.assertIn("x is a Tensor in forward, and BYTES in --input", self.refused("Net", "--input", "x:BYTES:1"))
        self.assertIn("text is a List[str] in forward, and FP32 in --input: say BYTES", self.refused("Lengths", "--input", "text:FP32:1"))
        self.assertIn("strings come one a row", self.refused("Lengths", "--input", "text:BYTES:2"))

    def test_other_datatypes_are_named(self):
        for text in ("x:FLOAT:3", "x:TYPE_FLOAT:3", "text:BYTES:2,2"):
            with self.assertRaises(argparse.ArgumentTypeError):
                export.Input(text)


class Weights(Exported):
    def setUp(self):
        super().setUp()
        torch.manual_seed(3)
        sys.path.insert(0, str(self.folder))
        self.addCleanup(sys.modules.pop, "modules", None)
        self.run_export("Net", "--input", "x:FP32:3", "--version", "9")
        self.net = sys.modules["modules"].Net()
        self.state = self.net.state_dict()

    def loads(self, what):
        file = self.checkpoint(what)
        self.run_export("Net", "--input", "x:FP32:3", "--weights", file, "--force")
        x = torch.rand(2, 3)
        self.assertTrue(torch.equal(self.saved()(x), self.net.eval()(x)))

    def prefixed(self, prefix):
        return {prefix + name: value for name, value in self.state.items()}

    def test_what_training_scripts_save(self):
        for key in ("model", "state_dict", "model_state_dict"):
            with self.subTest(key):
                extra = {"epoch": 3, "best": torch.tensor(0.5), "args": argparse.Namespace(lr=0.1)}
                self.loads({**extra, key: self.state, "optimizer": {"state": {}, "param_groups": []}})
        self.loads({"model": {"state_dict": self.state}})
        self.loads(self.state)

    def test_what_was_wrapped_around(self):
        for prefix in ("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."):
            with self.subTest(prefix):
                self.loads({"state_dict": self.prefixed(prefix)})
        self.loads({name.replace("first.", "first._orig_mod."): value for name, value in self.state.items()})

    def test_keys_that_do_not_fit_are_one_line(self):
        file = self.checkpoint({f"body.{index}": torch.zeros(1) for index in range(5)})
        why = self.refused("Net", "--input", "x:FP32:3", "--weights", file)
        self.assertTrue(
            why.endswith(
                "doesn't fit the module: keys 4 missing (first.weight, first.bias, second.weight and 1 more), "
                "5 unexpected (body.0, body.1, body.2 and 2 more)"
            ),
            why,
        )

    def test_other_shapes_are_one_line(self):
        file = self.checkpoint(self.state | {"second.weight": torch.zeros(5, 4), "second.bias": torch.zeros(5)})
        why = self.refused("Net", "--input", "x:FP32:3", "--weights", file)
        self.assertIn("second.weight is [5, 4] in the file and [2, 4] in the module, second.bias is [5]", why)

    def test_other_files_are_one_line(self):
        none = self.checkpoint({"epoch": 3, "weights": {"a": 1}})
        self.assertIn("holds epoch, weights, and no state_dict", self.refused("Net", "--input", "x:FP32:3", "--weights", none))
        whole = self.checkpoint({"model": torch.nn.Linear(3, 4)})
        why = self.refused("Net", "--input", "x:FP32:3", "--weights", whole)
        self.assertIn("holds more than tensors (torch.nn.modules.linear.Linear)", why)
        (self.folder / "text.pt").write_text("nothing")
        for file in ("text.pt", "missing.pt"):
            self.assertIn(file, self.refused("Net", "--input", "x:FP32:3", "--weights", str(self.folder / file)))


class Outputs(Exported):
    def test_keys_are_names(self):
        self.run_export("Named", "--input", "x:FP32:3")
        self.assertIn('{ name: "scores" data_type: TYPE_FP32 dims: [ 3 ] }', self.config.read_text())
        self.assertIn('{ name: "best" data_type: TYPE_INT64 dims: [ 1 ] reshape: { shape: [ ] } }', self.config.read_text())

    def test_a_tuples_have_numbers(self):
        self.run_export("Pair", "--input", "x:FP32:3")
        for name in ("OUTPUT__0", "OUTPUT__1"):
            self.assertIn(f'{{ name: "{name}" data_type: TYPE_FP32', self.config.read_text())

    def test_what_is_nested_has_a_path(self):
        self.run_export("Nested", "--input", "x:FP32:3")
        names = [f'name: "{name}"' for name in ("OUTPUT__0", "1.a.0", "1.a.1")]
        self.assertTrue(all(name in self.config.read_text() for name in names), self.config.read_text())

    def test_one_number_has_no_empty_reshape_without_a_batch(self):
        self.run_export("Total", "--input", "x:FP32:3", "--max-batch-size", "0")
        self.assertIn('{ name: "OUTPUT__0" data_type: TYPE_FP32 dims: [ 1 ] }', self.config.read_text())

    def test_help_has_an_example(self):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), self.assertRaises(SystemExit):
            export.main(["--help"])
        self.assertIn('return {"scores": self.layers(x)}', printed.getvalue())
        self.assertIn("OUTPUT__0", printed.getvalue())


class Dimensions(Exported):
    def test_wrong_ones_are_one_line(self):
        for method in ("auto", "trace", "script"):
            why = self.refused("Net", "--input", "x:FP32:5", "--method", method)
            self.assertEqual(why, "forward fails on x [1, 5]: mat1 and mat2 shapes cannot be multiplied (1x5 and 3x4)")

    def test_no_traceback_reaches_the_terminal(self):
        command = [sys.executable, str(EXPORT), "modules.py:Net", "--input", "x:FP32:5", "--name", "m"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stdout, "")
        said = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
        why = "forward fails on x [1, 5]: mat1 and mat2 shapes cannot be multiplied (1x5 and 3x4)"
        self.assertEqual(said, [f"export: error: {why}"])


class Detectors(Exported):
    def test_a_batch_in_and_a_list_out(self):
        for version, dims in enumerate(("3,4,4", "3,-1,-1"), 1):
            said = self.run_export("Batched", "--input", f"images:FP32:{dims}", "--version", str(version), "--force")
            self.assertIn("written for one image a request, max_batch_size 0, as values, mean\n", said)
            config = self.config.read_text()
            self.assertIn("max_batch_size: 0\n", config)
            self.assertNotIn("dynamic_batching", config)
            self.assertIn(f'{{ name: "images" data_type: TYPE_FP32 dims: [ {dims.replace(",", ", ")} ] }}', config)
            self.assertIn('{ name: "values" data_type: TYPE_FP32 dims: [ -1 ] }', config)
            self.assertIn('{ name: "mean" data_type: TYPE_FP32 dims: [ 1 ] }', config)
            self.assertEqual(self.saved(version)(torch.ones(3, 2, 2))["values"].tolist(), [1.0] * 12)

    def test_whole_shapes_are_left_whole(self):
        self.run_export("Batched", "--input", "images:FP32:1,3,4,4", "--max-batch-size", "0")
        self.assertIn("dims: [ 1, 3, 4, 4 ]", self.config.read_text())
        self.assertEqual(list(self.saved()(torch.ones(1, 3, 4, 4))), ["values", "mean"])

    def test_traced_where_it_cannot_be_scripted(self):
        said = self.run_export("unscriptable", "--input", "images:FP32:3,4,4")
        self.assertIn("traced (scripting failed: ", said)
        self.assertEqual(self.saved().forward.schema.arguments[1].name, "images")

    def test_lists_in_without_dictionaries_out_are_refused(self):
        self.assertIn("parts is a list of tensors", self.refused("Lists", "--input", "parts:FP32:3"))

    @unittest.skipUnless(importlib.util.find_spec("torchvision"), "this Python has no torchvision")
    def test_torchvisions(self):
        for version, what in enumerate(("detector", "scripted"), 1):
            said = self.run_export(
                what, "--input", "images:FP32:3,-1,-1:0..1", "--version", str(version), file="detectors.py"
            )
            self.assertIn("max_batch_size 0, as boxes, labels, scores\n", said)
            self.assertIn(f"m/{version}/model.pt: scripted; its answers are the module's", said)
        config = self.config.read_text()
        for output in ("boxes TYPE_FP32 -1, 4", "labels TYPE_INT64 -1", "scores TYPE_FP32 -1"):
            name, datatype, dims = output.split(" ", 2)
            self.assertIn(f'{{ name: "{name}" data_type: {datatype} dims: [ {dims} ] }}', config)
        # Of a size that is the same resized in Python.
        image = torch.rand(3, 64, 64)
        found = self.saved()(image)
        expected = sys.modules["detectors"].detector()([image])[0]
        self.assertGreater(len(found["boxes"]), 0)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value)

    @unittest.skipUnless(importlib.util.find_spec("torchvision"), "this Python has no torchvision")
    def test_torchvisions_at_a_size_that_is_resized_otherwise_in_python(self):
        said = self.run_export("detector", "--input", "images:FP32:3,237,682:0..1", file="detectors.py")
        self.assertIn("may resize an image to a pixel less than in Python", said)
        self.assertIn("scripted; its answers are the module's", said)


if __name__ == "__main__":
    unittest.main()
