from bench.api.crops import crop_stats as crop_stats
from bench.api.drawing import figure as figure
from bench.api.networks import load_backbone as load_backbone
from bench.api.planning import Forecast as Forecast
from bench.api.planning import plan as plan
from bench.api.running import CellResult as CellResult
from bench.api.running import CellsFailed as CellsFailed
from bench.api.running import Results as Results
from bench.api.running import run as run
from bench.api.seeing import View as View
from bench.api.seeing import views as views
from bench.api.sweeping import SweepResult as SweepResult
from bench.api.sweeping import sweep as sweep
from bench.api.tables import leaderboard as leaderboard
from bench.api.tables import results as results
from bench.contracts.registering import register as register
from bench.core.errors import BadData as BadData
from bench.core.errors import BadInput as BadInput
from bench.core.errors import BenchError as BenchError
from bench.core.errors import StageFailed as StageFailed
from bench.core.errors import Unsupported as Unsupported

__version__: str
