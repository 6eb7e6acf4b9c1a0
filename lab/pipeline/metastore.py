"""The metastore: which folder holds which partition of a table. The only place of the pipeline that speaks to it.

Presto reads the partition's folder from here at the start of each query. To change it is one transaction of the
metastore, so that a query sees all files of the old folder or all files of the new one.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pymetastore.hive_metastore import ThriftHiveMetastore
from pymetastore.hive_metastore.ttypes import AddPartitionsRequest, NoSuchObjectException, Partition
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TException
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TBufferedTransport

from lab.pipeline.layout import Segment
from lab.settings import Settings

ANSWER_SECONDS = 10.0


class Unreachable(Exception):
    """The metastore did not answer, or not as it should; what was asked for may be done or not."""


@contextmanager
def _client(settings: Settings) -> Iterator[Any]:
    host, _, port = settings.metastore.partition(":")
    socket = TSocket(host, int(port))
    socket.setTimeout(ANSWER_SECONDS * 1000)
    transport = TBufferedTransport(socket)
    try:
        transport.open()
        yield ThriftHiveMetastore.Client(TBinaryProtocol(transport))
    except (TException, OSError) as error:
        raise Unreachable(f"The metastore at {settings.metastore}: {error}") from error
    finally:
        transport.close()


@dataclass(frozen=True)
class Named:
    """Of segments that were to be named: those that were named elsewhere before, and those whose table is not there."""

    moved: list[Segment]
    unknown: list[Segment]


def name(settings: Settings, segments: Iterable[Segment], move: bool = True) -> Named:
    """Let the metastore name each segment's folder as its partition.

    A partition that is named elsewhere is pointed to this folder, unless `move` is false. Raises Unreachable.
    """
    by_table: dict[str, list[Segment]] = {}
    for segment in segments:
        by_table.setdefault(segment.table, []).append(segment)
    done = Named([], [])
    with _client(settings) as client:
        for table, wanted in by_table.items():
            try:
                defined = client.get_table(settings.schema, table)
            except NoSuchObjectException:
                done.unknown.extend(wanted)
                continue
            if not defined.partitionKeys:  # a table of an earlier layout: step 7 makes it anew
                done.unknown.extend(wanted)
                continue
            partitions = [_partition(settings, defined, segment) for segment in wanted]
            client.add_partitions_req(
                AddPartitionsRequest(settings.schema, table, partitions, ifNotExists=True, needResult=False)
            )
            if move:
                there = {tuple(one.values): one.sd.location for one in _named(client, settings, table, partitions)}
                stale = [
                    (segment, one)
                    for segment, one in zip(wanted, partitions, strict=True)
                    if there[tuple(one.values)] != one.sd.location
                ]
                if stale:
                    client.alter_partitions(settings.schema, table, [one for _, one in stale])
                    done.moved.extend(segment for segment, _ in stale)
    return done


def outdated(settings: Settings, table: str) -> bool:
    """Whether there are partitions of the table that lack columns which the table has. Raises Unreachable."""
    with _client(settings) as client:
        return bool(_outdated(client, settings, table))


def bring_up_to_date(settings: Settings, table: str) -> None:
    """Give the partitions of a table the columns that the table has now. Raises Unreachable.

    Nobody may land meanwhile: a partition is written back whole, with the folder that it had when it was read.
    """
    with _client(settings) as client:
        found = _outdated(client, settings, table)
        if found:
            client.alter_partitions(settings.schema, table, found)


def _outdated(client: Any, settings: Settings, table: str) -> list[Any]:
    """The partitions whose columns are not those of the table, with the table's columns."""
    columns = client.get_table(settings.schema, table).sd.cols
    found = [
        partition
        for partition in client.get_partitions(settings.schema, table, -1)
        if [column.name for column in partition.sd.cols] != [column.name for column in columns]
    ]
    for partition in found:
        partition.sd.cols = columns
    return found


def _named(client: Any, settings: Settings, table: str, partitions: list[Any]) -> list[Any]:
    names = [f"day={one.values[0]}/segment={one.values[1]}" for one in partitions]
    found: list[Any] = client.get_partitions_by_names(settings.schema, table, names)
    return found


def _partition(settings: Settings, table: Any, segment: Segment) -> Any:
    storage = copy.copy(table.sd)
    storage.location = f"hdfs://{settings.hdfs}{settings.tables}/tables/{segment.folder}"
    return Partition(
        values=[segment.day, str(segment.number)],
        dbName=settings.schema,
        tableName=segment.table,
        sd=storage,
        parameters={"DO_NOT_UPDATE_STATS": "true"},
    )
