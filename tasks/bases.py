"""The bases of tasks on frozen features, for components of other packages; not a task itself.

`feature_stages` asks for the features of train and val, `load_split` and `load_features` read
them. `KnnTask` and `LinearTask` are whole protocols whose settings a subclass changes.
"""

from bench.stages.features import load_features as load_features
from tasks._frozen.features import feature_stages as feature_stages
from tasks._frozen.features import load_split as load_split
from tasks._frozen.task import KnnTask as KnnTask
from tasks._frozen.task import LinearTask as LinearTask
