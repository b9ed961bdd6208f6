"""Tests of scripts/release and scripts/sbom: python3 -m unittest tests.test_release, in scripts"""

import gzip
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

# Writes down what it was asked, and saves a text for an image.
DOCKER = """#!/bin/sh
echo "$*" >> "$ASKED"
case $1 in
  build) echo 'what the build said'; exit "${BUILD_ENDS:-0}" ;;
  save) echo "the image $2" ;;
esac
"""


def run(*command, folder, **environment):
    return subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )


class Release(unittest.TestCase):
    def setUp(self):
        """A repository of what is here, uncommitted files too."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.checkout, self.out = self.folder / "checkout", self.folder / "out"
        self.checkout.mkdir()
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"],
            cwd=ROOT, capture_output=True, check=True,
        ).stdout
        for name in filter(None, listed.decode().split("\0")):
            # What no release reads, and is large.
            if not name.startswith(("tests/", "models/", "docs/")) and (ROOT / name).is_file():
                (self.checkout / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.checkout / name)
        self.git("init", "--quiet")
        self.commit()
        (version,) = re.findall(r'^version = "(.*)"', (self.checkout / "Cargo.toml").read_text(), re.MULTILINE)
        self.version, self.tag = version, f"v{version}"

    def git(self, *arguments):
        us = ("-c", "user.name=test", "-c", "user.email=test", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false")
        done = run("git", *us, *arguments, folder=self.checkout)
        self.assertEqual(done.returncode, 0, done.stderr)

    def commit(self):
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "what is here")

    def release(self, *arguments, **environment):
        return run(
            "scripts/release", *arguments, "--output", str(self.out), folder=self.checkout, **environment
        )

    def released(self, *arguments, **environment):
        """What it said, and the names of what it made; the checksums hold."""
        done = self.release(*arguments, **environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        made = {file.name for file in self.out.iterdir()}
        sums = run("sha256sum", "--check", "--strict", "SHA256SUMS", folder=self.out)
        self.assertEqual(sums.returncode, 0, sums.stderr)
        self.assertEqual({line.split(":")[0] for line in sums.stdout.splitlines()}, made - {"SHA256SUMS"})
        return done.stderr, made

    def refused(self, expected, *arguments, **environment):
        done = self.release(*arguments, **environment)
        self.assertEqual(done.returncode, 1)
        self.assertIn(expected, done.stderr.splitlines()[-1])
        self.assertFalse(self.out.exists())
        self.assertEqual(list(self.folder.glob("out.*")), [])

    def name_section(self):
        """As CONTRIBUTING.md says."""
        changes = self.checkout / "CHANGELOG.md"
        changes.write_text(
            changes.read_text().replace("## Unreleased", f"## Unreleased\n\n## {self.version} (2026-01-02)\n\nAt last.", 1)
        )

    @property
    def notes(self):
        return (self.out / "RELEASE_NOTES.md").read_text()


class DryRun(Release):
    def test_what_it_makes_before_there_is_a_tag(self):
        said, made = self.released(self.tag, "--no-images", "--dry-run")
        self.assertEqual(made, {f"cresset-{self.version}.cdx.json", "RELEASE_NOTES.md", "SHA256SUMS"})
        self.assertIn("left out: images; a dry run", said)
        self.assertTrue(self.notes.startswith(f"# Cresset {self.version}\n\n"))
        self.assertGreater(len(self.notes.splitlines()), 5)
        self.assertNotIn("Unreleased", self.notes)

        bill = json.loads((self.out / f"cresset-{self.version}.cdx.json").read_text())
        self.assertEqual((bill["bomFormat"], bill["specVersion"]), ("CycloneDX", "1.5"))
        self.assertEqual(bill["metadata"]["component"]["version"], self.version)
        components = {component["name"]: component for component in bill["components"]}
        for name in ("actix-web", "tch", "libtorch", "torchvision", "cresset-healthcheck"):
            self.assertEqual(components[name]["scope"], "required", name)
        self.assertEqual(components["serde_derive"]["scope"], "excluded")
        self.assertNotIn("insta", components)
        self.assertNotIn("windows-sys", components)
        for name, component in components.items():
            self.assertRegex(component["purl"], r"^pkg:(cargo|pypi)/[\w-]+@[\w.%+-]+$")
            self.assertTrue(component["licenses"], name)
            self.assertNotIn("/", component["licenses"][0].get("expression", ""), name)
        self.assertEqual(components["actix-web"]["purl"], f"pkg:cargo/actix-web@{components['actix-web']['version']}")
        known = {component["bom-ref"] for component in bill["components"]} | {bill["metadata"]["component"]["bom-ref"]}
        for dependency in bill["dependencies"]:
            self.assertLessEqual({dependency["ref"], *dependency["dependsOn"]}, known)

        again = run("scripts/sbom", folder=self.checkout)
        self.assertEqual(json.loads(again.stdout), bill)

    def test_the_tag_is_that_of_cargo_toml(self):
        self.refused(f"Cargo.toml has version {self.version}", "v99.0.0", "--no-images", "--dry-run")
        self.refused("is no tag of a release: vX.Y.Z", self.version, "--no-images", "--dry-run")

    def test_help(self):
        done = run("scripts/release", "--help", folder=self.checkout)
        self.assertEqual(done.returncode, 0)
        for option in ("--only", "--no-images", "--dry-run", "--output", "SHA256SUMS"):
            self.assertIn(option, done.stdout)


class Tagged(Release):
    def test_only_what_the_tag_holds_is_released(self):
        self.refused(f"there is no tag {self.tag}", self.tag, "--no-images")
        self.git("tag", "--annotate", "--message", "first", self.tag)
        self.refused(f"says nothing under '## {self.version}'", self.tag, "--no-images")
        self.name_section()
        self.refused("commit or remove: CHANGELOG.md", self.tag, "--no-images")
        self.commit()
        self.refused(f"{self.tag} isn't what is checked out", self.tag, "--no-images")
        self.git("tag", "--force", "--annotate", "--message", "first", self.tag)
        said, _ = self.released(self.tag, "--no-images")
        self.assertNotIn("dry run", said)
        self.assertTrue(self.notes.startswith(f"# Cresset {self.version}\n\nAt last.\n"))

        again = self.release(self.tag, "--no-images")
        self.assertEqual(again.returncode, 1)
        self.assertIn("out is there; move it away", again.stderr)


class Images(Release):
    def setUp(self):
        super().setUp()
        self.docker, self.asked = self.folder / "docker", self.folder / "asked"
        self.docker.write_text(DOCKER)
        self.docker.chmod(0o755)
        self.with_docker = {"DOCKER": str(self.docker), "ASKED": str(self.asked)}

    def test_both_are_saved(self):
        self.released(self.tag, "--dry-run", **self.with_docker)
        for kind in ("cpu", "cuda"):
            text = gzip.decompress((self.out / f"cresset-{self.version}-{kind}.tar.gz").read_bytes())
            self.assertEqual(text.decode(), f"the image cresset:{self.version}-{kind}\n")
            self.assertIn(
                f"--file Dockerfile.{kind} --build-arg VERSION={self.version} --tag cresset:{self.version}-{kind} .",
                self.asked.read_text(),
            )

    def test_one_of_them(self):
        _, made = self.released(self.tag, "--dry-run", "--only", "cpu", **self.with_docker)
        self.assertEqual(len(made), 4)
        self.assertNotIn("cuda", self.asked.read_text())

    def test_without_docker_they_are_left_out(self):
        said, made = self.released(self.tag, "--dry-run", "--only", "cpu", DOCKER="/nowhere/docker")
        self.assertEqual(len(made), 3)
        self.assertIn("no images (cpu): /nowhere/docker isn't here", said)
        self.assertIn("left out: cpu image", said)

    def test_a_build_that_fails_leaves_nothing(self):
        self.refused("Dockerfile.cpu can't be built", self.tag, "--dry-run", **self.with_docker, BUILD_ENDS="1")


if __name__ == "__main__":
    unittest.main()
