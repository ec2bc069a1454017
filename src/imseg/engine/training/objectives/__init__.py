"""What a network can minimize: one objective per file; all files of this folder are found.

A new objective is a file like ``two_views.py`` and its use in the catalog of approaches.
"""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
