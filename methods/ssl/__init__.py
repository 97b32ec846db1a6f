"""SSL methods: `--method byol` is the folder `byol` here.

Every method is a folder with the same parts:

    byol/__init__.py   the declaration: paper, formula, scales, the crops it takes, its stages
    byol/params.py     its settings
    byol/network.py    its networks and its loss
    byol/views.py      its view plan, if no other method has the same; NumPy only

A larger method has more of them, named after what they hold: `boxes` and `stages` of ORL, `noise`
and `losses` of CCOP, `figure` for `bench figure`. Methods built on another import its parts:
DenseCL, ReSim and CAST start from the settings and views of MoCo v2.

Planning and listing import every method, and PyTorch alone takes a second to import; so a
declaration, its settings and its views import no PyTorch. `network()` imports `network.py`, and
the runner of a stage is imported by its name when the stage is made.

A new method may begin as one file, `methods/ssl/yours.py`, with its settings, network and class in
it. It works in the same way, but plans take a second longer because it imports PyTorch at its top.
"""
