"""What a comparison needs and this machine lacks: PyTorch, the peers, Debian's packages, Cresset itself."""

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .machine import CACHE, ROOT, Trouble, run, say

REQUIREMENTS = Path(__file__).parent / "requirements"
# Brings in torch's folder behind a peer's own packages.
TORCH = "torch-of-the-models.pth"


def cresset() -> Path:
    """Builds it as a release, and gives the folder of what was built."""
    if not (ROOT / ".libtorch").exists() and "LIBTORCH" not in os.environ:
        say("fetching libtorch")
        run([ROOT / "scripts" / "setup"], limit=1800, shown=True)
        run([ROOT / "scripts" / "libtorch", "cpu"], limit=1800, shown=True)
    say("building Cresset (the first time takes minutes)")
    build = ["cargo", "build", "--quiet", "--release", "--locked", "--bins", "--examples"]
    run(build, limit=3600, shown=True, folder=ROOT)
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"


def torch() -> Path:
    """The environment that holds PyTorch, for the models, their reference answers, and every peer."""
    venv = CACHE / "models-venv"
    if not importable(venv, "torch, torchvision, numpy"):
        require_venv()
        say(f"installing PyTorch into {venv} (2 GB to download, 4 GB on disk)")
        run([ROOT / "scripts" / "models" / "setup", venv], limit=3600, shown=True)
    return venv


def resnet18(venv: Path) -> Path:
    """The repository of the model that isn't committed, made once."""
    made = CACHE / "compare" / "models"
    if not (made / "resnet18" / "1" / "model.pt").exists():
        say("making a ResNet-18")
        made.mkdir(parents=True, exist_ok=True)
        run([venv / "bin" / "python", ROOT / "scripts" / "models" / "resnet18.py", made], limit=300)
    return made


def peer(name: str, torch_venv: Path, programs: dict[str, tuple[str, ...]]) -> Path:
    """A peer's own environment, made anew where its pins have changed."""
    for program, packages in programs.items():
        if not shutil.which(program):
            debian(packages, f"{name} needs {program}")
    pins = REQUIREMENTS / f"{name}.txt"
    python = torch_venv / "bin" / "python"
    state = hashlib.sha256(pins.read_bytes() + version(python).encode()).hexdigest()[:12]
    venv = CACHE / "peers" / f"{name}-{state}"
    complete = venv / "complete"
    if complete.exists():
        return venv
    require_venv()
    say(f"installing {name}")
    shutil.rmtree(venv, ignore_errors=True)
    # Of the same Python, or torch couldn't be imported; without pip, which is no part of the peer.
    run([python, "-m", "venv", "--without-pip", venv])
    install = [python, "-m", "pip", "--python", venv / "bin" / "python", "install", "--quiet"]
    run([*install, "--disable-pip-version-check", "--no-deps", "-r", pins], limit=900)
    (packages_of(venv) / TORCH).write_text(f"{packages_of(torch_venv)}\n")
    complete.touch()
    return venv


def require_venv() -> None:
    done = subprocess.run([sys.executable, "-c", "import ensurepip, venv"], stderr=subprocess.DEVNULL)
    if done.returncode != 0:
        debian(("python3-venv",), "Python environments need venv")


def debian(packages: tuple[str, ...], why: str) -> None:
    """Installs the first of these that there is."""
    line = f"apt-get install --no-install-recommends {packages[0]}"
    if not shutil.which("apt-get") or os.geteuid() != 0:
        raise Trouble(f"{why}; as root, run: {line}")
    say(f"{why}: {line}")
    quietly = {"environment": {"DEBIAN_FRONTEND": "noninteractive"}, "limit": 900}
    run(["apt-get", "-q", "-y", "update"], **quietly)
    for package in packages:
        try:
            run(["apt-get", "-q", "-y", "install", "--no-install-recommends", package], **quietly)
            return
        except Trouble as trouble:
            last = trouble
    raise Trouble(f"{why}, and {last}")


@functools.cache
def libpython(python: Path) -> Path | None:
    """The folder of this Python's own shared library, where the system has none of that version."""
    tell = "import sysconfig; print(sysconfig.get_config_var('LIBDIR'), sysconfig.get_config_var('INSTSONAME'))"
    folder, name = run([python, "-c", tell]).split()
    if (Path(folder) / name).exists():
        return Path(folder)
    # Debian's Python is linked without it, and has it in a package.
    known = run(["/sbin/ldconfig", "-p"])
    soname = f"libpython{version(python)}.so.1.0"
    if soname not in known:
        debian((f"libpython{version(python)}",), f"Triton's core needs {soname}")
    return None


@functools.cache
def version(python: Path) -> str:
    return run([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]).strip()


def importable(venv: Path, modules: str) -> bool:
    python = venv / "bin" / "python"
    return python.exists() and subprocess.run([python, "-c", f"import {modules}"], capture_output=True).returncode == 0


def packages_of(venv: Path) -> Path:
    [found] = venv.glob("lib/python*/site-packages")
    return found


def pinned(name: str) -> dict[str, str]:
    """Versions by package, out of its requirements."""
    lines = (REQUIREMENTS / f"{name}.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def pinned_torch() -> str:
    lines = (ROOT / "scripts" / "models" / "requirements.txt").read_text().splitlines()
    return next(line.split("==")[1] for line in lines if line.startswith("torch=="))


def cresset_size(binary: Path) -> int:
    """Bytes of the program as the images have it, without its tables of lines."""
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "cresset"
        run(["strip", "--strip-debug", "-o", bare, binary])
        return bare.stat().st_size


def libtorch_libraries() -> Path:
    """What of libtorch is there at run time."""
    return Path(os.environ.get("LIBTORCH") or ROOT / ".libtorch") / "lib"


def size(folder: Path) -> int:
    """Bytes on disk."""
    return int(run(["du", "-s", "-B1", folder]).split()[0])


def torch_size(venv: Path) -> int:
    """Bytes of torch and of all that it needs to be imported, without what is there for the models only."""
    aside = ("torchvision", "torchvision.libs", "efficientnet", "skimage", "scikit_image", "PIL", "pillow", "pip", "setuptools")
    return sum(size(entry) for entry in packages_of(venv).iterdir() if not entry.name.startswith(aside))


def java_size() -> int:
    java = shutil.which("java")
    return size(Path(java).resolve().parent.parent) if java else 0
