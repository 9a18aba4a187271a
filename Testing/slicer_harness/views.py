"""Draw the scene offscreen with Slicer's own displayable managers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
import vtk
import vtkmodules.vtkInteractionStyle
import vtkmodules.vtkRenderingFreeType
import vtkmodules.vtkRenderingOpenGL2  # noqa: F401  registers the renderer
from vtk.util.numpy_support import vtk_to_numpy

from .layout_manager import SLICES
from .missing import reason_not_to_render
from .scene import without_warnings

_SLICE_MANAGERS = (
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
)
_THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
)

_views: dict[str, _View] = {}


class _View:
    """A window without a screen, and the managers that fill it."""

    def __init__(self, factory: object, managers: tuple[str, ...], size: tuple[int, int]) -> None:
        if reason := reason_not_to_render():
            raise RuntimeError(reason)
        self.renderer, self.window = vtk.vtkRenderer(), vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.ShowWindowOff()
        self.window.SetMultiSamples(0)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        with without_warnings():  # that there is no X server
            self.interactor.Initialize()
        instance = factory.GetInstance()
        instance.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        for manager in managers:
            if not instance.IsDisplayableManagerRegistered(manager):
                instance.RegisterDisplayableManager(manager)
        self.group = slicer.vtkMRMLDisplayableManagerGroup()
        self.group.SetRenderer(self.renderer)
        self.group.Initialize(instance, self.renderer)

    def picture(self) -> np.ndarray:
        """The rendered picture, (height, width, 3), uint8, first row on top."""
        self.window.Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self.window)
        grabber.ReadFrontBufferOff()
        grabber.Update()
        image = grabber.GetOutput()
        width, height, _ = image.GetDimensions()
        rows = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)
        return np.ascontiguousarray(rows[::-1, :, :3])


class SliceView(_View):
    """An axial, coronal or sagittal slice: the layout's Red, Green or Yellow one."""

    def __init__(self, name: str, size: tuple[int, int]) -> None:
        super().__init__(slicer.vtkMRMLSliceViewDisplayableManagerFactory, _SLICE_MANAGERS, size)
        self.logic = slicer.app.layoutManager().sliceWidget(name).sliceLogic()
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        self._mapper, self._actor = vtk.vtkImageMapper(), vtk.vtkActor2D()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._actor.SetMapper(self._mapper)
        self._actor.GetProperty().SetDisplayLocationToBackground()
        self._size = size

    def show(self, volume: slicer.vtkMRMLVolumeNode, offset_mm: float | None = None) -> None:
        """Fit a volume into the view; the middle slice unless an offset is given."""
        node = self.logic.GetSliceNode()
        self.group.SetMRMLDisplayableNode(node)
        node.SetDimensions(*self._size, 1)
        self.logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
        self.logic.FitSliceToBackground()
        if offset_mm is not None:
            node.SetSliceOffset(offset_mm)
        self._mapper.SetInputConnection(self.logic.GetImageDataConnection())
        if not self.renderer.HasViewProp(self._actor):
            self.renderer.AddViewProp(self._actor)


class ThreeDView(_View):
    """The layout's 3D view."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__(slicer.vtkMRMLThreeDViewDisplayableManagerFactory, _THREE_D_MANAGERS, size)
        node = slicer.app.layoutManager().threeDWidget(0).mrmlViewNode()
        node.SetBoxVisible(False)
        node.SetAxisLabelsVisible(False)
        self.group.SetMRMLDisplayableNode(node)

    def show(self, direction: tuple[float, float, float] = (0.3, 1.0, 0.15)) -> None:
        """Look at everything, from the front (the patient's anterior side) by default."""
        camera = self.renderer.GetActiveCamera()
        camera.SetFocalPoint(0, 0, 0)
        camera.SetPosition(*direction)
        camera.SetViewUp(0, 0, 1)
        self.window.Render()
        self.renderer.ResetCamera()
        camera.Zoom(1.4)
        self.renderer.ResetCameraClippingRange()


def slice_view(orientation: str, size: tuple[int, int] = (400, 400)) -> SliceView:
    """The view with an orientation: "Axial", "Coronal" or "Sagittal"."""
    name = next(name for name, value in SLICES.items() if value == orientation)
    return _cached(f"{name} {size}", lambda: SliceView(name, size))


def three_d_view(size: tuple[int, int] = (400, 400)) -> ThreeDView:
    """The 3D view."""
    return _cached(f"3D {size}", lambda: ThreeDView(size))


def _cached(key: str, create: object) -> _View:
    if key not in _views:
        _views[key] = create()
    return _views[key]


def four_up(
    volume: slicer.vtkMRMLVolumeNode,
    *,
    size: tuple[int, int] = (400, 400),
    at_ras: tuple[float, float, float] | None = None,
) -> np.ndarray:
    """Axial and 3D above, coronal and sagittal below, as one picture.

    The slices go through ``at_ras``, in mm, or through the middle of the volume.
    """
    pictures = []
    for orientation in ("Axial", "Coronal", "Sagittal"):
        view = slice_view(orientation, size)
        view.show(volume)
        if at_ras is not None:
            view.logic.GetSliceNode().JumpSliceByOffsetting(*at_ras)
        pictures.append(view.picture())
    space = three_d_view(size)
    space.show()
    axial, coronal, sagittal = pictures
    return np.vstack([np.hstack([axial, space.picture()]), np.hstack([coronal, sagittal])])


def save_png(picture: np.ndarray, path: str | Path) -> None:
    """Write a picture, (height, width, 3), uint8."""
    import qt

    height, width, _ = picture.shape
    image = qt.QImage()
    image.loadFromData(b"P6 %d %d 255\n" % (width, height) + picture.tobytes())
    if not image.save(str(path)):
        raise OSError(f"cannot write {path}")


def close() -> None:
    """Let go of the windows, before the interpreter ends."""
    for view in _views.values():
        view.group.SetMRMLDisplayableNode(None)
        view.window.Finalize()
    _views.clear()
