"""HDFS from within a Spark driver: files that are whole or not there, and renames that are checked."""

from __future__ import annotations

from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession


class Hdfs:
    """The file system that the tables live on, through the driver's own Hadoop client."""

    def __init__(self, spark: SparkSession, address: str) -> None:
        jvm: Any = spark._jvm
        self._hadoop = jvm.org.apache.hadoop.fs
        configuration = spark.sparkContext._jsc.hadoopConfiguration()
        uri = jvm.java.net.URI(f"hdfs://{address}")
        self._files = self._hadoop.FileSystem.get(uri, configuration)
        self._context = self._hadoop.FileContext.getFileContext(uri, configuration)
        self._not_over = jvm.java.lang.reflect.Array.newInstance(self._hadoop.Options.Rename.NONE.getClass(), 0)

    def make_folder(self, path: str) -> None:
        if not self._files.mkdirs(self._path(path)):
            raise OSError(f"HDFS did not make the folder {path}")

    def entries(self, folder: str) -> dict[str, int]:
        """The names in a folder, sorted, and the size of each in bytes; none where there is no such folder."""
        try:
            listed = self._files.listStatus(self._path(folder))
        except Py4JJavaError as error:
            if error.java_exception.getClass().getSimpleName() != "FileNotFoundException":
                raise
            return {}
        return dict(sorted((str(status.getPath().getName()), int(status.getLen())) for status in listed))

    def matching(self, pattern: str) -> dict[str, int]:
        """The paths that fit a pattern, sorted, and the size of each in bytes."""
        found = self._files.globStatus(self._path(pattern))
        return dict(sorted((str(status.getPath().toUri().getPath()), int(status.getLen())) for status in found))

    def modified(self, path: str) -> float:
        """When something was last put into or taken out of a folder, in seconds since 1970."""
        return float(self._files.getFileStatus(self._path(path)).getModificationTime()) / 1000

    def rename(self, source: str, target: str) -> None:
        """Move a file or a folder to a name that is free, in one step.

        Raises Py4JJavaError where it is not: `FileSystem.rename` would answer false, or move into a folder.
        """
        self._context.rename(self._path(source), self._path(target), self._not_over)

    def delete(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it; nothing happens where there is none."""
        self._files.delete(self._path(path), True)

    def _path(self, path: str) -> Any:
        return self._hadoop.Path(path)
