"""The Slicer side of the extension: the only code that imports slicer, qt and vtk.

Torch is never imported here. Everything that computes runs in a worker process
(`worker_client`), and files and JSON lines are all that passes between the two.
"""
