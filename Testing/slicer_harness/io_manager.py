"""Stand-in for the IO manager: slicer.util.load... and save... on the real storage nodes."""

from __future__ import annotations

from pathlib import Path

import slicer
import vtk

_TYPES = {
    ".seg.nrrd": "SegmentationFile",
    ".seg.nhdr": "SegmentationFile",
    ".mrb": "SceneFile",
    ".mrml": "SceneFile",
    ".txt": "TextFile",
    ".json": "TextFile",
    ".csv": "TableFile",
    ".tsv": "TableFile",
}
_NODES = {
    "SegmentationFile": "vtkMRMLSegmentationNode",
    "TextFile": "vtkMRMLTextNode",
    "TableFile": "vtkMRMLTableNode",
    "TransformFile": "vtkMRMLLinearTransformNode",
}


class IOManager:
    """Read and write nodes and scenes."""

    def fileType(self, path: str) -> str:
        """The kind of a file, by its name."""
        for suffix, kind in _TYPES.items():
            if str(path).lower().endswith(suffix):
                return kind
        return "VolumeFile"

    def loadNodes(
        self, kind: str, properties: dict, loaded: vtk.vtkCollection, messages: object = None
    ) -> bool:
        """Read a file into the scene; False where it fails."""
        path = properties["fileName"]
        if not Path(path).exists():
            return False
        if kind == "SceneFile":
            return load_scene(path, clear=properties.get("clear", False))
        node = self._read(kind, path, properties)
        if node is None:
            return False
        if properties.get("name"):
            node.SetName(properties["name"])
        loaded.AddItem(node)
        if properties.get("show", True) and isinstance(node, slicer.vtkMRMLScalarVolumeNode):
            _show(node)
        return True

    def _read(self, kind: str, path: str, properties: dict) -> slicer.vtkMRMLNode | None:
        if kind == "VolumeFile":
            # Bit 0: a labelmap; bit 2: one file only
            options = int(bool(properties.get("labelmap"))) + 4 * int(
                bool(properties.get("singleFile"))
            )
            name = Path(path).name.split(".")[0]
            return slicer.modules.volumes.logic().AddArchetypeVolume(path, name, options)
        if kind not in _NODES:
            raise NotImplementedError(f"the harness cannot read a {kind}")
        node = slicer.mrmlScene.AddNewNodeByClass(_NODES[kind], Path(path).name.split(".")[0])
        node.AddDefaultStorageNode(path)
        if node.GetStorageNode().ReadData(node):
            return node
        slicer.mrmlScene.RemoveNode(node)
        return None

    def fileWriterFileType(self, node: object) -> str:
        """The kind of file that holds a node."""
        return "SceneFile" if isinstance(node, slicer.vtkMRMLScene) else "NodeFile"

    def saveNodes(self, kind: str, properties: dict, messages: object = None) -> bool:
        """Write a node or the scene; as in Slicer, the node's storage node stays behind."""
        path = str(properties["fileName"])
        if kind == "SceneFile":
            return save_scene(path)
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        node.AddDefaultStorageNode(path)
        storage = node.GetStorageNode()
        storage.SetFileName(path)
        storage.SetUseCompression(bool(properties.get("useCompression", True)))
        return bool(storage.WriteData(node))


def save_scene(path: str) -> bool:
    """Write the scene as .mrb (with its data) or .mrml."""
    scene = slicer.mrmlScene
    if path.endswith(".mrb"):
        return bool(scene.WriteToMRB(path))
    scene.SetURL(path)
    return bool(scene.Commit())


def load_scene(path: str, *, clear: bool) -> bool:
    """Read .mrb or .mrml; without clear it is merged into the scene."""
    scene = slicer.mrmlScene
    if path.endswith(".mrb"):
        return bool(scene.ReadFromMRB(path, clear))
    scene.SetURL(path)
    return bool(scene.Connect() if clear else scene.Import())


def _show(node: slicer.vtkMRMLVolumeNode) -> None:
    is_labelmap = isinstance(node, slicer.vtkMRMLLabelMapVolumeNode)
    slicer.util.setSliceViewerLayers(**{"label" if is_labelmap else "background": node}, fit=True)
