"""The bases of crop strategies, for components of other packages; not a strategy itself.

`PseudoCrop`: every box is an image of its own. `ProposalCrop`: the boxes are the first ones of a
proposal generator. `PairedCrop`: the views come from two boxes of an image. Each has its `Params`.
"""

from methods.crops._paired import PairedCrop as PairedCrop
from methods.crops._pseudo import ProposalCrop as ProposalCrop
from methods.crops._pseudo import PseudoCrop as PseudoCrop
from methods.crops._pseudo import PseudoParams as PseudoParams
from methods.crops._pseudo import TopParams as TopParams
