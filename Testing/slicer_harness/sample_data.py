"""The module ``SampleData``: registration as strict as Slicer's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import slicer

_LISTS = ("uris", "fileNames", "nodeNames", "loadFiles", "loadFileTypes", "checksums")


@dataclass
class SampleDataSource:
    """One entry of the Sample Data panel."""

    category: str
    sampleName: str
    sampleDescription: str = ""
    thumbnailFileName: str | None = None
    customDownloader: Callable | None = None
    uris: list = ()
    fileNames: list = ()
    nodeNames: list = ()
    loadFiles: list = ()
    loadFileTypes: list = ()
    checksums: list = ()


class SampleDataLogic:
    """Registers and fetches samples."""

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom", sampleName: str | None = None, **options: object
    ) -> None:
        """Add an entry to the Sample Data panel.

        Raises
        ------
        TypeError
            Without ``uris``, or without the six lists where ``customDownloader`` makes the data.
        """
        missing = [name for name in _LISTS if options.get(name) is None]
        if options.get("customDownloader") is None:
            missing = [name for name in missing if name == "uris"]
        if missing:
            raise TypeError(f"registerCustomSampleDataSource needs {', '.join(missing)}")
        for name in _LISTS:
            value = options.get(name)
            options[name] = [] if value is None else [value] if isinstance(value, str) else value
        source = SampleDataSource(category, sampleName, **options)
        if not hasattr(slicer.modules, "sampleDataSources"):
            slicer.modules.sampleDataSources = {}
        sources = slicer.modules.sampleDataSources.setdefault(category, [])
        sources[:] = [other for other in sources if other.sampleName != sampleName] + [source]

    def sourceForSampleName(self, name: str) -> SampleDataSource | None:
        """An entry by its name."""
        for sources in getattr(slicer.modules, "sampleDataSources", {}).values():
            for source in sources:
                if source.sampleName == name:
                    return source
        return None

    def downloadSamples(self, name: str) -> list:
        """Nothing: Slicer ignores customDownloader here too, and the harness has no network."""
        return []


def press(name: str) -> object:
    """Do what the button in the Sample Data panel does; not part of Slicer's interface."""
    source = SampleDataLogic().sourceForSampleName(name)
    return source.customDownloader(source)


def downloadSample(name: str) -> object:
    """Raises IndexError for local samples, as in Slicer."""
    return SampleDataLogic().downloadSamples(name)[0]
