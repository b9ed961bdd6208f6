def source(n):
    import importlib.util
    from pathlib import Path
    from PIL import Image
    return Image.open(Path(importlib.util.find_spec("skimage").origin).parent/"data"/n)
