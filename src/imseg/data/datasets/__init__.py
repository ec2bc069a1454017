"""Public data sets, read as they are downloaded and written in the layout that users bring.

Each is declared as a ``PublicDataset``, and ``prepare_data_set`` prepares any of them. To add one:
a declaration like its neighbors, in a file of its own or in that of its kind, and its value in
``DATASETS``.
"""

from imseg.data.datasets.data_folder import DATASETS, PreparedCounts, prepare_data_set
from imseg.data.datasets.sources import PublicDataset

__all__ = ["DATASETS", "PreparedCounts", "PublicDataset", "prepare_data_set"]
