"""HDFS from within a Spark driver: files that are whole or not there, and renames that are checked."""

from __future__ import annotations

from typing import Any

from pyspark.sql import SparkSession


class Hdfs:
    """The file system that the tables live on, through the driver's own Hadoop client."""

    def __init__(self, spark: SparkSession, address: str) -> None:
        self.address = address
        jvm: Any = spark._jvm
        self._hadoop = jvm.org.apache.hadoop.fs
        self._io = jvm.org.apache.commons.io.IOUtils
        configuration = spark.sparkContext._jsc.hadoopConfiguration()
        uri = jvm.java.net.URI(f"hdfs://{address}")
        self._files = self._hadoop.FileSystem.get(uri, configuration)
        self._context = self._hadoop.FileContext.getFileContext(uri, configuration)
        self._overwrite = jvm.java.lang.reflect.Array.newInstance(self._hadoop.Options.Rename.OVERWRITE.getClass(), 1)
        self._overwrite[0] = self._hadoop.Options.Rename.OVERWRITE

    def make_folder(self, path: str) -> None:
        if not self._files.mkdirs(self._path(path)):
            raise OSError(f"HDFS did not make the folder {path}")

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted; none where there is no such folder."""
        if not self._files.exists(self._path(folder)):
            return []
        return sorted(str(status.getPath().getName()) for status in self._files.listStatus(self._path(folder)))

    def rename(self, source: str, target: str) -> None:
        """Move a file to a name that is free. HDFS itself only answers false when it is not."""
        if not self._files.rename(self._path(source), self._path(target)):
            raise OSError(f"HDFS did not rename {source} to {target}: is the target there already?")

    def delete(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it; nothing happens where there is none."""
        self._files.delete(self._path(path), True)

    def read_text(self, path: str) -> str | None:
        """A small file's text, or None where there is no such file."""
        if not self._files.exists(self._path(path)):
            return None
        stream = self._files.open(self._path(path))
        try:
            return str(self._io.toString(stream, "UTF-8"))
        finally:
            stream.close()

    def write_text(self, path: str, text: str) -> None:
        """Replace a small file in one step: a reader sees the old text or the new one."""
        stream = self._files.create(self._path(path + ".new"), True)
        try:
            stream.write(bytearray(text, "utf-8"))
        finally:
            stream.close()
        self._context.rename(self._path(path + ".new"), self._path(path), self._overwrite)

    def _path(self, path: str) -> Any:
        return self._hadoop.Path(path)
